/**
 * Bytes as people write them: base64 in three alphabets (standard, URL-safe, passlib's `.` for `+`), with and without
 * padding, hex in either case; and crypt(3)'s own 64 characters.
 */

/** Undefined for what is no base64 in any of the alphabets, for a mixture of two, and for impossible lengths. */
export function fromBase64(text: string): Buffer | undefined {
  const [, body, padding] = /^([A-Za-z0-9+/._-]*)(={0,2})$/.exec(text) ?? [];
  if (body === undefined || body.length % 4 === 1) return undefined;
  if (padding && (body.length + padding.length) % 4 !== 0) return undefined;
  if (/[_-]/.test(body) && /[+/.]/.test(body)) return undefined;
  if (body.includes('.') && body.includes('+')) return undefined;
  return Buffer.from(body.replaceAll('.', '+'), 'base64');
}

export function fromHex(text: string): Buffer | undefined {
  return text.length % 2 === 0 && /^[0-9A-Fa-f]+$/.test(text) ? Buffer.from(text, 'hex') : undefined;
}

/** Standard base64 without padding, as PHC strings have it. */
export function phc64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '');
}

/** passlib's: `.` for `+`, no padding. */
export function adapted64(bytes: Buffer): string {
  return phc64(bytes).replaceAll('+', '.');
}

export const itoa64 = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** crypt(3): `count` characters, the lowest six bits first. */
export function cryptChars(value: number, count: number): string {
  let text = '';
  for (let rest = value, i = 0; i < count; i++, rest >>>= 6) text += itoa64[rest & 63];
  return text;
}

/** phpass and Drupal: bytes in order, three at a time, the lowest six bits first. */
export function phpass64(bytes: Buffer): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const part = bytes.subarray(i, i + 3);
    text += cryptChars((part[0] ?? 0) | ((part[1] ?? 0) << 8) | ((part[2] ?? 0) << 16), part.length + 1);
  }
  return text;
}

/** A whole number of up to ten digits without leading zeros; undefined otherwise. */
export function count(text: string | undefined): number | undefined {
  return text !== undefined && /^(?:0|[1-9]\d{0,9})$/.test(text) ? Number(text) : undefined;
}
