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
  // Grows by doubling, or one byte at a time would cost the square of them.
  let storage: Buffer = Buffer.alloc(0);
  let held: Buffer = storage;
  let ended = false;
  let reading = false;

  async function read(): Promise<Buffer | undefined> {
    if (ended) return undefined;
    reading = true;
    try {
      const { done, value } = await iterator.next();
      ended = done === true;
      return ended ? undefined : value;
    } finally {
      reading = false;
    }
  }

  return {
    async peek(atLeast) {
      while (held.length < atLeast) {
        const chunk = await read();
        if (chunk === undefined) break;
        const length = held.length + chunk.length;
        if (length > storage.length) {
          const before = storage;
          storage = Buffer.alloc(length * 2);
          held.copy(storage);
          before.fill(0);
        }
        chunk.copy(storage, held.length);
        chunk.fill(0);
        held = storage.subarray(0, length);
      }
      return held;
    },
    async next() {
      if (held.length === 0) return read();
      const first = held;
      held = storage = Buffer.alloc(0);
      return first;
    },
    async close() {
      held.fill(0);
      const closing = Promise.resolve(iterator.return?.());
      // A source that is being read ends when it has answered: a sender that stalls must not be waited for.
      if (reading) closing.catch(() => undefined);
      else await closing;
    },
  };
}
