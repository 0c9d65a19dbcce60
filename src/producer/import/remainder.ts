/** What a chunk holds of a record that goes on in the next one. It may be a password: zeroed wherever it has been (P4). */
export function createRemainder() {
  let held: Buffer = Buffer.alloc(0);

  return {
    /** Copies it; how many bytes it is. */
    keep(rest: Buffer): number {
      held = Buffer.from(rest);
      return held.length;
    },
    /** What was kept and the next chunk as one; both are zeroed when they had to be copied. */
    join(chunk: Buffer): Buffer {
      if (held.length === 0) return chunk;
      const joined = Buffer.concat([held, chunk]);
      held.fill(0);
      chunk.fill(0);
      held = Buffer.alloc(0);
      return joined;
    },
    wipe(): void {
      held.fill(0);
    },
  };
}
