import { describe, expect, it } from 'vitest';
import { recognise } from '../src/hashes/recognise.ts';
import { verifyHash } from '../src/hashes/verify.ts';
import type { ParseOptions } from '../src/producer/import/parse.ts';
import { clerk, clerkHashers } from '../src/producer/import/sources/clerk.ts';
import { parseHashParams } from '../src/producer/import/sources/hash-params.ts';
import { okta } from '../src/producer/import/sources/okta.ts';
import { readFile, refusalOf } from './kit/import-file.ts';
import { mysqlDump, postgresDump, sqliteDump } from './kit/samples/dump.ts';
import { csvOf, invent, knownPassword, randomOf, times } from './kit/samples/maker.ts';
import { clerkCsv, cognitoCsv, firebaseCsv, ldifFile, oktaJson, pingoneCsv } from './kit/samples/shapes.ts';
import * as tables from './kit/samples/tables.ts';

const random = randomOf(7);
const people = times(6, (n) => ({ ...invent(random), n: n + 1 }));
type Person = (typeof people)[number];

/** Who each row is for, or why it is none. */
async function namesOf(file: string, options: ParseOptions = {}) {
  const { rows, detected } = await readFile(file, options);
  const names = rows.map((row) => {
    const { userId, email, userName, columns } = row as {
      userId?: string;
      email?: string;
      userName?: string;
      columns?: Record<string, string>;
    };
    return userId ?? email ?? userName ?? columns?.email ?? columns?.userName ?? columns?.userId;
  });
  return { names, source: detected?.source, by: detected?.by };
}

const emailOf = ({ email }: Person) => email;
const userNameOf = ({ userName }: Person) => userName;
const uuidOf = ({ uuid }: Person) => uuid;
const numberOf = ({ n }: Person) => String(n);

const files: [source: string, by: string, (one: Person) => string, file: string][] = [
  ['django', 'username', userNameOf, mysqlDump([tables.djangoTable(random, people)])],
  ['django', 'email', emailOf, postgresDump([tables.djangoTable(random, people)])],
  ['django', 'id', numberOf, sqliteDump([tables.djangoTable(random, people)])],
  ['django', 'username', userNameOf, tables.csvOfTable(tables.djangoTable(random, people))],
  ['wordpress', 'email', emailOf, mysqlDump([tables.wordpressTable(random, people)])],
  ['wordpress', 'username', userNameOf, tables.csvOfTable(tables.wordpressTable(random, people))],
  ['wordpress', 'id', numberOf, mysqlDump([tables.wordpressTable(random, people)], { complete: true })],
  ['laravel', 'email', emailOf, mysqlDump([tables.laravelTable(random, people)])],
  ['laravel', 'id', numberOf, tables.csvOfTable(tables.laravelTable(random, people))],
  ['devise', 'email', emailOf, postgresDump([tables.deviseTable(random, people)], { inserts: true })],
  ['devise', 'id', numberOf, sqliteDump([tables.deviseTable(random, people)])],
  ['supabase', 'id', uuidOf, postgresDump([tables.supabaseTable(random, people)])],
  ['supabase', 'email', emailOf, tables.csvOfTable(tables.supabaseTable(random, people))],
  ['aspnet', 'id', uuidOf, tables.csvOfTable(tables.aspnetTable(random, people))],
  ['aspnet', 'username', userNameOf, sqliteDump([tables.aspnetTable(random, people)])],
  ['clerk', 'id', (one) => `user_${one.hex24}`, clerkCsv(random, people)],
  ['clerk', 'email', emailOf, clerkCsv(random, people)],
  ['firebase', 'id', (one) => one.hex24, firebaseCsv(random, people)],
  ['firebase', 'email', emailOf, firebaseCsv(random, people)],
  ['pingone', 'username', userNameOf, pingoneCsv(random, people)],
  ['okta', 'username', emailOf, oktaJson(random, people)],
  ['ldif', 'username', userNameOf, ldifFile(random, people)],
  ['ldif', 'email', emailOf, ldifFile(random, people)],
  ['ldif', 'id', uuidOf, ldifFile(random, people)],
];

it.each(files)(
  '%s is recognised by its content, and by %s every row names its own user',
  async (source, by, nameOf, file) => {
    const found = await namesOf(file, { by: by as 'id' });
    expect(found).toEqual({ source, by, names: people.map(nameOf) });
  },
);

it('a dump of other tables first is looked through, up to 4 MiB', async () => {
  const words = 'lorem ipsum; \'dolor\' "sit" \\ amet '.repeat(50);
  const posts = {
    name: 'wp_posts',
    columns: ['ID', 'post_content', 'post_password'],
    rows: times(400, (n) => [n, words, '']),
  };
  const users = tables.wordpressTable(random, people);
  const file = mysqlDump([posts, users]);
  expect(file.length).toBeGreaterThan(600_000);
  expect((await namesOf(file)).names).toEqual(people.map(emailOf));
  const late = mysqlDump([{ ...posts, rows: times(3_000, (n) => [n, words, '']) }, users]);
  const error = await refusalOf(late);
  expect(error.reason).toBe('source_unclear');
  expect(error.fields.map(({ field }) => field)).toContain('wordpress');
  expect((await namesOf(late, { from: 'wordpress' })).names).toEqual(people.map(emailOf));
});

