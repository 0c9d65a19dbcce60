import { describe, expect, it } from 'vitest';
import { readFile, reasonsOf } from './kit/import-file.ts';

describe('what is no password', () => {
  const hash64 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  it.each([
    ...['$2a$10$abcdefghijklmnopqrstuv', '$2b$12$abc', '$2y$10$abc', '$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA'],
    ...[
      '$pbkdf2-sha256$29000$abc',
      '$scrypt$ln=16$abc',
      '{SSHA}c2FsdGVkaGFzaA==',
      '{CRYPT}$6$salt$hash',
      '$6$salt$hash',
    ],
    ...['pbkdf2_sha256$260000$salt$aGFzaA==', 'bcrypt_sha256$$2b$12$abc', 'scrypt:32768:8:1$salt$hex', '$P$Babcdefgh'],
    ...[
      '$wp$2y$10$abc',
      hash64,
      hash64.toUpperCase(),
      hash64.slice(0, 32),
      hash64.slice(0, 40),
      hash64.repeat(2),
      '!$6$a$b',
    ],
  ])('the hash %s', async (text) => {
    const file = JSON.stringify({ userId: '1', password: text });
    expect((await readFile(file)).rows).toMatchObject([{ reason: 'password_is_hash', field: 'password' }]);
    const taken = text.length > 72 ? 'password_too_long' : 'ok';
    expect(await reasonsOf(file, { allowSuspicious: true })).toEqual([taken]);
  });

  it.each([
    ...[
      '!',
      '*',
      'x',
      'LOCKED',
      'NULL',
      '\\N',
      'undefined',
      'REDACTED',
      '[object Object]',
      'None',
      'nan',
      'NaN',
      '********',
    ],
    `!${'a1B2'.repeat(10)}`,
  ])('the mark %s', async (text) => {
    const file = JSON.stringify({ userId: '1', password: text });
    expect(await reasonsOf(file)).toEqual(['password_marker']);
    expect(await reasonsOf(file, { allowSuspicious: true })).toEqual(['ok']);
  });

  it.each([
    '!Summer2026',
    'xylophone-7',
    '$ecret-money',
    '{curly}',
    '*star*fish*',
    'locked-door-3',
    'None-shall-pass',
    'a$b$c',
    'md5',
  ])('but %s is one', async (text) =>
    expect(await reasonsOf(JSON.stringify({ userId: '1', password: text }))).toEqual(['ok']),
  );
});

it('counts what is odd by kind, and changes nothing', async () => {
  const odd = [' a', 'b ', 'c\u00a0d', '\u201cquoted\u201d', 'tab\tbed', 'e\u0301', 'plain', 'Ã©tÃ©'];
  const lines = odd.map((password, n) => JSON.stringify({ userId: n ? `${n}` : '104133391254874000', password }));
  const { rows, detected } = await readFile(lines.join('\n'));
  expect(rows.map((row) => 'password' in row && row.password)).toEqual(odd);
  expect(detected?.warnings).toEqual({
    password_space_around: 2,
    password_odd_space: 1,
    password_smart_quote: 1,
    password_control_character: 1,
    password_not_nfc: 1,
    password_mojibake: 1,
    id_trailing_zeros: 1,
  });
});

it.each([
  ['2026-02-01T09:30:00Z', Date.UTC(2026, 1, 1, 9, 30)],
  ['2026-02-01T09:30:00.123456+02:00', Date.UTC(2026, 1, 1, 7, 30, 0, 123)],
  ['2026-02-01 09:30:00-0100', Date.UTC(2026, 1, 1, 10, 30)],
  ['2026-02-01 09:30:00.5 UTC', Date.UTC(2026, 1, 1, 9, 30, 0, 500)],
  ['2026-02-01', Date.UTC(2026, 1, 1)],
  ['1769938200', 1_769_938_200_000],
  ['1769938200123', 1_769_938_200_123],
  ['', undefined],
])('set_at %s is taken', async (text, ms) => {
  const { rows } = await readFile(`userId,password,set_at\n1,a,${text}\n`);
  expect(rows).toMatchObject([{ userId: '1' }]);
  expect((rows[0] as { setAt?: number }).setAt).toBe(ms);
});

it('takes either flag about the change, and a default', async () => {
  const file = 'userId,password,change_required\n1,a,yes\n2,a,0\n3,a,\n';
  const { rows } = await readFile(file, { noChangeRequired: true });
  expect(rows).toMatchObject([
    { changeRequired: true, noChangeRequired: false },
    { changeRequired: false, noChangeRequired: true },
    { changeRequired: false, noChangeRequired: true },
  ]);
});

it('tells what it found before the first row', async () => {
  const { detected } = await readFile('# a\r\nEmployee;Name;PASSWORD;set_at\r\n1;Ann;pw;2026-01-01\r\n', {
    map: { userId: 'employee' },
    keepColumns: ['Name'],
  });
  expect(detected).toEqual({
    format: 'csv',
    source: 'own',
    compression: 'none',
    encoding: 'utf-8',
    delimiter: ';',
    lineEnd: 'crlf',
    header: ['Employee', 'Name', 'PASSWORD', 'set_at'],
    columns: { userId: 'Employee', password: 'PASSWORD', setAt: 'set_at' },
    kept: ['Employee', 'Name', 'PASSWORD', 'set_at'],
    comments: 1,
    warnings: {},
  });
});

it('hands on the columns of the file by its own names, and never a password', async () => {
  const file = 'Id,Name,pass,phone,Org\n1,Ann,s3cret,555,7\n,Bob,s3cret,556,8\n3,Eve,s3cret\n';
  const { rows } = await readFile(file, { keepColumns: ['Name'] });
  expect(rows.map((each) => each.columns)).toEqual([
    { Id: '1', Name: 'Ann', Org: '7' },
    { Id: '', Name: 'Bob', Org: '8' },
    undefined,
  ]);
  const json = await readFile('{"id":"1","Name":"Ann","pass":"s3cret","phone":"5"}\n', { keepColumns: ['Name'] });
  expect(json.rows[0]?.columns).toEqual({ id: '1', Name: 'Ann' });
  expect(json.detected?.kept).toEqual(['id', 'Name', 'pass', 'orgId', 'setAt']);
  const later = await readFile('{"id":"1","pass":"s3cret"}\n{"uid":"2","pass":"s3cret","Organization":"7"}\n');
  expect(later.rows[1]?.columns).toEqual({ id: '2', orgId: '7' });
});
