/** Digests of 58 bits: ten say which of the shards, 32 and 16 stand in it. */
export const shardBits = 10;
const shards = 2 ** shardBits;
const wordRange = 2 ** 32;
const halfRange = 2 ** 16;
/** Slots in which new ones of a shard are kept, and how many of them before they are settled. */
const freshSlots = 256;
const mostFresh = 192;
/** Places of a shard: what is not used yet of a large piece of memory takes none. The last holds 40 million in all. */
const rooms = [512, 4_096, 40_960];

/**
 * A set of evenly spread digests that only grows: six bytes each and 2 MB, however many there are, and never a copy of itself. New ones
 * stand in a small table; settled ones stand in order, so that no slot is empty.
 */
export function createDigestSet() {
  const fresh = new Float64Array(shards * freshSlots);
  const freshCounts = new Uint16Array(shards);
  const sorted = new Float64Array(mostFresh);
  const counts = new Uint32Array(shards);
  let level = 0;
  let room = rooms[level] as number;
  let words = new Uint32Array(shards * room);
  let halves = new Uint16Array(shards * room);

  /** Adds a digest; true: it was there. What finds no room is not remembered. @param word not 0 */
  function add(shard: number, word: number, half: number): boolean {
    const value = word * halfRange + half;
    const from = shard * freshSlots;
    let slot = half % freshSlots;
    while (fresh[from + slot] !== 0) {
      if (fresh[from + slot] === value) return true;
      slot = (slot + 1) % freshSlots;
    }
    if (isSettled(shard, word, half)) return true;
    if (freshCounts[shard] === mostFresh && !settle(shard)) return false;
    // Where they were settled, every slot is empty.
    fresh[from + (freshCounts[shard] === 0 ? half % freshSlots : slot)] = value;
    freshCounts[shard] = (freshCounts[shard] as number) + 1;
    return false;
  }

  function isSettled(shard: number, word: number, half: number): boolean {
    const count = counts[shard] as number;
    if (count === 0) return false;
    const base = shard * room;
    const end = base + count;
    // They are spread evenly: where it should stand, corrected twice by who stands there.
    let at = base + Math.floor((word / wordRange) * count);
    for (let n = 0; n < 2; n++) {
      const off = Math.trunc(((word - (words[at] as number)) / wordRange) * count);
      at = Math.min(end - 1, Math.max(base, at + off));
    }
    while (at > base && (words[at] as number) >= word) at--;
    while (at < end && (words[at] as number) < word) at++;
    for (; at < end && words[at] === word; at++) if (halves[at] === half) return true;
    return false;
  }

  /** Merges the new ones of a shard into the others, from the end; false: there is no room. */
  function settle(shard: number): boolean {
    let old = counts[shard] as number;
    if (old + mostFresh > room && !grow()) return false;
    const slots = fresh.subarray(shard * freshSlots, (shard + 1) * freshSlots);
    let added = 0;
    for (const value of slots) if (value !== 0) sorted[added++] = value;
    sorted.sort();
    slots.fill(0);
    freshCounts[shard] = 0;
    const base = shard * room;
    counts[shard] = old + added;
    for (let to = base + old + added - 1; added > 0; to--) {
      const next = sorted[added - 1] as number;
      const last = base + old - 1;
      if (old > 0 && (words[last] as number) * halfRange + (halves[last] as number) > next) {
        words[to] = words[last] as number;
        halves[to] = halves[last] as number;
        old--;
      } else {
        words[to] = Math.floor(next / halfRange);
        halves[to] = next % halfRange;
        added--;
      }
    }
    return true;
  }

  function grow(): boolean {
    const next = rooms[level + 1];
    if (next === undefined) return false;
    const [nextWords, nextHalves] = [new Uint32Array(shards * next), new Uint16Array(shards * next)];
    for (let shard = 0; shard < shards; shard++) {
      const [from, to] = [shard * room, shard * room + (counts[shard] as number)];
      nextWords.set(words.subarray(from, to), shard * next);
      nextHalves.set(halves.subarray(from, to), shard * next);
    }
    [words, halves, room, level] = [nextWords, nextHalves, next, level + 1];
    return true;
  }

  return { add };
}
