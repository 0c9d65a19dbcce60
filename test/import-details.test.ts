import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { recognise } from '../src/hashes/recognise.ts';
import { readFile, reasonsOf, refusalOf } from './kit/import-file.ts';

/** The 24 details of real files that make "import said OK, login says wrong password": each is shown here or where it belongs. */
const elsewhere: [detail: number, file: string, title: string][] = [
  [1, 'hashes-details', '$2y$ as PHP writes it'],
  [2, 'hashes-details', '73 bytes never match the hash of the first 72'],
  [4, 'import-values', 'counts what is odd by kind, and changes nothing'],
  [5, 'hashes-details', 'the trimming of WordPress knows PHP\u2019s blanks only'],
  [6, 'hashes-details', 'what stands behind a NUL counts'],
  [7, 'hashes-details', 'an empty password matches nothing, not even its own hash'],
  [9, 'import-parse', 'reads ids as text and keeps every character of a password'],
  [10, 'import-parse', 'takes BOM, CRLF, empty lines and a missing last newline; lines are physical ones'],
  [
    11,
    'import-dialects',
    'reads back any rows from any way of writing them, every password byte for byte, whatever the chunks',
  ],
  [14, 'run-hashes', 'a user is found by e-mail address or user name where the file has no id, exactly and once'],
  [15, 'hashes-kinds', '%s base64 is written in the alphabet of the target'],
  [16, 'hashes-doctor', 'argon2id of md5, as a forum makes it'],
  [17, 'hashes-details', 'what is a marker for a hash is one for a password too'],
  [18, 'hashes-details', 'a column of passwords that holds %s is stopped'],
  [19, 'run-hashes', 'of a file of hostile costs nothing is computed'],
  [20, 'imports-api', 'keeps an id that looks like a formula through rejects and back'],
  [21, 'import-values', 'counts what is odd by kind, and changes nothing'],
  [23, 'run-dry', 'counts users whose state deserves a look, forced changes and mails'],
  [24, 'run-dry', 'foretells core-hours and time from a hash that was timed'],
];
const here = [1, 2, 3, 5, 6, 8, 12, 13, 14, 15, 16, 17, 18, 19, 22];

