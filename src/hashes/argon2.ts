import { count, fromBase64 } from './bytes.ts';
import type { Found, Recipe } from './kinds.ts';

/** PHC strings; parameters in any order, the version present or not. */
export function parseArgon2(text: string): Found | undefined {
  const [, kind, rest] = /^\$(argon2(?:id|i|d)?)\$(.*)$/s.exec(text) ?? [];
  if (kind === undefined || rest === undefined) return undefined;
  if (kind === 'argon2') return { kind, refused: 'hash_malformed' };
  const parts = rest.split('$');
  const version = parts[0]?.startsWith('v=') ? parts.shift()?.slice(2) : '16';
  const [parameters = '', salt, hash] = parts;
  const named = new Map<string, string>();
  for (const one of parameters.split(',')) named.set(one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1));
  // Without a version it is that of before 2016.
  if (kind !== 'argon2d' && version !== '19')
    return { kind, refused: count(version) === undefined ? 'hash_malformed' : 'argon2_version' };
  if (named.has('keyid') || named.has('data')) return { kind, refused: 'peppered' };
  if (parts.length !== 3 || named.size !== 3) return { kind, refused: 'hash_malformed' };
  const [m, t, p] = ['m', 't', 'p'].map((name) => count(named.get(name)));
  const found = argon2(kind, { m, t, p }, fromBase64(salt ?? '!'), fromBase64(hash ?? '!'));
  return kind === 'argon2d' ? { ...found, refused: found.refused ?? 'argon2d' } : found;
}

/** From its parts, wherever they stood. `m` in KiB. */
export function argon2(
  kind: string,
  { m, t, p }: { m: number | undefined; t: number | undefined; p: number | undefined },
  salt: Buffer | undefined,
  hash: Buffer | undefined,
): Found {
  if (kind !== 'argon2i' && kind !== 'argon2id' && kind !== 'argon2d') return { kind, refused: 'hash_malformed' };
  if (m === undefined || t === undefined || p === undefined || !salt || !hash)
    return { kind, refused: 'hash_malformed' };
  if (salt.length < 8 || hash.length < 12 || hash.length > 128) return { kind, refused: 'hash_length' };
  const recipe: Recipe = { kind, m, t, p, salt, hash };
  return { kind, recipe, warnings: ['argon2_cloud'] };
}
