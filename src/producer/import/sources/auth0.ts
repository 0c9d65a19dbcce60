import { type Fields, hasAll, isBlank, objectIn, type Person, plainName, type Sample, type Source } from './source.ts';

/**
 * Auth0: the password export (by their support), the user export, which has no passwords, and the shape of an import, which has
 * both. The first two are joined by the id that the database of a connection gives; an e-mail address is never a key.
 */
export const auth0: Source = {
  name: 'auth0',
  title: 'Auth0',
  containers: ['ndjson', 'json', 'csv'],
  lists: ['users'],
  by: ['id', 'email', 'username'],
  recognise(sample) {
    if (isPasswords(sample) || isImport(sample)) return 'sure';
    if (isUsers(sample)) return 'sure';
    // `_id` with `passwordHash` is also what any MongoDB has.
    return hasAll(plain(sample.names), 'id', 'passwordhash') && sample.container !== 'csv' ? 'maybe' : 'no';
  },
  hasPasswords: (sample) => !isUsers(sample) || isPasswords(sample) || isImport(sample),
  read(fields) {
    const at = plainKeys(fields);
    const id = stableId(at.get('userid')) ?? stableId(fields._id) ?? stableId(fields._ID) ?? stableId(at.get('id'));
    const person: Person = { id: id === undefined ? undefined : `auth0|${id}`, passwordHash: hashOf(fields) };
    // The CSV of their dashboard writes Email, Username.
    if (!isBlank(at.get('email'))) person.email = at.get('email');
    if (!isBlank(at.get('username'))) person.userName = at.get('username');
    const date = fields.password_set_date;
    const setAt = objectIn(date)?.$date ?? date;
    if (!isBlank(setAt)) person.setAt = objectIn(setAt)?.$numberLong ?? setAt;
    return person;
  },
  join: {
    users: (sample) => (isUsers(sample) ? 'sure' : 'no'),
    passwords: (sample) => (isPasswords(sample) ? 'sure' : 'no'),
    userKey: (fields) => stableId(plainKeys(fields).get('userid') ?? plainKeys(fields).get('id')),
    passwordKey: (fields) => stableId(fields._id) ?? stableId(fields._ID),
  },
};

const plain = (names: readonly string[]) => names.map(plainName);
const plainKeys = (fields: Fields) => new Map(Object.entries(fields).map(([name, value]) => [plainName(name), value]));

/** `{"$oid": …}`, `auth0|…` or what stands behind it; undefined for those of other connections, which have no passwords. */
function stableId(value: unknown): string | undefined {
  const text = objectIn(value)?.$oid ?? value;
  if (typeof text !== 'string') return undefined;
  const [, provider, rest] = /^([^|]*)\|(.*)$/s.exec(text) ?? [];
  if (provider === undefined) return text === '' ? undefined : text;
  return provider === 'auth0' && rest !== '' ? rest : undefined;
}

/** Text, or JSON for what is more than one: algorithm, salt, encoding. */
function hashOf(fields: Fields): string {
  const custom = fields.custom_password_hash ?? (objectIn(fields.passwordHash) && fields.passwordHash);
  if (!isBlank(custom)) return JSON.stringify({ custom_password_hash: objectIn(custom) ?? custom });
  const hash = fields.passwordHash ?? fields.password_hash;
  return typeof hash === 'string' ? hash : '';
}

function isPasswords({ names, records }: Sample): boolean {
  const id = names.includes('_id') || names.includes('_ID');
  const own = names.includes('tenant') || names.includes('connection') || names.includes('password_set_date');
  const oid = records.some((fields) => objectIn(fields._id ?? fields._ID)?.$oid !== undefined);
  return id && hasSome(records, 'passwordHash') && (oid || own);
}

const isImport = ({ names, records }: Sample) =>
  (hasSome(records, 'password_hash') || hasSome(records, 'custom_password_hash')) &&
  (names.includes('email') || names.includes('user_id') || names.includes('email_verified'));

const hasSome = (records: readonly Fields[], name: string) => records.some((fields) => fields[name] !== undefined);

/** Every id names its connection: `auth0|…`, `google-oauth2|…`. */
function isUsers({ names, records }: Sample): boolean {
  const found = plain(names);
  if (!found.includes('userid') && !(found.includes('id') && found.includes('emailverified'))) return false;
  const ids = records.map((fields) => plainKeys(fields).get('userid') ?? plainKeys(fields).get('id'));
  return (
    ids.some((id) => typeof id === 'string' && /^[a-z][\w-]*\|./i.test(id)) &&
    ids.every((id) => isBlank(id) || /^[a-z][\w-]*\|/i.test(String(id)))
  );
}