test('each of the 24 has a test', () => {
  const all = new Set([...here, ...elsewhere.map(([detail]) => detail)]);
  expect([...all].sort((a, b) => a - b)).toEqual(Array.from({ length: 24 }, (_, n) => n + 1));
  const text = readFileSync(new URL('import-details.test.ts', import.meta.url), 'utf8');
  const shown = [...text.matchAll(/\('(\d+): /g)].map(([, detail]) => Number(detail));
  expect(shown).toEqual(here);
});

test.each(elsewhere)('%i has a test in %s', (_, file, title) => {
  const text = readFileSync(new URL(`${file}.test.ts`, import.meta.url), 'utf8');
  const titles = [...text.matchAll(/(['"`])((?:\\.|(?!\1).)*)\1/g)].map(([, , found = '']) =>
    found.replaceAll("\\'", "'").replaceAll('\\u2019', '\u2019'),
  );
  expect(titles).toContain(title);
});

const laravel = '$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi';
const own = (password: string) => JSON.stringify({ userId: '1', password });

it('1: $2y$ of a file is stored as $2b$', async () => {
  const { rows } = await readFile(`userId,passwordHash\n1,${laravel}\n`);
  expect(rows).toMatchObject([{ password: laravel.replace('$2y$', '$2b$'), hash: { kind: 'bcrypt' } }]);
});

it('2: bytes are counted, and nothing is cut', async () => {
  expect(await reasonsOf(own('é'.repeat(36)))).toEqual(['ok']);
  expect(await reasonsOf(own(`${'é'.repeat(36)}x`))).toEqual(['password_too_many_bytes']);
  expect(await reasonsOf(own('x'.repeat(73)))).toEqual(['password_too_long']);
});

it('3: half of a surrogate pair is refused, so that two of them are never one password', async () => {
  expect(await reasonsOf('{"userId":"1","password":"a\\ud800"}\n{"userId":"2","password":"a\\udfff"}')).toEqual([
    'password_ill_formed',
    'password_ill_formed',
  ]);
});

it.each([[' a ', '\ta', 'a\u00a0', '\ufeffa', 'a\u200b']])('5: blanks of any kind stay', async (...passwords) => {
  const { rows } = await readFile(passwords.map(own).join('\n'));
  expect(rows.map((row) => 'password' in row && row.password)).toEqual(passwords);
});

it('6: a NUL is refused', async () => expect(await reasonsOf(own('a\0b'))).toEqual(['password_nul']));

describe('8: ids of 18 digits', () => {
  it('keep every one of them', async () => {
    const { rows } = await readFile('userId,password\n104133391254874632,a\n');
    expect(rows).toMatchObject([{ userId: '104133391254874632' }]);
  });
  it('are refused as numbers, and as a spreadsheet rounds them', async () => {
    expect(await reasonsOf('{"userId":104133391254874632,"password":"a"}')).toEqual(['user_id_not_text']);
    expect(await reasonsOf('userId,password\n1.04133E+17,a\n')).toEqual(['user_id_e_notation']);
  });
});

describe('12: dialects', () => {
  it.each([
    ['semicolons', 'userId;password\n1;a,b\n', {}],
    ['a comment', '# x\nuserId,password\n1,"a,b"\n', {}],
    ['no header', '1,"a,b"\n', { header: false, map: { userId: '#1', password: '#2' } }],
    ['blanks after commas', 'userId, password\n 1,"a,b"\n', {}],
  ])('%s', async (_name, file, options) => {
    expect((await readFile(file, options)).rows).toMatchObject([{ userId: '1', password: 'a,b' }]);
  });
  it('JSON whose quotes are escaped twice, as Supabase writes it', async () => {
    const file = `id,email,encrypted_password,raw_app_meta_data\nu-1,a@example.com,${laravel},"{\\""provider\\"":\\""email\\""}"\n`;
    const { rows, detected } = await readFile(file);
    expect(detected?.source).toBe('supabase');
    expect(rows).toMatchObject([{ userId: 'u-1', hash: { kind: 'bcrypt' } }]);
  });
  it('lines of something else before the header are no header', async () => {
    expect((await refusalOf('scrypt n=16384\nr=8\nid,hash,salt\n1,a,b\n')).reason).toBe('header_column_missing');
  });
});

it.each([
  ['userId,password\n1,a'],
  ['\n\nuserId,password\n\n1,a\n\n\n'],
  ['userId,password,\n1,a,\n'],
  ['{"userId":"1","password":"a"}'],
])('13: no last line end, blank lines, a last comma, NDJSON by another name', async (file) => {
  expect((await readFile(file)).rows).toMatchObject([{ row: 1, userId: '1', password: 'a' }]);
});

it('14: tags and dots of an e-mail address are never taken away', async () => {
  const addresses = ['a.b@example.com', 'ab@example.com', 'ab+x@example.com'];
  const { rows } = await readFile(`email,password\n${addresses.map((each) => `${each},x1\n`).join('')}`);
  expect(rows.map((row) => 'email' in row && row.email)).toEqual(addresses);
});

it('15: the same bytes in any alphabet are the same hash', () => {
  const bytes = Buffer.from('+/+/'.repeat(11), 'base64').subarray(0, 32);
  const standard = bytes.toString('base64');
  const forms = [
    standard,
    bytes.toString('base64url'),
    standard.replaceAll('=', ''),
    standard.replaceAll('+', '.').replaceAll('=', ''),
  ];
  const encoded = forms.map((hash) => recognise(`pbkdf2_sha256$29000$saltsalt$${hash}`).encoded);
  expect(encoded[0]).toMatch(/^\$pbkdf2-sha256\$29000\$/);
  expect(new Set(encoded).size).toBe(1);
});

it('16: a pepper, a salt beside it and an unknown recipe are refused, not guessed', async () => {
  expect(recognise(laravel, { peppered: true }).refused).toBe('peppered');
  expect(await reasonsOf('userId,passwordHash\n1,0cc175b9c0f1b6a831c399e269772661:salt\n')).toEqual([
    'hash_recipe_unknown',
  ]);
});

it('17: a mark in a column of hashes is no hash', async () => {
  const marks = ['!', '*', 'x', 'LOCKED', 'NULL', '\\N', '[object Object]', 'undefined', 'REDACTED'];
  const file = `userId,passwordHash\n${marks.map((mark, n) => `${n},${mark}\n`).join('')}`;
  expect(await reasonsOf(file)).toEqual(marks.map(() => 'hash_marker'));
});

it('18: a password in the column of hashes is stopped too', async () => {
  expect(await reasonsOf('userId,passwordHash\n1,Summer-2026!\n')).toEqual(['hash_unknown']);
});

it('19: a hash that costs too much is refused where it is read', async () => {
  const tail = '$MDEyMzQ1Njc4OWFiY2RlZg$LaZlmT7vmDNv5u4IWAHoQA176+OO1vd+DS/jn991Wyw';
  const hashes = [
    `$2b$31${laravel.slice(6)}`,
    `$scrypt$ln=30,r=8,p=1${tail}`,
    `$argon2id$v=19$m=4194304,t=2,p=1${tail}`,
  ];
  const lines = hashes.map((passwordHash, n) => JSON.stringify({ userId: String(n), passwordHash }));
  expect(await reasonsOf(lines.join('\n'))).toEqual(hashes.map(() => 'cost_too_high'));
});

it('22: a weak old password is no reason to refuse its hash, and whether it is changed at the next login is said', async () => {
  const { rows } = await readFile(`userId,passwordHash,changeRequired\n1,${laravel},true\n2,${laravel},\n`);
  expect(rows).toMatchObject([{ changeRequired: true, hash: { kind: 'bcrypt' } }, { hash: { kind: 'bcrypt' } }]);
  expect(rows[1]).not.toHaveProperty('changeRequired');
});
