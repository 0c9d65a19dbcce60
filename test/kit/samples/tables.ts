import { dumpOf, type Table } from './dump.ts';
import {
  bcryptOf,
  chance,
  csvOf,
  hexOf,
  type Invented,
  invent,
  pick,
  type Random,
  type SampleMaker,
  times,
} from './maker.ts';

const count = (random: Random) => 1 + Math.floor(random() * 8);
const people = (random: Random) => times(count(random), (n) => ({ ...invent(random), n: n + 1 }));

/** A table as CSV: what is NULL stands as an empty field. */
export const csvOfTable = ({ columns, rows }: Table, options?: Parameters<typeof csvOf>[1]) =>
  csvOf([columns, ...rows.map((row) => row.map((value) => String(value ?? '')))], options);

const objectsOf = ({ columns, rows }: Table) =>
  rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));

const djangoHash = (random: Random) =>
  pick(random, [
    'pbkdf2_sha256$29000$saltsalt$TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs=',
    'argon2$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$LaZlmT7vmDNv5u4IWAHoQA176+OO1vd+DS/jn991Wyw',
    `bcrypt$${bcryptOf('b')}`,
    `bcrypt_sha256$${bcryptOf('b')}`,
    `!${'a1B2'.repeat(10)}`,
    '',
  ]);

export function djangoTable(random: Random, users: readonly (Invented & { n: number })[] = people(random)): Table {
  const columns = [
    'id',
    'password',
    'last_login',
    'is_superuser',
    'username',
    'last_name',
    'email',
    'is_staff',
    'is_active',
  ];
  return {
    name: pick(random, ['auth_user', 'accounts_user']),
    columns: [...columns, 'date_joined', 'first_name'],
    rows: users.map((one) => [
      ...[one.n, djangoHash(random), null, 0, one.userName, one.family, one.email, 0, 1],
      ...['2024-02-01 10:00:00', one.given],
    ]),
  };
}

/** `dumpdata`, with other models around the users. */
function djangoFixture(random: Random): string {
  const { columns, rows } = djangoTable(random);
  const users = rows.map((row) => ({
    model: pick(random, ['auth.user', 'accounts.user']),
    pk: row[0],
    fields: Object.fromEntries(columns.slice(1).map((name, i) => [name, row[i + 1]])),
  }));
  const group = { model: 'auth.group', pk: 1, fields: { name: 'editors', permissions: [] } };
  const all = chance(random, 0.5) ? [group, ...users] : users;
  return JSON.stringify(all, null, chance(random, 0.5) ? 2 : 0);
}

export function wordpressTable(random: Random, users = people(random)): Table {
  const hashes = ['$P$9saltsaltHhlhuXi6suUfVGbwbQ7W71', `$wp${bcryptOf('y')}`, '4e0f55e7a644b6f30e12c0aa0de54771'];
  const columns = ['ID', 'user_login', 'user_pass', 'user_nicename', 'user_email', 'user_url', 'user_registered'];
  return {
    name: pick(random, ['wp_users', 'site7_users']),
    columns: [...columns, 'user_activation_key', 'user_status', 'display_name'],
    rows: users.map((one) => [
      ...[one.n, one.userName, pick(random, hashes), one.userName, one.email, '', '2020-01-01 00:00:00'],
      ...['', 0, `${one.given} ${one.family}`],
    ]),
  };
}

export function laravelTable(random: Random, users = people(random)): Table {
  return {
    name: 'users',
    columns: ['id', 'name', 'email', 'email_verified_at', 'password', 'remember_token', 'created_at', 'updated_at'],
    rows: users.map((one) => [
      ...[one.n, `${one.given} ${one.family}`, one.email, null],
      ...[bcryptOf('y'), chance(random, 0.5) ? hexOf(random, 10) : null, '2024-01-01 00:00:00', null],
    ]),
  };
}

export function deviseTable(random: Random, users = people(random)): Table {
  const columns = ['id', 'email', 'encrypted_password', 'reset_password_token', 'reset_password_sent_at'];
  return {
    name: 'users',
    columns: [...columns, 'remember_created_at', 'sign_in_count', 'created_at', 'updated_at'],
    rows: users.map((one) => [
      ...[one.n, one.email, chance(random, 0.9) ? bcryptOf('a') : '', null, null],
      ...[null, 3, '2024-01-01 00:00:00', '2024-01-01 00:00:00'],
    ]),
  };
}

export function supabaseTable(_random: Random, users = people(_random)): Table {
  const columns = [
    'instance_id',
    'id',
    'aud',
    'role',
    'email',
    'encrypted_password',
    'email_confirmed_at',
    'invited_at',
  ];
  return {
    schema: 'auth',
    name: 'users',
    columns: [
      ...columns,
      'raw_app_meta_data',
      'raw_user_meta_data',
      'is_super_admin',
      'phone',
      'is_sso_user',
      'deleted_at',
    ],
    rows: users.map((one, n) => [
      ...['00000000-0000-0000-0000-000000000000', one.uuid, 'authenticated', 'authenticated', one.email],
      ...[n % 3 === 2 ? '' : bcryptOf('a'), '2024-01-01 00:00:00+00', null],
      ...[
        `{"provider": "${n % 3 === 2 ? 'google' : 'email'}", "providers": ["email"]}`,
        `{"name": "${one.given} \\"x\\""}`,
      ],
      ...[null, null, 'f', null],
    ]),
  };
}

export function aspnetTable(random: Random, users = people(random)): Table {
  const v2 = Buffer.concat([Buffer.from([0]), Buffer.alloc(16, 7), Buffer.alloc(32, 9)]).toString('base64');
  const columns = [
    'Id',
    'UserName',
    'NormalizedUserName',
    'Email',
    'NormalizedEmail',
    'EmailConfirmed',
    'PasswordHash',
  ];
  return {
    name: 'AspNetUsers',
    columns: [...columns, 'SecurityStamp', 'ConcurrencyStamp', 'LockoutEnabled', 'AccessFailedCount'],
    rows: users.map((one) => [
      ...[one.uuid, one.userName, one.userName.toUpperCase(), one.email, one.email.toUpperCase(), 1],
      ...[chance(random, 0.8) ? v2 : null, hexOf(random, 32).toUpperCase(), one.uuid, 1, 0],
    ]),
  };
}

type Way = 'mysql' | 'postgres' | 'sqlite';
const tableMaker = (source: string, make: (random: Random) => Table, ways: readonly Way[]): SampleMaker[] => [
  { source, shape: 'dump', make: (random) => dumpOf(random, make(random), ways) },
  { source, shape: 'csv', make: (random) => csvOfTable(make(random), { quoted: chance(random, 0.3) }) },
];

export const tableSamples: readonly SampleMaker[] = [
  ...tableMaker('django', djangoTable, ['mysql', 'postgres', 'sqlite']),
  { source: 'django', shape: 'fixture', make: djangoFixture },
  ...tableMaker('wordpress', wordpressTable, ['mysql']),
  { source: 'wordpress', shape: 'wp-cli', make: (random) => JSON.stringify(objectsOf(wordpressTable(random))) },
  ...tableMaker('laravel', laravelTable, ['mysql', 'postgres', 'sqlite']),
  ...tableMaker('devise', deviseTable, ['mysql', 'postgres', 'sqlite']),
  { source: 'devise', shape: 'json', make: (random) => JSON.stringify(objectsOf(deviseTable(random))) },
  ...tableMaker('supabase', supabaseTable, ['postgres']),
  ...tableMaker('aspnet', aspnetTable, ['mysql', 'postgres', 'sqlite']),
];
