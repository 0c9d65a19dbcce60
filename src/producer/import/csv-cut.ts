import type { ImportReason } from './reasons.ts';
import { createRemainder } from './remainder.ts';

/** A record longer than this is refused; no more than this (and one chunk) is ever held. Bytes of UTF-8. */
export const recordLimit = 64 * 1024;

export const LF = 10;
export const CR = 13;
const QUOTE = 34;
const BACKSLASH = 92;
const SPACE = 32;
const HASH = 35;

/** How a CSV file is written. */
export interface Dialect {
  /** One ASCII character, as its byte. */
  delimiter: number;
  /** Lines end in lone carriage returns. */
  loneCr: boolean;
  /** Spaces after a delimiter are no part of a field, but in the column of the password. */
  skipSpaces: boolean;
  /** Column whose spaces are kept; -1: none. */
  passwordAt: number;
  /** Lines that start with `#` are no records. */
  comments: boolean;
}

/** What is known of a field besides its bounds; added up. */
const quoted = 1;
export const doubled = 2;
export const backslashed = 4;

/**
 * One record in the bytes that are held. It is used again for the next one: read it before asking for more.
 * `bounds`: three numbers a field (start, end, what is known), from `start`.
 */
export interface Cut {
  buffer: Buffer;
  start: number;
  end: number;
  line: number;
  byte: number;
  fields: number;
  bounds: number[];
  reason: ImportReason | undefined;
}

/** Where in the file the bytes begin, and how many bytes of the file a piece of them was. */
export interface Place {
  line: number;
  byte: number;
  width?: ((utf8: Buffer, from: number, to: number) => number) | undefined;
}

/** Cuts bytes into records while they arrive. Zeroes what it took, once it is asked for more. */
export interface Cutter<T> {
  take(chunk: Buffer, final: boolean): Generator<T>;
  close(): void;
}

const modes = { start: 0, bare: 1, quoted: 2, closed: 3, bad: 4, skip: 5 } as const;

/**
 * RFC 4180 in one pass: a quote opens a field only as its first character, and after the closing one the field is over.
 * Empty lines are dropped but counted. A bad record costs its first physical line only: reading starts again after it, so one
 * forgotten quote does not swallow the file. The same whatever the chunks.
 */
