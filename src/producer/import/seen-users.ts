import { randomBytes } from 'node:crypto';
import { createDigestSet, shardBits } from './digest-set.ts';

/**
 * Which users a file has named before, by digests: ten million cost 66 MB. What is more than 40 million is not looked for. Two users
 * with one digest: one file of ten million in some thousand. The seeds are random, so nobody can make such a pair.
 */
export function createSeenUsers() {
  const seeds = randomBytes(8);
  const [seedLow, seedHigh] = [seeds.readInt32LE(0), seeds.readInt32LE(4)];
  const digests = createDigestSet();
  let low = 0;
  let high = 0;
  /** The organization before: most rows are of the same one. */
  let last: { org: string; low: number; high: number } | undefined;

  function take(text: string): void {
    let [nextLow, nextHigh] = [low, high];
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      nextLow = Math.imul(nextLow ^ unit, 2654435761);
      nextLow ^= nextLow >>> 15;
      nextHigh = Math.imul(nextHigh ^ unit, 1597334677);
      nextHigh ^= nextHigh >>> 13;
    }
    low = nextLow;
    high = nextHigh;
  }

  return {
    /** True when this user was named before. */
    again(org: string, user: string): boolean {
      if (last?.org !== org) {
        low = seedLow;
        high = seedHigh;
        take(`${org}\0`);
        last = { org, low, high };
      }
      low = last.low;
      high = last.high;
      take(user);
      // Each half sees the other, and every bit its neighbours.
      const mixed = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
      const other = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
      const word = mixed >>> 0 || 1;
      const half = other & 0xffff;
      const place = other >>> (32 - shardBits);
      return digests.add(place, word, half);
    },
  };
}
