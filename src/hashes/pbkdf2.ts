import { count, fromBase64, fromHex } from './bytes.ts';
import type { Digest, Found } from './kinds.ts';

/** Bytes that a digest gives; a key shorter than half of it was cut. */
export const digestBytes: Record<Digest, number> = {
  md5: 16,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
};

/** passlib's, Django's, Werkzeug's, and those of directories. */
export function parsePbkdf2(text: string): Found | undefined {
  if (text.startsWith('$pbkdf2')) return modular(text);
  if (text.startsWith('pbkdf2_')) return django(text);
  if (text.startsWith('pbkdf2:')) return werkzeug(text);
  if (/^\{(?:PBKDF2|PKCS5S)/i.test(text)) return directory(text);
  return undefined;
}

/** Rounds, salt and key of whatever form. Errors: what is undefined is malformed. */
export function pbkdf2(
  name: string | undefined,
  rounds: number | undefined,
  salt: Buffer | undefined,
  hash: Buffer | undefined,
  form?: string,
): Found {
  const digest = digestNamed(name ?? '');
  const named = { kind: digest ? `pbkdf2-${digest}` : 'pbkdf2', ...(form && { form }) };
  if (!digest) return { ...named, refused: 'no_verifier' };
  if (!rounds || !salt || !hash) return { ...named, refused: 'hash_malformed' };
  if (hash.length < 16 || hash.length > 512 || salt.length > 512) return { ...named, refused: 'hash_length' };
  return { ...named, recipe: { kind: 'pbkdf2', digest, rounds, salt, hash } };
}

/** `SHA-256`, `sha256`, `HMAC-SHA256`, `` (SHA-1) … → digest; undefined for others. */
function digestNamed(name: string): Digest | undefined {
  const plain = name
    .toLowerCase()
    .replace(/^hmac[-_]?/, '')
    .replace(/[-_]/g, '');
  if (plain === '') return 'sha1';
  return plain !== 'md5' && Object.hasOwn(digestBytes, plain) ? (plain as Digest) : undefined;
}

/** `$pbkdf2-sha256$rounds$salt$hash`, all three alphabets. */
function modular(text: string): Found {
  const [, name, rounds, salt = '!', hash = '!'] =
    /^\$pbkdf2(?:-(\w+))?\$(?:i=)?(\d+)(?:,l=\d+)?\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  if (rounds === undefined) return { kind: 'pbkdf2', refused: 'hash_malformed' };
  return pbkdf2(name, count(rounds), fromBase64(salt), fromBase64(hash));
}

/** `pbkdf2_sha256$rounds$salt as text$base64` */
function django(text: string): Found {
  const [, name = 'none', rounds, salt, hash = '!'] = /^pbkdf2_(\w+)\$(\d+)\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  if (salt === undefined) return { kind: 'pbkdf2', form: 'Django', refused: 'hash_malformed' };
  return pbkdf2(name, count(rounds), Buffer.from(salt), fromBase64(hash), 'Django');
}

/** `pbkdf2:sha256:rounds$salt as text$hex` */
function werkzeug(text: string): Found {
  const [, name = 'none', rounds, salt, hash = ''] = /^pbkdf2:(\w+):(\d+)\$([^$]*)\$([^$]*)$/.exec(text) ?? [];
  if (salt === undefined) return { kind: 'pbkdf2', form: 'Werkzeug', refused: 'hash_malformed' };
  return pbkdf2(name, count(rounds), Buffer.from(salt), fromHex(hash), 'Werkzeug');
}

function directory(text: string): Found {
  const [, scheme = '', body = ''] = /^\{([\w-]+)\}(.*)$/s.exec(text) ?? [];
  const refused = (reason: 'hash_malformed' | 'parameters_missing' | 'hash_length'): Found => ({
    kind: 'pbkdf2',
    form: 'LDAP',
    refused: reason,
  });
  // Atlassian: 16 bytes of salt, then the key; always SHA-1, 10,000 rounds.
  if (/^PKCS5S2?$/i.test(scheme)) {
    const blob = fromBase64(body);
    return blob?.length === 48
      ? pbkdf2('sha1', 10_000, blob.subarray(0, 16), blob.subarray(16), 'Atlassian')
      : refused(blob ? 'hash_length' : 'hash_malformed');
  }
  const name = scheme.replace(/^PBKDF2[-_]?/i, '');
  // OpenLDAP and 389 Directory Server.
  const [, rounds, salt, hash = '!'] = /^(\d+)\$([^$]*)\$([^$]*)$/.exec(body) ?? [];
  if (salt !== undefined) return pbkdf2(name, count(rounds), fromBase64(salt), fromBase64(hash), 'LDAP');
  // ForgeRock and OpenDJ: the key, as long as its digest, then the salt.
  const [, turns, rest] = /^(\d+):([^:]*)$/.exec(body) ?? [];
  if (rest !== undefined) {
    const blob = fromBase64(rest);
    const size = digestBytes[digestNamed(name) ?? 'sha1'];
    if (!blob) return refused('hash_malformed');
    if (blob.length <= size) return refused('hash_length');
    return pbkdf2(name, count(turns), blob.subarray(size), blob.subarray(0, size), 'ForgeRock');
  }
  const blob = fromBase64(body);
  // 389 Directory Server before 2.0: rounds in 4 bytes, 64 of salt, 256 of key.
  if (blob?.length === 324)
    return pbkdf2(name, blob.readUInt32BE(0), blob.subarray(4, 68), blob.subarray(68), '389 Directory Server');
  return refused(/^[0-9a-f]+$/i.test(body) || blob ? 'parameters_missing' : 'hash_malformed');
}
