import { argon2 } from './argon2.ts';
import { fromBase64, fromHex } from './bytes.ts';
import { digestFound } from './digest.ts';
import type { Found, Parser } from './kinds.ts';
import { pbkdf2 } from './pbkdf2.ts';

type Fields = Record<string, unknown>;

/** A credential in JSON: Keycloak's, new and old; Auth0's custom hash; Firebase's user. `again` reads a hash inside it. */
export function parseJson(text: string, again: Parser): Found | undefined {
  if (!text.startsWith('{"') && !/^\{\s*"/.test(text)) return undefined;
  const fields = object(text);
  if (!fields) return { kind: 'json', refused: 'hash_malformed' };
  const { secretData, credentialData, hashedSaltedValue, custom_password_hash: custom } = fields;
  if (secretData !== undefined || credentialData !== undefined)
    return keycloak({ ...object(secretData), ...object(credentialData) });
  if (hashedSaltedValue !== undefined) return keycloak({ ...fields, value: hashedSaltedValue });
  if (fields.hashIterations !== undefined) return keycloak(fields);
  if (custom !== undefined || (fields.algorithm !== undefined && fields.hash !== undefined))
    return auth0(object(custom) ?? fields, again);
  if (fields.passwordHash !== undefined && (fields.localId !== undefined || fields.salt !== undefined))
    return { kind: 'scrypt-firebase', form: 'Firebase', refused: 'firebase_scrypt' };
  return { kind: 'json', refused: 'hash_unknown' };
}

/** JSON, or JSON inside a string. */
function object(value: unknown): Fields | undefined {
  let found = value;
  if (typeof value === 'string') {
    try {
      found = JSON.parse(value);
    } catch {
      return undefined;
    }
  }
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? (found as Fields) : undefined;
}

const whole = (value: unknown) => (Number.isSafeInteger(Number(value)) && value !== null ? Number(value) : undefined);
const string = (value: unknown) => (typeof value === 'string' ? value : '!');

function keycloak({ algorithm, hashIterations, salt, value, additionalParameters }: Fields): Found {
  const form = 'Keycloak';
  const rounds = whole(hashIterations);
  const [key, salted] = [fromBase64(string(value)), fromBase64(string(salt))];
  if (algorithm === 'argon2') {
    const more = object(additionalParameters) ?? {};
    // Each one is a list with one text; those of the secret are empty.
    const one = (name: string) => (Array.isArray(more[name]) ? (more[name] as unknown[])[0] : more[name]);
    const kind = `argon2${one('type') ?? 'id'}`;
    if (!/^(?:1\.3|19)$/.test(String(one('version') ?? '1.3'))) return { kind, form, refused: 'argon2_version' };
    const cost = { m: whole(one('memory')), t: rounds, p: whole(one('parallelism')) };
    const found = argon2(kind, cost, salted, key);
    return { ...found, form, ...(kind === 'argon2d' && { refused: found.refused ?? ('argon2d' as const) }) };
  }
  const [, name] = /^pbkdf2(?:-(sha\d+))?$/.exec(string(algorithm)) ?? ['', 'none'];
  return pbkdf2(name ?? 'sha1', rounds, salted, key, form);
}

/** `algorithm`, `hash {value, encoding, digest, key}`, `salt {value, encoding, position}`, `password {encoding}`. */
function auth0(fields: Fields, again: Parser): Found {
  const form = 'Auth0';
  const algorithm = string(fields.algorithm).toLowerCase();
  const [hash, salt, password] = [object(fields.hash) ?? {}, object(fields.salt), object(fields.password) ?? {}];
  if (!/^(?:utf-?8|ascii|!)$/i.test(string(password.encoding)))
    return { kind: algorithmKind(algorithm), form, refused: 'prehashed' };
  if (hash.key !== undefined) return { kind: algorithmKind(algorithm), form, refused: 'peppered' };
  const decode = (text: unknown, encoding: unknown) =>
    /^base64$/i.test(string(encoding)) ? fromBase64(string(text)) : fromHex(string(text));
  if (algorithm === 'md5' || /^sha(?:1|256|512)$/.test(algorithm)) {
    const value = decode(hash.value, hash.encoding ?? 'hex');
    const bytes = !salt ? Buffer.alloc(0) : saltBytes(salt);
    if (!bytes) return { kind: algorithmKind(algorithm), form, refused: 'hash_malformed' };
    const order = !salt ? 'plain' : salt.position === 'suffix' ? 'salt-last' : 'salt-first';
    return digestFound(algorithm as 'md5' | 'sha1' | 'sha256' | 'sha512', order, bytes, value, form);
  }
  // bcrypt, argon2, pbkdf2 and scrypt (there: with `cost` beside it) come as they are written elsewhere.
  const found = /^[${]/.test(string(hash.value)) ? again(string(hash.value)) : undefined;
  return found ? { ...found, form } : { kind: algorithmKind(algorithm), form, refused: 'parameters_missing' };
}

function saltBytes({ value, encoding }: Fields): Buffer | undefined {
  if (typeof value !== 'string') return undefined;
  if (encoding === 'hex') return fromHex(value);
  return encoding === 'base64' ? fromBase64(value) : Buffer.from(value);
}

/** Names of algorithms come from a file: only those that we know are repeated. */
function algorithmKind(name: string): string {
  return /^(?:md[45]|sha(?:1|256|512)|hmac|bcrypt|argon2|pbkdf2|scrypt|ldap)$/.test(name) ? name : 'unknown';
}
