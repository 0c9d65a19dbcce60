import { createHash } from 'node:crypto';

/** 40 million users in 512 MiB; what is more is not looked for. */
const mostSlots = 2 ** 26;

/**
 * Which users a file has named before: eight bytes of a digest each, so that ten million cost some hundred MB at most and
 * usually a quarter. Two users with one digest would need billions of rows.
 */
export function createSeenUsers() {
  let slots = new BigUint64Array(2 ** 10);
  let used = 0;

  function place(table: BigUint64Array, digest: bigint): number {
    const mask = table.length - 1;
    let at = Number(digest & BigInt(mask));
    while (table[at] !== 0n && table[at] !== digest) at = (at + 1) & mask;
    return at;
  }

  function grow(): void {
    const larger = new BigUint64Array(slots.length * 2);
    for (const digest of slots) if (digest !== 0n) larger[place(larger, digest)] = digest;
    slots = larger;
  }

  return {
    /** True when this user was named before. */
    again(org: string, user: string): boolean {
      const digest = createHash('sha1').update(`${org}\0${user}`).digest().readBigUInt64LE(0) || 1n;
      const at = place(slots, digest);
      if (slots[at] === digest) return true;
      if (used * 4 > slots.length * 3 && slots.length < mostSlots) {
        grow();
        slots[place(slots, digest)] = digest;
      } else if (used + 1 < slots.length) slots[at] = digest;
      else return false;
      used++;
      return false;
    },
  };
}
