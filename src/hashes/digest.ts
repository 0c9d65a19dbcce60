import { fromBase64, fromHex } from './bytes.ts';
import { usable } from './crypt.ts';
import type { Digest, Found } from './kinds.ts';
import { digestBytes } from './pbkdf2.ts';

type Order = 'plain' | 'salt-last' | 'salt-first';

const digestOfHex: Record<number, Digest> = {
  32: 'md5',
  40: 'sha1',
  56: 'sha224',
  64: 'sha256',
  96: 'sha384',
  128: 'sha512',
};

/** Digests without rounds: bare hex, `$md5salted-…$`, Django's old ones, `{SHA}` and its kin, `digest:salt`. */
export function parseDigest(text: string): Found | undefined {
  if (text.startsWith('$md5salted')) return salted(text);
  if (/^(?:md5|sha1|unsalted_\w+|crypt)\$/.test(text)) return django(text);
  if (text.startsWith('{')) return scheme(text);
  // Joomla, osCommerce, vBulletin: the same shape, different recipes.
  if (/^[0-9a-f]{32,128}[:$].{1,64}$/is.test(text)) return { kind: 'digest-with-salt', refused: 'hash_recipe_unknown' };
  const bytes = /^(?:0x)?[0-9a-f]{32,128}$/i.test(text) ? fromHex(text.replace(/^0x/i, '')) : undefined;
  const digest = bytes && digestOfHex[bytes.length * 2];
  return digest && digestFound(digest, 'plain', Buffer.alloc(0), bytes);
}

/** From its parts, wherever they stood. */
export function digestFound(
  digest: Digest,
  order: Order,
  salt: Buffer,
  hash: Buffer | undefined,
  form?: string,
): Found {
  const named = { kind: order === 'plain' ? digest : `${digest}-${order}`, ...(form && { form }) };
  if (!hash) return { ...named, refused: 'hash_malformed' };
  if (hash.length !== digestBytes[digest]) return { ...named, refused: 'hash_length' };
  const recipe = { kind: 'digest', digest, order, salt, hash } as const;
  if (digest !== 'md5') return { ...named, recipe, refused: order === 'plain' ? 'digest_plain' : 'digest_salted' };
  if (order !== 'plain' && !usable(salt.toString('latin1'))) return { ...named, recipe, refused: 'salt_unusable' };
  return { ...named, recipe, warnings: order === 'plain' ? ['unmarked', 'weak'] : ['weak'] };
}

/** `$md5salted-suffix$salt$base64` and `-prefix`. */
function salted(text: string): Found {
  const [, order, salt, hash = '!'] = /^\$md5salted-(suffix|prefix)\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  if (salt === undefined) return { kind: 'md5-salted', refused: 'hash_malformed' };
  return digestFound('md5', order === 'suffix' ? 'salt-last' : 'salt-first', Buffer.from(salt), fromBase64(hash));
}

/** `md5$salt$hex` and `sha1$salt$hex`: the salt comes first. */
function django(text: string): Found {
  const [, digest, salt = '', hash = ''] = /^(?:unsalted_)?(md5|sha1)\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  if (digest !== 'md5' && digest !== 'sha1')
    return { kind: text.startsWith('crypt$') ? 'des-crypt' : 'digest', form: 'Django', refused: 'no_verifier' };
  return digestFound(digest, salt === '' ? 'plain' : 'salt-first', Buffer.from(salt), fromHex(hash), 'Django');
}

const schemes: Record<string, [Digest, salted: boolean]> = {
  MD5: ['md5', false],
  SMD5: ['md5', true],
  SHA: ['sha1', false],
  SHA1: ['sha1', false],
  SSHA: ['sha1', true],
  SSHA1: ['sha1', true],
};
for (const bits of ['224', '256', '384', '512'] as const) {
  schemes[`SHA${bits}`] = [`sha${bits}`, false];
  schemes[`SSHA${bits}`] = [`sha${bits}`, true];
}

/** Directories: `{SCHEME}` and base64 (or hex) of digest, then salt. */
function scheme(text: string): Found | undefined {
  const [, written = '', body = ''] = /^\{([\w.-]{1,24})\}(.*)$/s.exec(text) ?? [];
  const name = written.toUpperCase().replace(/-(?=\d)/, '');
  if (/^(?:CLEAR|CLEARTEXT|PLAIN|NOOP)$/.test(name)) return { kind: 'clear', refused: 'password_in_clear' };
  const [digest, isSalted] = (Object.hasOwn(schemes, name) ? schemes[name] : undefined) ?? [];
  if (!digest) return written === '' ? undefined : { kind: 'ldap', form: 'LDAP', refused: 'no_verifier' };
  const size = digestBytes[digest];
  const blob = body.length === size * 2 ? (fromHex(body) ?? fromBase64(body)) : fromBase64(body);
  if (!isSalted || !blob) return digestFound(digest, 'plain', Buffer.alloc(0), blob, 'LDAP');
  const kind = `${digest}-salt-last`;
  if (blob.length <= size) return { kind, form: 'LDAP', refused: 'hash_length' };
  const found = digestFound(digest, 'salt-last', blob.subarray(size), blob.subarray(0, size), 'LDAP');
  // Random bytes are rarely text; a file of which one row in thousands works would be worse than none.
  return { ...found, refused: 'digest_salted', warnings: [] };
}