it('two tables that can be the one with the users are never both taken', async () => {
  const users = tables.laravelTable(random, people);
  for (const chunk of [50, 65_536]) {
    const error = await refusalOf(mysqlDump([users, { ...users, name: 'admins' }]), {}, chunk);
    expect(error.reason).toBe('sql_tables');
  }
});

it.each([
  ['source_no_users', mysqlDump([{ name: 'members', columns: ['id', 'name', 'pass'], rows: [[1, 'x', 'y']] }]), {}],
  [
    'source_unclear',
    mysqlDump([{ name: 'members', columns: ['id', 'email', 'password'], rows: [[1, 'x@y.z', 'y']] }]),
    {},
  ],
  ['source_unclear', postgresDump([{ name: 'notes', columns: ['id', 'text'], rows: [[1, 'x']] }]), {}],
  ['source_no_users', postgresDump([{ name: 'notes', columns: ['id', 'text'], rows: [[1, 'x']] }]), { from: 'django' }],
  ['source_mismatch', mysqlDump([tables.wordpressTable(random, people)]), { from: 'django' }],
  ['source_mismatch', ldifFile(random, people), { from: 'wordpress' }],
  ['source_resets_only', cognitoCsv(random), {}],
  ['source_resets_only', cognitoCsv(random), { from: 'cognito' }],
  ['source_no_passwords', 'dn: cn=Ann,dc=example\nobjectClass: user\nsAMAccountName: ann\nmail: ann@example.com\n', {}],
  [
    'source_no_passwords',
    csvOf([
      ['login', 'firstName', 'lastName', 'email'],
      ['a', 'b', 'c', 'd@example.com'],
    ]),
    {},
  ],
  [
    'source_no_passwords',
    JSON.stringify([{ id: '00u1', status: 'ACTIVE', profile: { login: 'a' }, credentials: { password: {} } }]),
    {},
  ],
  [
    'source_no_passwords',
    csvOf([
      ['id', 'user_login', 'user_email'],
      ['1', 'a', 'a@example.com'],
    ]),
    {},
  ],
  ['source_by', mysqlDump([tables.laravelTable(random, people)]), { by: 'username' }],
] as [string, string, ParseOptions][])('a file is refused as a whole: %s', async (reason, file, options) => {
  expect((await refusalOf(file, options)).reason).toBe(reason);
});

describe('Clerk', () => {
  const read = (digest: string, hasher: string) =>
    clerk.read({ id: 'user_1', password_digest: digest, password_hasher: hasher }, { by: 'id' }, undefined);
  const names = ['argon2i', 'argon2id', 'awscognito', 'bcrypt', 'bcrypt_peppered', 'bcrypt_sha256_django'].concat(
    ['hmac_sha256_utf16_b64', 'ldap_ssha', 'md5', 'md5_salted', 'md5_phpass', 'pbkdf2_sha1', 'pbkdf2_sha256'],
    ['pbkdf2_sha256_django', 'pbkdf2_sha512', 'pbkdf2_sha512_hex', 'scrypt_firebase', 'scrypt_werkzeug', 'sha256'],
    ['sha256_salted', 'sha512_symfony'],
  );
  it.each(names)('knows the hasher %s', (name) => {
    expect(clerkHashers).toContain(name);
    const refused =
      read('$unreadable', name)?.refused ?? recognise(read('$unreadable', name)?.passwordHash as string).refused;
    expect(refused).toMatch(/^[a-z_0-9]+$/);
  });
  it.each([
    ['bcrypt', '$2b$10$U4C0ZY8OG8y41F9LusfKyu3HRMBL0rCZcKBVsXhgr.n8Ou6FPhzO2', 'Kk4aPMeiaRpAs2OeX1NE'],
    [
      'pbkdf2_sha256',
      'pbkdf2_sha256$29000$MDEyMzQ1Njc4OWFiY2RlZg==$TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs=',
      knownPassword,
    ],
    [
      'pbkdf2_sha1',
      `pbkdf2_sha1$29000$0123456789abcdef$${Buffer.from('BfYIzk+tN8M0w5zFfO1nJS0DVEE=', 'base64').toString('hex')}`,
      knownPassword,
    ],
    [
      'argon2id',
      '$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$LaZlmT7vmDNv5u4IWAHoQA176+OO1vd+DS/jn991Wyw',
      knownPassword,
    ],
    ['md5', '4e0f55e7a644b6f30e12c0aa0de54771', knownPassword],
    ['md5_phpass', '$P$9saltsaltHhlhuXi6suUfVGbwbQ7W71', knownPassword],
  ])('a password still fits what %s made', async (hasher, digest, password) => {
    const hash = recognise(read(digest, hasher)?.passwordHash as string);
    expect(hash.refused).toBeUndefined();
    expect(await verifyHash(recognise(hash.encoded as string).recipe as never, Buffer.from(password))).toBe('match');
    expect(await verifyHash(recognise(hash.encoded as string).recipe as never, Buffer.from(`${password} `))).toBe(
      'no_match',
    );
  });
  it('does not take a digest for what its hasher is not', () => {
    expect(read('4e0f55e7a644b6f30e12c0aa0de54771', 'bcrypt')?.refused).toBe('hash_malformed');
    expect(read('whatever', 'sha3_of_somebody')?.refused).toBe('hash_unknown');
    expect(read('', 'bcrypt')?.passwordHash).toBe('');
  });
});

