import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDigestSet, shardBits } from '../src/producer/import/digest-set.ts';
import { createSeenUsers } from '../src/producer/import/seen-users.ts';

describe('users that a file has named before', () => {
  it('are known, each once, of a million rows', () => {
    const seen = createSeenUsers();
    let [first, again] = [0, 0];
    for (let n = 0; n < 1_000_000; n++) if (seen.again('acme', `user-${n}`)) first++;
    for (let n = 0; n < 1_000_000; n += 7) if (!seen.again('acme', `user-${n}`)) again++;
    expect({ first, again }).toEqual({ first: 0, again: 0 });
    expect(seen.again('acme', 'user-1000000')).toBe(false);
  });

  it('are those of one organization', () => {
    const seen = createSeenUsers();
    expect(seen.again('a', 'bc')).toBe(false);
    expect(seen.again('ab', 'c')).toBe(false);
    expect(seen.again('a', 'bc')).toBe(true);
    expect(seen.again('', 'abc')).toBe(false);
  });
});

describe('a set of digests', () => {
  it('says what a set says, in whatever order and however alike they are', () => {
    const word = fc.oneof(fc.integer({ min: 1, max: 2 ** 32 - 1 }), fc.constantFrom(1, 2, 2 ** 31, 2 ** 32 - 1));
    const half = fc.oneof(fc.integer({ min: 0, max: 65_535 }), fc.constantFrom(0, 255, 256, 65_535));
    const shard = fc.constantFrom(0, 1, 2 ** shardBits - 1);
    const some = fc.array(fc.tuple(shard, word, half), { maxLength: 3_000, size: 'max' });
    fc.assert(
      fc.property(some, (digests) => {
        const [ours, theirs] = [createDigestSet(), new Set<string>()];
        for (const each of [...digests, ...digests]) {
          expect(ours.add(...each)).toBe(theirs.has(String(each)));
          theirs.add(String(each));
        }
      }),
      { numRuns: 30 },
    );
  });

  it('grows until there is no room, and knows until then what it was given', () => {
    const digests = createDigestSet();
    const known: [number, number, number][] = [];
    for (let n = 0; n < 41_500; n++) {
      const each: [number, number, number] = [7, randomBytes(4).readUInt32BE() || 1, n % 65_536];
      if (!digests.add(...each)) known.push(each);
    }
    const kept = known.filter((each) => digests.add(...each)).length;
    // All of the largest room, and those that were not settled yet.
    expect(kept).toBeGreaterThan(40_000);
    expect(kept).toBeLessThan(41_200);
    expect(known.slice(0, 40_000).every((each) => digests.add(...each))).toBe(true);
  });
});
