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
const people = (random: Random) => times(count(random), () => invent(random));

const clerkColumns = [
  'id',
  'first_name',
  'last_name',
  'username',
  'primary_email_address',
  'primary_phone_number',
].concat(
  ['verified_email_addresses', 'unverified_email_addresses', 'verified_phone_numbers', 'unverified_phone_numbers'],
  ['totp_secret', 'password_digest', 'password_hasher'],
);

export function clerkCsv(random: Random, users: readonly Invented[] = people(random)): string {
  const rows = users.map((one) => {
    const hasher = pick(random, ['bcrypt', 'bcrypt', 'md5', '']);
    const digest = { bcrypt: bcryptOf('b'), md5: '4e0f55e7a644b6f30e12c0aa0de54771' }[hasher] ?? '';
    const verified = [one.email, '', '', ''];
    return [`user_${one.hex24}`, one.given, one.family, one.userName, one.email, '', ...verified, '', digest, hasher];
  });
  return (chance(random, 0.3) ? '# made by hand\n' : '') + csvOf([clerkColumns, ...rows]);
}

export function firebaseCsv(random: Random, users: readonly Invented[] = people(random)): string {
  const hash = Buffer.alloc(64, 251).toString('base64');
  const written = chance(random, 0.5) ? hash : hash.replaceAll('+', '-').replaceAll('/', '_');
  const rows = users.map((one) => [
    ...[one.hex24, one.email, pick(random, ['true', 'false']), chance(random, 0.8) ? written : '', 'c2FsdHNhbHQ='],
    ...[`${one.given} ${one.family}`, '', ...times(16, () => '')],
    ...['1700000000000', '1700000001000', '', 'false', ''],
    ...(chance(random, 0.3) ? times(24, () => '') : []),
  ]);
  const width = Math.max(...rows.map((row) => row.length));
  return csvOf(rows.map((row) => [...row, ...times(width - row.length, () => '')]));
}

export function cognitoCsv(random: Random): string {
  const columns = [
    'cognito:username',
    'name',
    'given_name',
    'email',
    'email_verified',
    'phone_number',
    'cognito:mfa_enabled',
  ];
  return csvOf([columns, ...people(random).map((one) => [one.uuid, '', one.given, one.email, 'TRUE', '', 'FALSE'])]);
}

export function pingoneCsv(random: Random, users: readonly Invented[] = people(random)): string {
  const sha = `{SSHA256}${Buffer.alloc(40, 7).toString('base64')}`;
  const rows = users.map((one, n) => [
    one.userName,
    one.email,
    n === 0 || chance(random, 0.5) ? sha : 'Plain-word-7',
    'true',
  ]);
  return csvOf([['username', 'email', 'password', 'enabled'], ...rows]);
}

export function oktaJson(random: Random, users: readonly Invented[] = people(random)): string {
  const bcrypt = bcryptOf('a');
  const hashes = [
    { algorithm: 'BCRYPT', workFactor: 4, salt: bcrypt.slice(7, 29), value: bcrypt.slice(29) },
    { algorithm: 'MD5', salt: 'c2FsdA==', saltOrder: 'PREFIX', value: Buffer.alloc(16, 3).toString('base64') },
    {
      algorithm: 'PBKDF2',
      digestAlgorithm: 'SHA256_HMAC',
      iterationCount: 5000,
      keySize: 32,
      salt: 'c2FsdHNhbHQ=',
      value: Buffer.alloc(32, 3).toString('base64'),
    },
  ];
  return JSON.stringify(
    users.map((one) => ({
      id: `00u${one.hex24.slice(0, 17)}`,
      status: 'ACTIVE',
      profile: { firstName: one.given, lastName: one.family, email: one.email, login: one.email },
      credentials: { password: { hash: pick(random, hashes) }, provider: { type: 'OKTA', name: 'OKTA' } },
    })),
    null,
    chance(random, 0.5) ? 2 : 0,
  );
}

/** A line of LDIF, folded and in base64 where it must be. */
function ldifLine(name: string, value: string): string {
  const plain = /^[!-9;=-~][ -~]*$/.test(value) && value === value.trimEnd();
  const line = plain ? `${name}: ${value}` : `${name}:: ${Buffer.from(value).toString('base64')}`;
  return `${line.replace(/.{76}(?=.)/g, '$&\n ')}\n`;
}

export function ldifFile(random: Random, users: readonly Invented[] = people(random)): string {
  const hash = () =>
    pick(random, [
      `{SSHA}${Buffer.alloc(28, 7).toString('base64')}`,
      '{CRYPT}$6$rounds=5000$saltsaltsaltsalt$PlVoN3upBBT5FGplqfIWpdyM6HWEOjmBLKOifDcdgCK.2EEgwW/6AluT1tbtECM6fqDhEJwPHUxMFQb3DG9CP0',
      `{CRYPT}${bcryptOf('y')}`,
    ]);
  const entry = (one: Invented) =>
    [
      ldifLine('dn', `uid=${one.userName},ou=people,dc=example,dc=com`),
      ldifLine('objectClass', 'inetOrgPerson'),
      ldifLine('uid', one.userName),
      ldifLine('cn', `${one.given} ${one.family}`),
      ldifLine('mail', one.email),
      `userPassword:: ${Buffer.from(hash())
        .toString('base64')
        .replace(/.{60}(?=.)/g, '$&\n ')}\n`,
      ldifLine('entryUUID', one.uuid),
    ].join('');
  const unit = `${ldifLine('dn', 'ou=people,dc=example,dc=com')}${ldifLine('objectClass', 'organizationalUnit')}ou: people\n`;
  const start = pick(random, ['', 'version: 1\n\n', '# extended LDIF\n#\n# LDAPv3\n#\n\n']);
  return start + [...(chance(random, 0.5) ? [unit] : []), ...users.map(entry)].join('\n');
}

export const shapeSamples: readonly SampleMaker[] = [
  { source: 'clerk', shape: 'csv', make: (random) => clerkCsv(random) },
  { source: 'firebase', shape: 'csv', make: (random) => firebaseCsv(random) },
  { source: 'pingone', shape: 'csv', make: (random) => pingoneCsv(random) },
  { source: 'okta', shape: 'json', make: (random) => oktaJson(random) },
  { source: 'ldif', shape: 'ldif', make: (random) => ldifFile(random) },
  // Never a password: refused as a whole.
  { source: 'none', shape: 'cognito', make: cognitoCsv },
  {
    source: 'none',
    shape: 'unknown table',
    make: (random) =>
      `-- MySQL dump\nINSERT INTO \`members\` (\`id\`, \`name\`, \`pass\`) VALUES (1,'x','${hexOf(random, 32)}');\n`,
  },
];
