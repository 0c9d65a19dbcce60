import { hasAll, isBlank, type Person, type Source, someText } from './source.ts';

/** ForgeRock (Ping Identity Management): what a query of managed users answers. */
export const forgerock: Source = {
  name: 'forgerock',
  title: 'ForgeRock',
  containers: ['json'],
  lists: ['result'],
  by: ['id', 'username', 'email'],
  recognise(sample) {
    const { list, names, outer } = sample;
    if (list !== 'result' || !names.includes('userName')) return 'no';
    const own = outer.includes('pagedResultsCookie') || outer.includes('resultCount') || hasAll(names, '_id', '_rev');
    return own || someText(sample, 'password', /^\{[\w-]+\}/) ? 'sure' : 'maybe';
  },
  hasPasswords: ({ records }) => records.some(({ password }) => password !== undefined),
  read(fields) {
    const { _id, userName, mail, password } = fields;
    const person: Person = { id: _id };
    if (!isBlank(userName)) person.userName = userName;
    if (!isBlank(mail)) person.email = mail;
    // Encrypted and not hashed: an object that only its server can open.
    const hash = typeof password === 'string' || isBlank(password) ? (password ?? '') : JSON.stringify(password);
    return { ...person, passwordHash: hash };
  },
};
