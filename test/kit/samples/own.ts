import { auth0Users } from './auth0.ts';
import { bcryptOf, chance, csvOf, hexOf, invent, pick, type Random, type SampleMaker, times } from './maker.ts';

const count = (random: Random) => 1 + Math.floor(random() * 30);
const word = (random: Random) => `Pass-${hexOf(random, 6)}`;

/** Our own formats, also with columns that others have, and in their order. */
export const ownSamples: readonly SampleMaker[] = [
  {
    source: 'own',
    shape: 'CSV',
    make: (random) => {
      const more = ['email', 'username', 'tenant', 'localId', 'encrypted_password_hint', 'remember_token', 'orgId'];
      const extra = more.filter(() => chance(random, 0.3));
      const head = [...extra, pick(random, ['userId', 'user_id', 'USERID']), pick(random, ['password', 'Password'])];
      const rows = times(count(random), () => [
        ...extra.map(() => invent(random).email),
        invent(random).number,
        word(random),
      ]);
      return csvOf([head, ...rows], { quoted: chance(random, 0.3), lineEnd: pick(random, ['\n', '\r\n']) });
    },
  },
  {
    source: 'own',
    shape: 'CSV with aliases',
    make: (random) => {
      const head = [pick(random, ['id', 'uid', 'user']), 'name', pick(random, ['pass', 'pwd', 'password']), 'email'];
      const rows = times(count(random), () => [
        invent(random).number,
        invent(random).given,
        word(random),
        'a@b.example',
      ]);
      return csvOf([head, ...rows]);
    },
  },
  {
    source: 'own',
    shape: 'NDJSON',
    make: (random) =>
      times(count(random), () => {
        const { number, email, userName } = invent(random);
        return JSON.stringify({ email, username: userName, userId: number, password: word(random), credentials: [] });
      }).join('\n'),
  },
  {
    source: 'own',
    shape: 'JSON list',
    make: (random) =>
      JSON.stringify(
        times(count(random), () => ({ userId: invent(random).number, password: word(random) })),
        null,
        pick(random, [0, 2]),
      ),
  },
  {
    source: 'own',
    shape: 'hashes',
    make: (random) =>
      csvOf([['userId', 'passwordHash'], ...times(count(random), () => [invent(random).number, bcryptOf()])]),
  },
];

const words = ['alpha', 'beta', 'gamma', 'delta', 'value', 'count', 'price', 'street', 'city', 'country', 'note'];

/** What no password can be taken from: refused or asked about, whatever it looks like. */
export const nonsenseSamples: readonly SampleMaker[] = [
  {
    source: 'none',
    shape: 'a table of something else',
    make: (random) => {
      const head = words.filter(() => chance(random, 0.5)).concat('total');
      return csvOf([head, ...times(count(random), () => head.map(() => hexOf(random, 5)))]);
    },
  },
  {
    source: 'none',
    shape: 'words',
    make: (random) => times(200, () => pick(random, words)).join(pick(random, [' ', '\n'])),
  },
  {
    source: 'none',
    shape: 'JSON of something else',
    make: (random) =>
      JSON.stringify(
        { items: times(count(random), () => ({ sku: hexOf(random, 8), price: Math.floor(random() * 99) })), page: 1 },
        null,
        pick(random, [0, 2]),
      ),
  },
  { source: 'none', shape: 'Auth0 users alone', make: (random) => auth0Users(random) },
  {
    // An id and a hash by names that are ours as well.
    source: 'own',
    shape: 'MongoDB of somebody',
    make: (random) =>
      times(count(random), () =>
        JSON.stringify({ _id: invent(random).hex24, nick: word(random), passwordHash: bcryptOf() }),
      ).join('\n'),
  },
];
