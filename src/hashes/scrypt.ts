import { count, fromBase64, fromHex } from './bytes.ts';
import type { Found } from './kinds.ts';

/** passlib and PHC, Werkzeug, Django, Spring; Firebase's own is told apart. */
export function parseScrypt(text: string): Found | undefined {
  if (text.startsWith('$fbscrypt$') || /^[A-Za-z0-9+/_=-]{80,}\$[^$]+\$[^$]+\$[^$]*\$\d+\$\d+$/.test(text))
    return { kind: 'scrypt-firebase', form: 'Firebase', refused: 'firebase_scrypt' };
  if (text.startsWith('$scrypt$') || text.startsWith('$7$')) return phc(text);
  if (text.startsWith('scrypt:')) return werkzeug(text);
  if (text.startsWith('scrypt$')) return django(text);
  if (text.startsWith('{scrypt}') || text.startsWith('$e0801$')) return spring(text.replace('{scrypt}', ''));
  return undefined;
}

function phc(text: string): Found {
  const [, ln, r, p, salt, hash] = /^\$(?:scrypt|7)\$ln=(\d+),r=(\d+),p=(\d+)\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  if (ln === undefined) return { kind: 'scrypt', refused: text.startsWith('$7$') ? 'no_verifier' : 'hash_malformed' };
  return scrypt({ ln: count(ln), r: count(r), p: count(p) }, fromBase64(salt ?? '!'), fromBase64(hash ?? '!'));
}

/** `scrypt:N:r:p$salt as text$hex` */
function werkzeug(text: string): Found {
  const [, n, r, p, salt = '', hash = ''] = /^scrypt:(\d+):(\d+):(\d+)\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  return scrypt({ ln: log2(count(n)), r: count(r), p: count(p) }, Buffer.from(salt), fromHex(hash), 'Werkzeug');
}

/** `scrypt$N$salt as text$r$p$base64` */
function django(text: string): Found {
  const [, n, salt = '', r, p, hash = ''] = /^scrypt\$(\d+)\$([^$]*)\$(\d+)\$(\d+)\$([^$]*)$/.exec(text) ?? [];
  return scrypt({ ln: log2(count(n)), r: count(r), p: count(p) }, Buffer.from(salt), fromBase64(hash), 'Django');
}

/** `$parameters in hex$base64$base64`: log2 N, r and p packed into one number. */
function spring(text: string): Found {
  const [, packed = '', salt = '', hash = ''] = /^\$([0-9a-f]{1,8})\$([^$]*)\$([^$]*)$/i.exec(text) ?? [];
  const value = Number.parseInt(packed, 16);
  const cost = Number.isNaN(value)
    ? { ln: undefined, r: undefined, p: undefined }
    : { ln: value >>> 16, r: (value >>> 8) & 255, p: value & 255 };
  return scrypt(cost, fromBase64(salt), fromBase64(hash), 'Spring');
}

function log2(n: number | undefined): number | undefined {
  if (n === undefined) return undefined;
  const log = Math.log2(n);
  return Number.isInteger(log) ? log : undefined;
}

function scrypt(
  { ln, r, p }: { ln: number | undefined; r: number | undefined; p: number | undefined },
  salt: Buffer | undefined,
  hash: Buffer | undefined,
  form?: string,
): Found {
  const named = { kind: 'scrypt', ...(form && { form }) };
  if (!ln || !r || !p || !salt || !hash) return { ...named, refused: 'hash_malformed' };
  if (hash.length < 16 || hash.length > 128) return { ...named, refused: 'hash_length' };
  return { ...named, recipe: { kind: 'scrypt', ln, r, p, salt, hash } };
}
