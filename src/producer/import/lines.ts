import { CR, type Cutter, LF, type Place, recordLimit } from './csv-cut.ts';
import type { ImportReason } from './reasons.ts';
import { createRemainder } from './remainder.ts';

/** One record as it stands in the file, without its line end; or why it cannot be one. `line`: where it starts, from 1. */
export type Frame = { line: number; byte: number } & ({ bytes: Buffer } | { reason: ImportReason });

/**
 * Bytes → lines while they arrive, whichever line ends they have; empty ones are dropped but counted. The same whatever the
 * chunks.
 */
export function cutLines(place: Place): Cutter<Frame> {
  const remainder = createRemainder();
  let { line, byte } = place;
  const { width } = place;
  let skipping = false;
  /** The last chunk ended in a carriage return that ended a line: a line feed now is the rest of it. */
  let afterCr = false;

  function* lines(buffer: Buffer, final: boolean): Generator<Frame> {
    let at = 0;
    let nextCr = -2;
    const goOn = (to: number) => {
      byte += width ? width(buffer, at, to) : to - at;
      at = to;
    };
    const endFrom = (from: number): number => {
      if (nextCr !== -1 && nextCr < from) nextCr = buffer.indexOf(CR, from);
      const lf = buffer.indexOf(LF, from);
      return lf < 0 || (nextCr >= 0 && nextCr < lf) ? nextCr : lf;
    };
    try {
      if (buffer.length > 0) {
        if (afterCr && buffer[0] === LF) goOn(1);
        afterCr = false;
      }
      while (at < buffer.length) {
        const end = endFrom(at);
        const long = (end < 0 ? buffer.length : end) - at > recordLimit;
        if (skipping || long) {
          if (!skipping) yield { line, byte, reason: 'line_too_long' };
          skipping = end < 0;
        } else if (end < 0 && !final) break;
        else {
          const bytes = buffer.subarray(at, end < 0 ? buffer.length : end);
          if (bytes.length > 0) yield { line, byte, bytes };
        }
        if (end >= 0) line++;
        const crlf = buffer[end] === CR && buffer[end + 1] === LF;
        afterCr = buffer[end] === CR && end + 1 === buffer.length;
        goOn(end < 0 ? buffer.length : end + (crlf ? 2 : 1));
      }
      remainder.keep(buffer.subarray(at));
    } finally {
      // What was read is zeroed once the reader asks for more: it holds passwords (P4).
      buffer.fill(0);
    }
  }

  return {
    take: (chunk, final) => lines(remainder.join(chunk), final),
    close: remainder.wipe,
  };
}

/** A stream of lines → batches of them, one a chunk. */
export async function* frames(stream: AsyncIterable<Buffer>, _quotes: false): AsyncGenerator<Iterable<Frame>> {
  const cutter = cutLines({ line: 1, byte: 0 });
  try {
    for await (const chunk of stream) yield cutter.take(chunk, false);
    yield cutter.take(Buffer.alloc(0), true);
  } finally {
    cutter.close();
  }
}
