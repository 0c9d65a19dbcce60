import { fromBase64, fromHex } from '../../../hashes/bytes.ts';
import type { HashReason } from '../../../hashes/reasons.ts';
import { hasAll, isBlank, type Person, type Source } from './source.ts';
import { named } from './tables.ts';

/** Clerk: the CSV of the dashboard. Its column `password_hasher` says how to read `password_digest`: nothing is guessed. */
export const clerk: Source = {
  name: 'clerk',
  title: 'Clerk',
  containers: ['csv', 'json'],
  by: ['id', 'email', 'username'],
  recognise({ names }) {
    if (hasAll(names, 'password_digest', 'password_hasher')) return 'sure';
    return hasAll(names, 'primary_email_address', 'id') ? 'sure' : 'no';
  },
  hasPasswords: ({ names }) => names.includes('password_digest'),
  read(fields) {
    const { id, primary_email_address: email, username, password_digest: digest, password_hasher: hasher } = fields;
    const who = named(id, email, username);
    if (isBlank(digest)) return { ...who, passwordHash: '' };
    if (typeof digest !== 'string') return { ...who, passwordHash: digest };
    return { ...who, ...hashOf(digest, typeof hasher === 'string' ? hasher.trim().toLowerCase() : '') };
  },
};

type Read = (digest: string) => Partial<Person>;

const asItIs: Read = (digest) => ({ passwordHash: digest });
/** As it is, if it looks like one. */
const beginning =
  (form: RegExp): Read =>
  (digest) =>
    form.test(digest) ? { passwordHash: digest } : { refused: 'hash_malformed' };
const refuse =
  (refused: HashReason): Read =>
  () => ({ refused });

/** Every name that Clerk has for a way of hashing. */
const hashers: Record<string, Read> = {
  argon2i: beginning(/^\$argon2i\$/),
  argon2id: beginning(/^\$argon2id\$/),
  awscognito: refuse('no_verifier'),
  bcrypt: beginning(/^\$2[abxy]?\$/),
  bcrypt_peppered: refuse('peppered'),
  bcrypt_sha256_django: beginning(/^bcrypt_sha256\$/),
  hmac_sha256_utf16_b64: refuse('recipe_foreign'),
  ldap_ssha: (digest) => ({ passwordHash: digest.startsWith('{') ? digest : `{SSHA}${digest}` }),
  md5: beginning(/^[0-9a-f]{32}$/i),
  md5_salted: refuse('hash_recipe_unknown'),
  md5_phpass: beginning(/^\$[PH]\$/),
  phpass: beginning(/^\$[PH]\$/),
  // The same words mean other things: here the salt is base64 too, there the hash is hexadecimal.
  pbkdf2_sha256: (digest) => pbkdf2(digest, 'sha256', fromBase64, fromBase64),
  pbkdf2_sha1: (digest) => pbkdf2(digest, 'sha1', Buffer.from, fromHex),
  pbkdf2_sha256_django: beginning(/^pbkdf2_sha256\$/),
  pbkdf2_sha512: refuse('hash_recipe_unknown'),
  pbkdf2_sha512_hex: refuse('hash_recipe_unknown'),
  scrypt_firebase: refuse('firebase_scrypt'),
  scrypt_werkzeug: beginning(/^scrypt:/),
  sha256: refuse('digest_plain'),
  sha256_salted: refuse('digest_salted'),
  sha512_symfony: refuse('recipe_foreign'),
};
export const clerkHashers: readonly string[] = Object.keys(hashers);

function hashOf(digest: string, hasher: string): Partial<Person> {
  // Without a name only what names itself.
  if (hasher === '') return asItIs(digest);
  return Object.hasOwn(hashers, hasher) ? (hashers[hasher] as Read)(digest) : { refused: 'hash_unknown' };
}

type Decode = (text: string) => Buffer | undefined;

function pbkdf2(digest: string, name: string, salt: Decode, hash: Decode): Partial<Person> {
  const [, rounds, salted, hashed] = /^pbkdf2_\w+\$(\d{1,10})\$([^$]*)\$([^$]*)$/.exec(digest) ?? [];
  const [s, h] = [salt(salted ?? '!'), hash(hashed ?? '!')];
  if (rounds === undefined || !s || !h || s.length === 0) return { refused: 'hash_malformed' };
  const fields = { algorithm: `pbkdf2-${name}`, hashIterations: Number(rounds) };
  return { passwordHash: JSON.stringify({ ...fields, salt: s.toString('base64'), value: h.toString('base64') }) };
}
