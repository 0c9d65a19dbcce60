import { isAscii } from 'node:buffer';
import { fileError } from './reasons.ts';

/** `utf-16*` is also recognised by its mark; the last two only when they are named: no bytes contradict them. */
export const encodings = ['utf-8', 'utf-16le', 'utf-16be', 'latin1', 'windows-1252'] as const;
export type Encoding = (typeof encodings)[number];

const marks: [Encoding, number[]][] = [
  ['utf-8', [0xef, 0xbb, 0xbf]],
  ['utf-16le', [0xff, 0xfe]],
  ['utf-16be', [0xfe, 0xff]],
];

/**
 * The beginning of a file → its encoding, and the length of its byte order mark.
 * @throws encoding_contradicted, file_utf16
 */
export function detectEncoding(head: Buffer, named?: Encoding): { encoding: Encoding; mark: number } {
  const found = marks.find(([, mark]) => mark.every((byte, index) => head[index] === byte));
  if (found) {
    if (named !== undefined && named !== found[0]) throw fileError('encoding_contradicted');
    return { encoding: found[0], mark: found[1].length };
  }
  if (named === undefined && looksLikeUtf16(head)) throw fileError('file_utf16');
  return { encoding: named ?? 'utf-8', mark: 0 };
}

/** ASCII in UTF-16: every second byte of the first four is zero. No more is there for sure. */
function looksLikeUtf16(head: Buffer): boolean {
  const start = head.subarray(0, 4);
  if (start.length < 4) return false;
  const zeros = [0, 1].map((parity) => start.every((byte, index) => (index % 2 === parity) === (byte === 0)));
  return zeros.includes(true);
}

/** The next bytes of the file → UTF-8. What it is given is zeroed unless it is given back. */
export type Transcoder = (chunk: Buffer, final: boolean) => Buffer;

/** In UTF-8 nothing else starts with this byte: it stands for what does not exist in the encoding of the file. */
const invalid = 0xff;

/**
 * Bytes of any encoding → UTF-8, while they arrive. What cannot be said in it (half of a surrogate pair, a byte without a
 * character) becomes a byte that UTF-8 does not have, so that its row is refused: never U+FFFD.
 */
export function createTranscoder(encoding: Encoding): Transcoder {
  if (encoding === 'utf-8') return (chunk) => chunk;
  if (encoding === 'latin1' || encoding === 'windows-1252') return (chunk) => fromSingle(chunk, encoding);
  return fromUtf16(encoding === 'utf-16le');
}

// Windows-1252, 0x80 to 0x9f; 0 where it has no character.
const windows = [
  ...[0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0],
  ...[0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e],
  0x0178,
];

function fromSingle(chunk: Buffer, encoding: Encoding): Buffer {
  if (isAscii(chunk)) return chunk;
  const out = Buffer.alloc(chunk.length * 3);
  let to = 0;
  for (const byte of chunk) {
    const special = encoding === 'windows-1252' && byte >= 0x80 && byte < 0xa0;
    const point = special ? (windows[byte - 0x80] as number) : byte;
    if (special && point === 0) out[to++] = invalid;
    else to = writePoint(out, to, point);
  }
  chunk.fill(0);
  return out.subarray(0, to);
}

function fromUtf16(little: boolean): Transcoder {
  let odd: number | undefined;
  let high = 0;
  return (chunk, final) => {
    const out = Buffer.alloc(chunk.length * 2 + 8);
    let to = 0;
    const unit = (value: number) => {
      const low = value >= 0xdc00 && value < 0xe000;
      if (high !== 0) {
        if (low) {
          to = writePoint(out, to, 0x10000 + ((high - 0xd800) << 10) + (value - 0xdc00));
          high = 0;
          return;
        }
        out[to++] = invalid;
        high = 0;
      }
      if (low) out[to++] = invalid;
      else if (value >= 0xd800 && value < 0xdc00) high = value;
      else to = writePoint(out, to, value);
    };
    for (const byte of chunk) {
      if (odd === undefined) odd = byte;
      else {
        unit(little ? odd | (byte << 8) : (odd << 8) | byte);
        odd = undefined;
      }
    }
    if (final && high !== 0) out[to++] = invalid;
    if (final && odd !== undefined) out[to++] = invalid;
    chunk.fill(0);
    return out.subarray(0, to);
  };
}

function writePoint(out: Buffer, at: number, point: number): number {
  let to = at;
  if (point < 0x80) out[to++] = point;
  else if (point < 0x800) {
    out[to++] = 0xc0 | (point >> 6);
    out[to++] = 0x80 | (point & 63);
  } else {
    if (point < 0x10000) out[to++] = 0xe0 | (point >> 12);
    else {
      out[to++] = 0xf0 | (point >> 18);
      out[to++] = 0x80 | ((point >> 12) & 63);
    }
    out[to++] = 0x80 | ((point >> 6) & 63);
    out[to++] = 0x80 | (point & 63);
  }
  return to;
}

/** How many bytes of the file became these bytes of UTF-8; undefined: as many. */
export function widthIn(encoding: Encoding): ((utf8: Buffer, from: number, to: number) => number) | undefined {
  if (encoding === 'utf-8') return undefined;
  const unit = encoding.startsWith('utf-16') ? 2 : 1;
  return (utf8, from, to) => {
    let width = 0;
    for (let i = from; i < to; i++) {
      const byte = utf8[i] as number;
      if (byte === invalid || byte < 0x80 || (byte >= 0xc0 && byte < 0xf0)) width += unit;
      else if (byte >= 0xf0) width += 2 * unit;
    }
    return width;
  };
}
