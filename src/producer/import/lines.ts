import type { ImportReason } from './reasons.ts';

/** A record longer than this is refused; no more than this (and one chunk) is ever held. Bytes. */
const recordLimit = 64 * 1024;

/** One record as it stands in the file, without its line end; or why it cannot be one. `line`: where it starts, from 1. */
export type Frame = { line: number; bytes: Buffer } | { line: number; reason: ImportReason };

const LF = 10;
const CR = 13;
const QUOTE = 34;
const COMMA = 44;

/** Where a record ends (index of its LF, or the end), why it is bad, or `open`: it does not end in what was looked at. */
type Scan = number | 'open' | 'csv_quote' | 'csv_lone_cr';

/**
 * Bytes → batches of records, one batch a chunk, empty lines dropped but counted. With `quotes`, a line end inside a
 * quoted CSV field belongs to the record. A bad record costs its first physical line only: reading starts again after
 * it, so one forgotten quote does not swallow the file. The same whatever the chunks. Chunks and the bytes of a batch are
 * zeroed when the next is asked for.
 */
export async function* frames(stream: AsyncIterable<Buffer>, quotes: boolean): AsyncGenerator<Frame[]> {
  let held: Buffer = Buffer.alloc(0);
  let line = 1;
  let skipping = false;

  const take = (buffer: Buffer, final: boolean): Frame[] => {
    const batch: Frame[] = [];
    let at = 0;
    while (at < buffer.length) {
      if (skipping) {
        const lf = buffer.indexOf(LF, at);
        if (lf < 0) at = buffer.length;
        else {
          at = lf + 1;
          line++;
          skipping = false;
        }
        continue;
      }
      const bound = Math.min(buffer.length, at + recordLimit + 1);
      const atEnd = final && bound === buffer.length && bound - at <= recordLimit;
      const scan = quotes ? scanCsv(buffer, at, bound, atEnd) : scanLine(buffer, at, bound, atEnd);
      if (typeof scan === 'number') {
        const end = scan > at && buffer[scan - 1] === CR ? scan - 1 : scan;
        const bytes = buffer.subarray(at, end);
        if (bytes.length > 0) batch.push({ line, bytes });
        line += 1 + (quotes ? count(bytes, LF) : 0);
        at = scan + 1;
        continue;
      }
      const lf = buffer.subarray(at, bound).indexOf(LF);
      const wholeLine = lf >= 0 || atEnd;
      if (bound - at <= recordLimit && !final && (scan === 'open' || !wholeLine)) break;
      if (wholeLine) {
        batch.push({ line, reason: scan === 'open' ? 'csv_quote' : scan });
        line++;
        at = lf >= 0 ? at + lf + 1 : buffer.length;
      } else {
        batch.push({ line, reason: 'line_too_long' });
        skipping = true;
      }
    }
    held = Buffer.from(buffer.subarray(at));
    return batch;
  };

  /** What was read is zeroed once the reader asks for more: it holds passwords (P4). */
  function* batchOf(buffer: Buffer, final: boolean): Generator<Frame[]> {
    try {
      const batch = take(buffer, final);
      if (batch.length > 0) yield batch;
    } finally {
      buffer.fill(0);
    }
  }

  try {
    for await (const chunk of stream) {
      const before = held;
      const buffer = before.length > 0 ? Buffer.concat([before, chunk]) : chunk;
      if (buffer !== chunk) for (const copied of [before, chunk]) copied.fill(0);
      yield* batchOf(buffer, false);
    }
    yield* batchOf(held, true);
  } finally {
    held.fill(0);
  }
}

function scanLine(buffer: Buffer, from: number, bound: number, atEnd: boolean): Scan {
  const lf = buffer.subarray(from, bound).indexOf(LF);
  return lf >= 0 ? from + lf : atEnd ? bound : 'open';
}

/** RFC 4180: a quote opens a field only as its first character, and after the closing one the field is over. */
function scanCsv(buffer: Buffer, from: number, bound: number, atEnd: boolean): Scan {
  let state: 'start' | 'bare' | 'quoted' | 'closed' = 'start';
  for (let i = from; i < bound; i++) {
    const byte = buffer[i];
    if (state === 'quoted') {
      if (byte === QUOTE) state = 'closed';
    } else if (byte === LF) {
      return i;
    } else if (byte === CR) {
      if (i + 1 < bound ? buffer[i + 1] !== LF : !atEnd) return i + 1 < bound ? 'csv_lone_cr' : 'open';
    } else if (byte === COMMA) {
      state = 'start';
    } else if (byte === QUOTE) {
      if (state === 'bare') return 'csv_quote';
      // doubled inside a quoted field, or the field's opening one
      state = 'quoted';
    } else if (state === 'closed') {
      return 'csv_quote';
    } else {
      state = 'bare';
    }
  }
  return atEnd && state !== 'quoted' ? bound : 'open';
}

function count(bytes: Buffer, byte: number): number {
  let n = 0;
  for (let at = bytes.indexOf(byte); at >= 0; at = bytes.indexOf(byte, at + 1)) n++;
  return n;
}
