import { fromBase64 } from '../../../hashes/bytes.ts';
import { type Fields, hasAll, isBlank, objectIn, type Person, type Source } from './source.ts';
import { named } from './tables.ts';

/**
 * Okta: users as its API takes them, with hashes. What the API answers has no passwords, and neither has a CSV of the dashboard.
 */
export const okta: Source = {
  name: 'okta',
  title: 'Okta',
  containers: ['json', 'ndjson', 'csv'],
  lists: ['users'],
  by: ['username', 'email', 'id'],
  recognise({ container, names, records }) {
    if (container === 'csv') return hasAll(names, 'login', 'firstName', 'lastName', 'email') ? 'sure' : 'no';
    const logins = records.filter(({ profile }) => objectIn(profile)?.login !== undefined);
    if (logins.length === 0) return 'no';
    return names.includes('credentials') || names.includes('status') ? 'sure' : 'maybe';
  },
  hasPasswords: ({ records }) => records.some((fields) => passwordOf(fields) !== undefined),
  read(fields) {
    const profile = objectIn(fields.profile) ?? {};
    const who = named(fields.id, profile.email, profile.login);
    const changed = fields.passwordChanged;
    const dated = isBlank(changed) ? {} : { setAt: changed };
    const { hash, value } = passwordOf(fields) ?? {};
    if (hash !== undefined) return { ...who, ...dated, ...hashOf(objectIn(hash) ?? {}) };
    return value === undefined ? { ...who, passwordHash: '' } : { ...who, ...dated, password: value };
  },
};

function passwordOf(fields: Fields): Fields | undefined {
  const password = objectIn(objectIn(fields.credentials)?.password);
  return password && (password.hash !== undefined || password.value !== undefined) ? password : undefined;
}

const digests: Record<string, string> = { MD5: 'md5', 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-512': 'sha512' };

function hashOf({
  algorithm,
  value,
  salt,
  saltOrder,
  workFactor,
  digestAlgorithm,
  iterationCount,
}: Fields): Partial<Person> {
  if (typeof value !== 'string') return { refused: 'hash_malformed' };
  if (algorithm === 'BCRYPT') {
    return { passwordHash: `$2a$${String(workFactor).padStart(2, '0')}$${salt ?? ''}${value}` };
  }
  if (algorithm === 'PBKDF2') {
    const [, digest] = /^(SHA\d+)_HMAC$/.exec(String(digestAlgorithm)) ?? [];
    if (digest === undefined) return { refused: 'parameters_missing' };
    const fields = { algorithm: `pbkdf2-${digest.toLowerCase()}`, hashIterations: iterationCount, salt, value };
    return { passwordHash: JSON.stringify(fields) };
  }
  const digest = Object.hasOwn(digests, String(algorithm)) ? digests[String(algorithm)] : undefined;
  if (digest === undefined) return { refused: 'hash_unknown' };
  const salted = !isBlank(salt) && {
    salt: { value: salt, encoding: 'base64', position: saltOrder === 'POSTFIX' ? 'suffix' : 'prefix' },
  };
  if (!fromBase64(value)) return { refused: 'hash_malformed' };
  return { passwordHash: JSON.stringify({ algorithm: digest, hash: { value, encoding: 'base64' }, ...salted }) };
}
