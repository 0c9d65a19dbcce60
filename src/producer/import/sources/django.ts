import { type Fields, objectIn, type Person, type Source, someText } from './source.ts';
import { hashIn, named, nothingSeen, someHas } from './tables.ts';

/** Django: a fixture (`dumpdata auth.user`), a dump of `auth_user`, or CSV of that table. */
export const django: Source = {
  name: 'django',
  title: 'Django',
  containers: ['json', 'ndjson', 'sql', 'csv'],
  by: ['username', 'email', 'id'],
  recognise(sample) {
    if (sample.container === 'json' || sample.container === 'ndjson') {
      const { names } = sample;
      return names.includes('model') && names.includes('fields') ? 'sure' : 'no';
    }
    if (someHas(sample, 'password', 'last_login', 'is_superuser')) return 'sure';
    if (someHas(sample, 'password', 'date_joined', 'is_staff')) return 'sure';
    return someHas(sample, 'password') && someText(sample, 'password', ownHash) ? 'maybe' : nothingSeen(sample);
  },
  hasPasswords: (sample) => sample.container !== 'csv' || someHas(sample, 'password'),
  read(fields) {
    const isFixture = fields.model !== undefined && fields.fields !== undefined;
    const user = isFixture ? (objectIn(fields.fields) ?? {}) : fields;
    return isUser(user) ? personOf(user, isFixture ? fields.pk : user.id) : undefined;
  },
};

const ownHash = /^(?:pbkdf2_sha(?:1|256)\$|bcrypt(?:_sha256)?\$|argon2\$|scrypt\$|!)/;

/** Own models of users have any name, but these columns. */
const isUser = (fields: Fields) =>
  Object.hasOwn(fields, 'password') && ['username', 'email', 'last_login'].some((name) => Object.hasOwn(fields, name));

function personOf(fields: Fields, key: unknown): Person {
  // A number of a fixture is small: it is a row of a table.
  const id = Number.isSafeInteger(key) ? String(key) : key;
  return { ...named(id, fields.email, fields.username), passwordHash: hashIn(fields.password) };
}
