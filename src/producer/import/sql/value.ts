import { isUtf8 } from 'node:buffer';

/** What is known of a field of a dump besides its bounds; added up. */
export const hasString = 1;
export const doubledQuote = 2;
export const backslash = 4;
/** More than one string, or brackets: nothing but running it would tell its value. */
export const isExpression = 8;

/** A value that is no literal. */
export const expression = Symbol('expression');
/** Bytes that are not UTF-8. */
export const undecodable = Symbol('undecodable');

export type SqlValue = string | null | typeof expression | typeof undecodable;

const mysqlEscapes: Record<string, string> = { 0: '\0', b: '\b', n: '\n', r: '\r', t: '\t', Z: '\x1a' };
const moreEscapes: Record<string, string> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** The bytes of a field, without blanks around it → its value. `ascii`: there are no others in it. */
export function insertValue(bytes: Buffer, facts: number, ascii: boolean): SqlValue {
  const raw = ascii ? bytes.toString('latin1') : isUtf8(bytes) ? bytes.toString('utf8') : undecodable;
  if (raw === undecodable) return raw;
  if (facts === hasString && raw[0] === "'" && raw.endsWith("'")) return raw.slice(1, -1);
  return (facts & hasString) === 0 ? bare(raw) : quoted(raw, facts);
}

function bare(raw: string): SqlValue {
  if (/^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$/.test(raw)) return raw;
  const word = raw.toUpperCase();
  if (word === 'NULL' || word === 'DEFAULT') return null;
  if (word === 'TRUE' || word === 'FALSE') return word.toLowerCase();
  return /^0x(?:[0-9a-f]{2})+$/i.test(raw) ? fromHex(raw.slice(2)) : expression;
}

function quoted(raw: string, facts: number): SqlValue {
  // `E'…'`, `_binary '…'`, `X'…'` before, `::type` behind.
  const [, prefix = '', inside] = /^((?:[A-Za-z]|_[A-Za-z0-9]+\s*)?)'([\s\S]*)'(?:::[\w ."[\](),]+)?$/.exec(raw) ?? [];
  const cast = raw.endsWith("'") ? '' : '::';
  if (inside === undefined || ((facts & isExpression) !== 0 && cast === '')) return expression;
  const text = (facts & doubledQuote) === 0 ? inside : inside.replaceAll("''", "'");
  if (/^[xX]$/.test(prefix)) return /^(?:[0-9a-f]{2})*$/i.test(inside) ? fromHex(inside) : expression;
  if (/^[bB]$/.test(prefix)) return expression;
  if (/^[eE]$/.test(prefix)) return unescaped(text, moreEscapes, true);
  return (facts & backslash) === 0 ? text : unescaped(text, mysqlEscapes, false);
}

function fromHex(digits: string): SqlValue {
  const bytes = Buffer.from(digits, 'hex');
  return isUtf8(bytes) ? bytes.toString('utf8') : undecodable;
}

function unescaped(text: string, letters: Record<string, string>, numbers: boolean): string {
  return text.replaceAll(
    /\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\s\S]))/g,
    (all, octal, hex, short, long, letter) => {
      if (letter !== undefined) return letters[letter] ?? letter;
      if (!numbers) return (letters[all[1] as string] ?? all[1]) + all.slice(2);
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      return String.fromCodePoint(Number.parseInt(hex ?? short ?? long, 16));
    },
  );
}

/** A field of a COPY block: `\N` is NULL, a backslash is an escape. */
export function copyValue(bytes: Buffer, ascii: boolean): SqlValue {
  const raw = ascii ? bytes.toString('latin1') : isUtf8(bytes) ? bytes.toString('utf8') : undecodable;
  if (raw === undecodable || !raw.includes('\\')) return raw;
  return raw === '\\N' ? null : unescaped(raw, moreEscapes, true);
}
