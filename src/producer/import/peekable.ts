/** Chunks whose beginning can be looked at before they are taken. */
export interface Peekable {
  /** At least so many bytes from the beginning, or all there are. They stay the next to be taken. */
  peek(atLeast: number): Promise<Buffer>;
  /** The next chunk; undefined at the end. Whoever takes it zeroes it. */
  next(): Promise<Buffer | undefined>;
  /** Ends the source early; zeroes what is held. */
  close(): Promise<void>;
}

/** Never holds more than was asked for and one chunk. */
export function peekable(iterator: AsyncIterator<Buffer>): Peekable {
  let held: Buffer = Buffer.alloc(0);
  let ended = false;

  async function read(): Promise<Buffer | undefined> {
    if (ended) return undefined;
    const { done, value } = await iterator.next();
    ended = done === true;
    return ended ? undefined : value;
  }

  return {
    async peek(atLeast) {
      while (held.length < atLeast) {
        const chunk = await read();
        if (chunk === undefined) break;
        const parts = [held, chunk];
        held = Buffer.concat(parts);
        for (const part of parts) part.fill(0);
      }
      return held;
    },
    async next() {
      if (held.length === 0) return read();
      const first = held;
      held = Buffer.alloc(0);
      return first;
    },
    async close() {
      held.fill(0);
      await iterator.return?.();
    },
  };
}
