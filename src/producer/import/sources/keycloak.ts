import { type Fields, hasAll, isBlank, objectIn, type Person, type Sample, type Source } from './source.ts';

/**
 * Keycloak: a realm as one object or its users in several files, old and new. A credential is JSON inside a text since version 8,
 * and plain fields before.
 */
export const keycloak: Source = {
  name: 'keycloak',
  title: 'Keycloak',
  containers: ['json', 'ndjson'],
  lists: ['users'],
  by: ['id', 'username', 'email'],
  recognise(sample) {
    const { list, outer, names } = sample;
    if (sample.container === 'json' && outer.includes('realm') && list !== 'result') {
      // A realm has no list of users when it was exported without them.
      return list !== undefined || hasAll(outer, 'realm', 'enabled') || outer.length > 1 ? 'sure' : 'maybe';
    }
    // A realm on one line without a list of users, or several in a list.
    if (names.includes('realm') && (names.includes('enabled') || names.includes('roles'))) return 'sure';
    if (credentialsOf(sample).some(isStored)) return 'sure';
    return hasAll(names, 'username', 'credentials') ? 'maybe' : 'no';
  },
  hasPasswords: ({ records }) => records.some((fields) => fields.credentials !== undefined),
  read(fields) {
    // The account of a client: nobody logs in with a password there.
    if (!isBlank(fields.serviceAccountClientId)) return undefined;
    const person: Person = { id: fields.id };
    if (!isBlank(fields.username)) person.userName = fields.username;
    if (!isBlank(fields.email)) person.email = fields.email;
    const found = listIn(fields.credentials).filter(({ type }) => type === 'password');
    if (found.length > 1) return { ...person, refused: 'field_repeated' };
    Object.assign(person, secretOf(found[0]));
    const actions = fields.requiredActions;
    if (Array.isArray(actions) && actions.includes('UPDATE_PASSWORD')) person.changeRequired = true;
    return person;
  },
};

function secretOf(credential: Fields | undefined): Partial<Person> {
  if (!credential) return { passwordHash: '' };
  const { createdDate, value, temporary } = credential;
  const setAt = isBlank(createdDate) || createdDate === 0 ? {} : { setAt: createdDate };
  // A realm that was written to be imported.
  if (typeof value === 'string' && !isStored(credential)) {
    return { ...setAt, password: value, ...(temporary === true && { changeRequired: true }) };
  }
  const { secretData, credentialData, hashedSaltedValue, salt, hashIterations, algorithm } = credential;
  const stored = hashedSaltedValue === undefined ? { secretData, credentialData } : { hashedSaltedValue };
  const rest = hashedSaltedValue === undefined ? {} : { salt, hashIterations, algorithm: algorithm ?? 'pbkdf2' };
  return { ...setAt, passwordHash: isStored(credential) ? JSON.stringify({ ...stored, ...rest }) : '' };
}

const isStored = ({ secretData, hashedSaltedValue }: Fields) =>
  secretData !== undefined || hashedSaltedValue !== undefined;

function listIn(value: unknown): Fields[] {
  if (!Array.isArray(value)) return [];
  return value.map(objectIn).filter((each) => each !== undefined);
}

const credentialsOf = ({ records }: Sample) => records.flatMap(({ credentials }) => listIn(credentials));
