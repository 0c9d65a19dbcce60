import type { Found } from './kinds.ts';

/** bcrypt with its letter; `$2y$`, `$2a$` and `$2b$` are the same for passwords of up to 72 bytes without NUL. */
export function parseBcrypt(text: string): Found | undefined {
  if (text.startsWith('$wp$')) return before('wp-sha384', text.slice(3), 'WordPress');
  if (text.startsWith('bcrypt_sha256$')) return before('sha256-hex', text.slice('bcrypt_sha256$'.length), 'Django');
  if (text.startsWith('$bcrypt-sha256$')) return { kind: 'bcrypt-sha256', form: 'passlib', refused: 'prehashed' };
  const [, variant] = /^\$2([a-z]?)\$/.exec(text) ?? [];
  if (variant === undefined) return undefined;
  if (variant === '') return { kind: 'bcrypt', refused: 'bcrypt_bare' };
  if (variant === 'x') return { kind: 'bcrypt', refused: 'bcrypt_flawed' };
  if (!'aby'.includes(variant)) return { kind: 'bcrypt', refused: 'hash_malformed' };
  const parts = /^\$2[aby]\$(\d\d)\$([./A-Za-z0-9]*)$/.exec(text);
  if (!parts?.[1]) return { kind: 'bcrypt', refused: 'hash_malformed' };
  if (parts[2]?.length !== 53) return { kind: 'bcrypt', refused: 'hash_length' };
  const log2 = Number(parts[1]);
  if (log2 < 4 || log2 > 31) return { kind: 'bcrypt', refused: log2 < 4 ? 'hash_malformed' : 'cost_too_high' };
  // Hashes of `$2a$` keep their letter: every target knows it. `$2y$` is PHP's, and some libraries do not.
  const encoded = text.startsWith('$2y$') ? `$2b$${text.slice(4)}` : text;
  return { kind: 'bcrypt', recipe: { kind: 'bcrypt', log2, text: encoded }, warnings: ['bcrypt_72'] };
}

function before(how: 'wp-sha384' | 'sha256-hex', inner: string, form: string): Found {
  const kind = `bcrypt-${how}`;
  const found = parseBcrypt(inner);
  if (found?.recipe?.kind !== 'bcrypt') return { kind, form, refused: found?.refused ?? 'hash_malformed' };
  return { kind, form, refused: 'prehashed', recipe: { ...found.recipe, before: how } };
}
