import { firebaseHash } from './firebase-hash.ts';
import { isBlank, type Person, type Sample, type Source } from './source.ts';

/** Columns of its CSV, which has no header: after the name four providers, after the attributes six more. */
const columns: readonly string[] = [
  ...['localId', 'email', 'emailVerified', 'passwordHash', 'salt', 'displayName', 'photoUrl'],
  ...providers(7, 16),
  ...['createdAt', 'lastSignedInAt', 'phoneNumber', 'disabled', 'customAttributes'],
  ...providers(28, 24),
  // Its lines end in a comma.
  '',
];

function providers(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `provider${from + n}`);
}

/** Firebase Authentication: `firebase auth:export`, or what was made for `auth:import`. */
export const firebase: Source = {
  name: 'firebase',
  title: 'Firebase',
  containers: ['json', 'ndjson', 'csv'],
  lists: ['users'],
  by: ['id', 'email'],
  positions: columns,
  headerless,
  recognise: (sample) => (sample.names.includes('localId') || headerless(sample) ? 'sure' : 'no'),
  read(fields, { hashParams }) {
    const { localId, email, passwordHash, salt } = fields;
    const person: Person = { id: localId, passwordHash: firebaseHash({ localId, passwordHash, salt }, hashParams) };
    if (!isBlank(email)) person.email = email;
    return person;
  },
};

/** A first record that is a user: a flag where the e-mail address was verified, and the time when it was made. */
function headerless({ container, names }: Sample): boolean {
  if (container !== 'csv' || names.length < 27 || names.length > columns.length) return false;
  return names[0] !== '' && /^(?:true|false)$/i.test(names[2] ?? '') && /^(?:\d{10,13})?$/.test(names[23] ?? '');
}