export function cutCsv(dialect: Dialect, place: Place): Cutter<Cut> {
  const { delimiter, loneCr, skipSpaces, passwordAt, comments } = dialect;
  const eol = loneCr ? CR : LF;
  const remainder = createRemainder();
  let { line, byte } = place;
  const { width } = place;

  let mode: number = modes.start;
  let bad: ImportReason | undefined;
  /** Where scanning goes on, from the start of the record. */
  let offset = 0;
  let fieldStart = 0;
  let facts = 0;
  let endOfQuoted = 0;
  let breaks = 0;
  const bounds: number[] = [];
  let fields = 0;
  const cut: Cut = { buffer: Buffer.alloc(0), start: 0, end: 0, line, byte, fields, bounds, reason: undefined };

  function begin(next: number): void {
    mode = next;
    bad = undefined;
    offset = fieldStart = facts = endOfQuoted = breaks = fields = 0;
  }

  function endField(to: number): void {
    const at = fields * 3;
    bounds[at] = fieldStart;
    bounds[at + 1] = facts === 0 ? to : endOfQuoted;
    bounds[at + 2] = facts;
    fields++;
    fieldStart = to + 1;
    facts = 0;
  }

  /** Scans on from `offset`; the end of the record (its line end, or the end of all), or undefined: not seen yet. */
  function scan(buffer: Buffer, start: number, stop: number, final: boolean): number | undefined {
    let i = start + offset;
    for (; i < stop; i++) {
      const value = buffer[i] as number;
      if (mode === modes.quoted) {
        if (value === QUOTE) {
          mode = modes.closed;
          endOfQuoted = i - start;
        } else if (value === eol) breaks++;
      } else if (value === delimiter) {
        endField(i - start);
        mode = modes.start;
      } else if (value === LF || value === CR) {
        if (value === eol) {
          endField(i - start);
          return i;
        }
        if (loneCr) return fail(i, start, 'csv_lone_lf');
        // A carriage return belongs to the line end if a line feed or nothing follows.
        if (i + 1 < stop ? buffer[i + 1] === LF : final) {
          endField(i - start);
          return i;
        }
        if (i + 1 < stop) return fail(i, start, 'csv_lone_cr');
        break;
      } else if (value === QUOTE) {
        if (mode === modes.start) {
          facts = quoted;
          fieldStart = i + 1 - start;
        } else if (mode === modes.closed && i - start === endOfQuoted + 1) {
          facts |= buffer[i - 2] === BACKSLASH ? doubled | backslashed : doubled;
        } else return fail(i, start, 'csv_quote');
        mode = modes.quoted;
      } else if (mode === modes.closed) {
        return fail(i, start, buffer[start + endOfQuoted - 1] === BACKSLASH ? 'csv_backslash' : 'csv_quote');
      } else if (mode === modes.start && value === SPACE && skipSpaces && fields !== passwordAt) {
        fieldStart++;
      } else {
        mode = modes.bare;
        // On to the next byte that can mean something: most bytes of most files mean nothing.
        for (let next = i + 1; next < stop; next++) {
          const ahead = buffer[next] as number;
          if (ahead <= QUOTE || ahead === delimiter) break;
          i = next;
        }
      }
    }
    offset = i - start;
    if (!final || i < buffer.length || mode === modes.quoted) return undefined;
    endField(i - start);
    return i;
  }

  function fail(at: number, start: number, reason: ImportReason): undefined {
    bad = reason;
    mode = modes.bad;
    offset = at - start;
    return undefined;
  }

  function refused(buffer: Buffer, start: number, reason: ImportReason): Cut {
    return tell(buffer, start, start, 0, reason);
  }

  function tell(buffer: Buffer, start: number, end: number, count: number, reason: ImportReason | undefined): Cut {
    cut.buffer = buffer;
    cut.start = start;
    cut.end = end;
    cut.line = line;
    cut.byte = byte;
    cut.fields = count;
    cut.reason = reason;
    return cut;
  }

  function* records(buffer: Buffer, final: boolean): Generator<Cut> {
    let start = 0;
    const goOn = (next: number, lines: number) => {
      byte += width ? width(buffer, start, next) : next - start;
      line += lines;
      start = next;
    };
    try {
      while (start < buffer.length) {
        if (mode === modes.skip) {
          const end = buffer.indexOf(eol, start);
          goOn(end < 0 ? buffer.length : end + 1, end < 0 ? 0 : 1);
          if (end >= 0) begin(modes.start);
          continue;
        }
        const stop = Math.min(buffer.length, start + recordLimit + 1);
        if (comments && buffer[start] === HASH) {
          const end = buffer.indexOf(eol, start);
          if (end < 0 && !final && stop - start <= recordLimit) break;
          if (end < 0) mode = modes.skip;
          else goOn(end + 1, 1);
          continue;
        }
        const end = mode === modes.bad ? undefined : scan(buffer, start, stop, final);
        if (end !== undefined) {
          const next = Math.min(buffer.length, buffer[end] === CR && !loneCr ? end + 2 : end + 1);
          const lines = 1 + breaks;
          if (end > start) yield tell(buffer, start, end, fields, undefined);
          goOn(next, lines);
          begin(modes.start);
          continue;
        }
        const tooLong = stop - start > recordLimit;
        if (!tooLong && !final && bad === undefined) break;
        // Its first physical line is given up. Line ends in quotes were seen before `offset`.
        const lineEnd = buffer.subarray(start, stop).indexOf(eol);
        if (lineEnd < 0 && !final && !tooLong) break;
        const whole = lineEnd >= 0 || (final && !tooLong);
        yield refused(buffer, start, whole ? (bad ?? 'csv_quote') : 'line_too_long');
        if (whole) {
          goOn(lineEnd < 0 ? buffer.length : start + lineEnd + 1, 1);
          begin(modes.start);
        } else begin(modes.skip);
      }
      remainder.keep(buffer.subarray(start));
    } finally {
      // What was read is zeroed once the reader asks for more: it holds passwords (P4).
      buffer.fill(0);
    }
  }

  return {
    take: (chunk, final) => records(remainder.join(chunk), final),
    close: remainder.wipe,
  };
}