describe('Okta', () => {
  it.each([
    [
      { algorithm: 'BCRYPT', workFactor: 10, salt: 'U4C0ZY8OG8y41F9LusfKyu', value: '3HRMBL0rCZcKBVsXhgr.n8Ou6FPhzO2' },
      'Kk4aPMeiaRpAs2OeX1NE',
    ],
    [
      {
        algorithm: 'PBKDF2',
        digestAlgorithm: 'SHA256_HMAC',
        iterationCount: 29_000,
        salt: 'MDEyMzQ1Njc4OWFiY2RlZg==',
        value: 'TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs=',
      },
      knownPassword,
    ],
    [
      {
        algorithm: 'MD5',
        saltOrder: 'POSTFIX',
        salt: Buffer.from('pepper01').toString('base64'),
        value: '+VuDaVLmMEEnIsufguXSjg==',
      },
      knownPassword,
    ],
    [
      {
        algorithm: 'MD5',
        saltOrder: 'PREFIX',
        salt: Buffer.from('pepper01').toString('base64'),
        value: 'KF6gcF9+ybMjIfpwz5WUTw==',
      },
      knownPassword,
    ],
  ])('a password still fits its hash (%#)', async (hash, password) => {
    const person = okta.read(
      { profile: { login: 'a' }, credentials: { password: { hash } } },
      { by: 'username' },
      undefined,
    );
    const { encoded } = recognise(person?.passwordHash as string);
    expect(await verifyHash(recognise(encoded as string).recipe as never, Buffer.from(password))).toBe('match');
  });
});

it('a pepper of Devise is believed, and every row refused for it', async () => {
  const file = tables.csvOfTable(tables.deviseTable(() => 0.5, people));
  const { rows } = await readFile(file, { peppered: true });
  expect(rows.map((row) => 'reason' in row && row.reason)).toEqual(people.map(() => 'peppered'));
});

it('users of Supabase without a password are refused one by one, for what they are', async () => {
  const { rows } = await readFile(postgresDump([tables.supabaseTable(random, people)]));
  expect(rows.map((row) => ('reason' in row ? row.reason : 'ok'))).toEqual([
    'ok',
    'ok',
    'hash_empty',
    'ok',
    'ok',
    'hash_empty',
  ]);
});

describe('a directory', () => {
  const entry = (more: string) => `dn: uid=ann,dc=example\nuid: ann\nmail: a@example.com\n${more}`;
  const outcome = async (file: string, options: ParseOptions = {}) =>
    (await readFile(file, options)).rows.map((row) => ('reason' in row ? row.reason : 'ok'));
  const sha = 'userPassword: {CRYPT}$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi\n';
  it('gives several values of what is asked for no meaning', async () => {
    expect(await outcome(entry(`mail: b@example.com\n${sha}`), { by: 'email' })).toEqual(['value_repeated']);
    expect(await outcome(entry(`mail: b@example.com\n${sha}`))).toEqual(['ok']);
    expect(await outcome(entry(`${sha}userPassword: other\n`))).toEqual(['value_repeated']);
  });
  it('has no user name in a dn, and an id in one only when it is asked', async () => {
    expect(await outcome(entry(sha), { by: 'id' })).toEqual(['user_id_missing']);
    const { rows } = await readFile(entry(sha), { by: 'id', hashParams: { id: 'dn' } });
    expect(rows).toMatchObject([{ userId: 'uid=ann,dc=example' }]);
  });
  it('knows a password in clear, a hash, a lock and when it was set', async () => {
    const { rows } = await readFile(entry('userPassword: in Clear 7\npwdChangedTime: 20240305163516Z\n'));
    expect(rows).toMatchObject([{ password: 'in Clear 7', setAt: Date.UTC(2024, 2, 5, 16, 35, 16) }]);
    expect(await outcome(entry('userPassword: {CLEARTEXT}x\n'))).toEqual(['password_in_clear']);
    expect(await outcome(entry('userPassword: !\n'))).toEqual(['hash_marker']);
  });
});

it('--hash-params may say no more than which attribute is the id', () => {
  expect(parseHashParams('{"id":"dn"}')).toEqual({ id: 'dn' });
  expect(() => parseHashParams('{"rounds":1}')).toThrow();
});
