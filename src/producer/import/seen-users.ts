import { randomBytes } from 'node:crypto';

/** 40 million users in 300 MB; what is more is not looked for. */
const mostUsers = 40_000_000;
const shardBits = 10;
const fullest = 0.8;
/** Of small ones the number counts, of large ones the size. */
const growth = (slots: number) => (slots < 1_024 ? 2 : 1.3);
/** 1.5 MB for a large file: growing from less was a tenth of the time of reading it. */
const firstSlots = 256;

/** Six bytes a slot: four and two. */
interface Shard {
  words: Uint32Array;
  halves: Uint16Array;
  used: number;
}

function shardOf(slots: number): Shard {
  const bytes = new ArrayBuffer(slots * 6);
  return { words: new Uint32Array(bytes, 0, slots), halves: new Uint16Array(bytes, slots * 4, slots), used: 0 };
}

/**
 * Which users a file has named before: six bytes of a digest each and ten bits by where they stand, so that ten million cost
 * about 90 MB; it grows in small pieces, never twice its size at once. Two users with one digest: one file of ten million
 * in some thousand. The seeds are random, so nobody can make such a pair.
 */
export function createSeenUsers() {
  const seeds = randomBytes(8);
  const [seedLow, seedHigh] = [seeds.readInt32LE(0), seeds.readInt32LE(4)];
  const shards = new Array<Shard | undefined>(2 ** shardBits).fill(undefined);
  let users = 0;
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
      shards[place] ??= shardOf(firstSlots);
      const shard = shards[place];
      const at = find(shard, word, half);
      if (shard.words[at] !== 0) return true;
      if (users >= mostUsers) return false;
      shard.words[at] = word;
      shard.halves[at] = half;
      shard.used++;
      users++;
      if (shard.used > shard.words.length * fullest) grow(shard);
      return false;
    },
  };
}

/** The slot in which it stands, or an empty one for it. */
function find({ words, halves }: Shard, word: number, half: number): number {
  let at = Math.floor((word / 2 ** 32) * words.length);
  while (words[at] !== 0 && (words[at] !== word || halves[at] !== half)) at = at + 1 === words.length ? 0 : at + 1;
  return at;
}

function grow(shard: Shard): void {
  const { words, halves } = shard;
  const next = shardOf(Math.ceil(words.length * growth(words.length)));
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number;
    if (word === 0) continue;
    const at = find(next, word, halves[i] as number);
    next.words[at] = word;
    next.halves[at] = halves[i] as number;
  }
  shard.words = next.words;
  shard.halves = next.halves;
}
