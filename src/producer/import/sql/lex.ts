import { fileError } from '../reasons.ts';
import { type Backslash, writtenBy } from './head.ts';

/** What can hold any character, a semicolon too: a string, a quoted name, a comment, a body in dollars. */
export interface Inside {
  kind: 'quote' | 'line' | 'block' | 'dollar';
  /** Where it goes on after its opening. */
  from: number;
  /** Of a quote: its byte, and whether a backslash is an escape. */
  quote: number;
  escapes: Backslash;
  /** Of a body: `$tag$`. */
  tag: string;
}

export const SINGLE = 39;
const DOUBLE = 34;
const BACKTICK = 96;
const DASH = 45;
const SLASH = 47;
const STAR = 42;
const DOLLAR = 36;
const LF = 10;
export const BACKSLASH = 92;

export const isSpace = (value: number) => value === 32 || (value >= 9 && value <= 13);
/** Of a word or a name; bytes beyond ASCII are. */
export const isWordByte = (value: number) =>
  (value >= 97 && value <= 122) ||
  (value >= 65 && value <= 90) ||
  (value >= 48 && value <= 57) ||
  value === 95 ||
  value > 127;

/** Bytes that are looked at in what is skipped. */
export const interesting = new Uint8Array(256);
for (const value of [SINGLE, DOUBLE, BACKTICK, DASH, SLASH, DOLLAR, 40, 41, 59]) interesting[value] = 1;

const quoted = (quote: number, from: number, escapes: Backslash): Inside => ({
  ...{ kind: 'quote', from, quote, escapes, tag: '' },
});
const other = (kind: Inside['kind'], from: number, tag = ''): Inside => ({ kind, from, quote: 0, escapes: false, tag });

/** What opens here; undefined: nothing; `more`: the next bytes decide. */
export function opening(buffer: Buffer, at: number, backslash: Backslash, final: boolean): Inside | 'more' | undefined {
  const value = buffer[at] as number;
  if (value === SINGLE) return quoted(value, at + 1, isEscapeString(buffer, at) || backslash);
  if (value === DOUBLE) return quoted(value, at + 1, backslash === true);
  if (value === BACKTICK) return quoted(value, at + 1, false);
  if (value !== DASH && value !== SLASH && value !== DOLLAR) return undefined;
  if (at + 1 === buffer.length) return final ? undefined : 'more';
  const next = buffer[at + 1] as number;
  if (value === DASH) return next === DASH ? other('line', at + 2) : undefined;
  if (value === SLASH) return next === STAR ? other('block', at + 2) : undefined;
  if (at > 0 && isWordByte(buffer[at - 1] as number)) return undefined;
  const text = buffer.toString('latin1', at, at + 66);
  const [tag] = /^\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$/.exec(text) ?? [];
  if (tag !== undefined) return other('dollar', at + tag.length, tag);
  return !final && text.length < 66 && /^\$[\w\x80-\xff]*$/.test(text) && !/^\$\d/.test(text) ? 'more' : undefined;
}

/** `E'…'` of PostgreSQL. */
function isEscapeString(buffer: Buffer, at: number): boolean {
  const value = buffer[at - 1];
  return (value === 69 || value === 101) && (at < 2 || !isWordByte(buffer[at - 2] as number));
}

/**
 * Where it ends: the place after it. `closed` false: not here; what is before `at` need not be looked at again.
 * @throws sql_dialect: a backslash in a string, and nothing has told what it means
 */
export function closing(buffer: Buffer, inside: Inside, from: number, final: boolean): { at: number; closed: boolean } {
  if (inside.kind === 'quote') return closingQuote(buffer, inside, from, final);
  const mark = inside.kind === 'line' ? '\n' : inside.kind === 'block' ? '*/' : inside.tag;
  const end = inside.kind === 'line' ? buffer.indexOf(LF, from) : buffer.indexOf(mark, from, 'latin1');
  if (end >= 0) return { at: end + mark.length, closed: true };
  return { at: final ? buffer.length : Math.max(from, buffer.length - mark.length + 1), closed: false };
}

function closingQuote(buffer: Buffer, { quote, escapes }: Inside, from: number, final: boolean) {
  for (let i = from; i < buffer.length; i++) {
    const value = buffer[i] as number;
    if (value === BACKSLASH && escapes !== false && quote !== BACKTICK) {
      if (escapes === undefined) throw fileError('sql_dialect');
      if (i + 1 === buffer.length) return { at: i, closed: false };
      i++;
    } else if (value === quote) {
      if (i + 1 === buffer.length) return { at: final ? i + 1 : i, closed: final };
      if (buffer[i + 1] !== quote) return { at: i + 1, closed: true };
      i++;
    }
  }
  return { at: buffer.length, closed: false };
}

const hintBytes = 200;

/** Is there enough of a comment to say so? */
export const hintThere = (buffer: Buffer, { kind, from }: Inside) =>
  kind === 'quote' || buffer.length - from >= hintBytes || buffer.indexOf(LF, from) >= 0;

/** What a comment, or the way a name is quoted, tells of the program that wrote it. */
export function hintOf(buffer: Buffer, { kind, from, quote }: Inside): Backslash {
  if (kind === 'quote') return quote === BACKTICK ? true : undefined;
  if (kind === 'dollar') return undefined;
  const end = buffer.indexOf(LF, from);
  const text = buffer.toString('latin1', from, Math.min(end < 0 ? buffer.length : end, from + hintBytes));
  return kind === 'block' && text.startsWith('!') ? true : writtenBy(text);
}
