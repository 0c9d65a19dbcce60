import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { hashSync } from '@node-rs/bcrypt';
import { argon2id, md4 } from 'hash-wasm';
import { describe, expect, test } from 'vitest';
import { type DoctorRow, diagnose } from '../src/hashes/doctor.ts';

const password = 'Zebra-Crossing-7';
const digest = (name: string, ...parts: (string | Buffer)[]) =>
  createHash(name)
    .update(Buffer.concat(parts.map((part) => Buffer.from(part))))
    .digest();
const md5 = (...parts: string[]) => digest('md5', ...parts).toString('hex');
/** What is found must not depend on what else the machine does. */
const patient = { budgetMs: 60_000 };
const wide = Buffer.from(password, 'utf16le');

describe('published known answers', () => {
  test('the way of WordPress 6.8, which no target follows', async () => {
    const hash = '$wp$2y$10$607XKVrBjPEqujeOXNwbYuOJ.gPMd2TelMMknmeV70Kap1E81Ovo6';
    expect(await diagnose({ hash }, 'hashpwn')).toMatchObject({ how: ['wp-sha384', 'bcrypt'], refused: 'prehashed' });
  });
  test('the hash of Laravel', async () => {
    const hash = '$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi';
    const found = await diagnose({ hash }, 'password');
    expect(found).toMatchObject({ how: ['bcrypt'], carried: { encoded: hash.replace('$2y$', '$2b$') } });
  });
  test('the hash of Clerk, also when a blank was pasted behind the password', async () => {
    const hash = '$2b$10$U4C0ZY8OG8y41F9LusfKyu3HRMBL0rCZcKBVsXhgr.n8Ou6FPhzO2';
    expect((await diagnose({ hash }, 'Kk4aPMeiaRpAs2OeX1NE')).carried?.encoded).toBe(hash);
    expect(await diagnose({ hash }, 'Kk4aPMeiaRpAs2OeX1NE ')).toMatchObject({
      how: ['blanks around it removed', 'bcrypt'],
      refused: 'password_changed',
    });
  });
});

describe('finds the recipe', () => {
  const symfony = () => {
    let last = digest('sha512', `${password}{salty}`);
    for (let i = 1; i < 5000; i++) last = digest('sha512', last, `${password}{salty}`);
    return last.toString('base64');
  };
  const cases: [string, DoctorRow, string[], known?: string][] = [
    ['md5(password + salt)', { hash: md5(password, 'abc'), salt: 'abc' }, ['password + salt', 'md5']],
    [
      'md5(salt + password), upper',
      { hash: md5('abc', password).toUpperCase(), salt: 'abc' },
      ['salt + password', 'md5'],
    ],
    ['vBulletin', { hash: md5(md5(password), 'abc'), salt: 'abc' }, ['md5 in hex', 'password + salt']],
    ['IPB', { hash: md5(md5('abc'), md5(password)), salt: 'abc' }, ['md5 of salt in hex', 'salt + password']],
    ['Joomla', { hash: `${md5(password, 'abcdef')}:abcdef` }, ['the part beside it as text', 'password + salt']],
    [
      'utf16le and a salt in hex',
      { hash: digest('sha256', Buffer.from('a1b2c3', 'hex'), wide).toString('base64'), salt: 'A1B2C3' },
      ['as utf16le', 'salt from hex', 'salt + password', 'sha256', 'base64'],
    ],
    [
      'a salt in base64 without padding',
      { hash: digest('sha512', password, Buffer.from('0123456789')).toString('base64url'), salt: 'MDEyMzQ1Njc4OQ' },
      ['salt from base64', 'password + salt', 'sha512'],
    ],
    [
      'base64 of hex of an HMAC',
      { hash: Buffer.from(createHmac('sha256', 'k3y').update(password).digest('hex')).toString('base64'), salt: 'k3y' },
      ['HMAC, key: salt', 'sha256'],
    ],
    [
      'HMAC, the other way',
      { hash: createHmac('sha1', password).update('k3y').digest('hex'), salt: 'k3y' },
      ['HMAC, key: password'],
    ],
    [
      'password + salt + password',
      { hash: digest('sha1', password, 'abc', password).toString('hex'), salt: 'abc' },
      ['password + salt + password', 'sha1'],
    ],
    [
      'a salt at the end of the hash',
      { hash: Buffer.concat([digest('sha256', password, 'saltsalt'), Buffer.from('saltsalt')]).toString('base64') },
      ['salt: the last 8 bytes', 'password + salt', 'sha256'],
    ],
    [
      'the user name as salt',
      { hash: digest('sha256', 'ann', password).toString('hex'), others: { login: 'ann' } },
      ['column login as text', 'salt + password'],
    ],
    [
      'a digest cut by its column',
      { hash: digest('sha256', password).toString('hex').slice(0, 40) },
      ['sha256, cut to 20 bytes'],
    ],
    ['NFKC', { hash: digest('sha256', 'Zebra1').toString('hex') }, ['NFKC', 'sha256'], 'Ｚｅｂｒａ１'],
    ['NFD', { hash: digest('sha1', 'ñandú'.normalize('NFD')).toString('hex') }, ['NFD', 'sha1'], 'ñandú'],
    [
      'Latin-1',
      { hash: digest('sha1', Buffer.from('ñandú', 'latin1')).toString('hex') },
      ['as latin1', 'sha1'],
      'ñandú',
    ],
    [
      'Symfony, 5,000 rounds',
      { hash: symfony(), salt: 'salty' },
      ['password{salt}', 'sha512 of the last + password{salt}', '5000 rounds'],
    ],
    [
      'any number of rounds',
      {
        hash: Array.from({ length: 776 })
          .reduce((last: Buffer) => digest('sha256', last), digest('sha256', password))
          .toString('hex'),
      },
      ['sha256 of the last', '777 rounds'],
    ],
    ['bcrypt of md5', { hash: hashSync(md5(password), 4) }, ['md5 in hex', 'bcrypt']],
    [
      'bcrypt with a pepper in a column',
      { hash: hashSync(`${password}s3cret`, 4), others: { pepper: 's3cret' } },
      ['column pepper as text', 'password + it', 'bcrypt'],
    ],
  ];
  test.each(cases)(
    '%s',
    async (_name, row, steps, known = password) => {
      const found = await diagnose(row, known, patient);
      expect(found.how).toEqual(expect.arrayContaining(steps.map((step) => expect.stringContaining(step))));
      expect(JSON.stringify(found)).not.toContain(known);
    },
    400_000,
  );

  test('argon2id of md5, as a forum makes it', async () => {
    const options = { salt: 'saltsalt', iterations: 1, memorySize: 8192, parallelism: 1, hashLength: 32 } as const;
    const hash = await argon2id({ ...options, password: md5(password), outputType: 'encoded' });
    expect(await diagnose({ hash }, password, patient)).toMatchObject({
      how: ['md5 in hex', 'argon2id'],
      refused: 'recipe_foreign',
    });
  });
  test('NT hashes', async () => {
    expect((await diagnose({ hash: await md4(wide) }, password, patient)).how).toEqual(['as utf16le', 'md4']);
  });
});

describe('what a target can take comes in its form', () => {
  test('md5 with a salt in a column', async () => {
    const { carried } = await diagnose({ hash: md5(password, 'pepper01'), salt: 'pepper01' }, password, patient);
    expect(carried?.encoded).toBe('$md5salted-suffix$pepper01$+VuDaVLmMEEnIsufguXSjg==');
  });
  test('bare PBKDF2 with rounds that nobody told', async () => {
    const hash = pbkdf2Sync(password, 'salty', 10_000, 32, 'sha256').toString('hex');
    const { carried, how } = await diagnose({ hash, salt: 'salty' }, password, patient);
    expect(carried?.encoded).toMatch(/^\$pbkdf2-sha256\$10000\$c2FsdHk\$/);
    expect(how).toContain('PBKDF2-sha256, 10000 rounds');
  });
  test('a salt that was meant as base64 but stands where Django has text', async () => {
    const key = pbkdf2Sync(password, '0123456789', 2000, 32, 'sha256').toString('base64');
    const { carried } = await diagnose({ hash: `pbkdf2_sha256$2000$MDEyMzQ1Njc4OQ==$${key}` }, password, patient);
    expect(carried?.encoded).toMatch(/^\$pbkdf2-sha256\$2000\$MDEyMzQ1Njc4OQ\$/);
  });
});

describe('when nothing fits', () => {
  test('thousands were tried, and it says what is missing', async () => {
    const seen: number[] = [];
    const row = { hash: digest('sha256', 'another').toString('hex'), salt: 'a1b2' };
    const found = await diagnose(row, password, { budgetMs: 1500, onProgress: (tried) => seen.push(tried) });
    expect(found.how).toBeUndefined();
    expect(found.tried).toBeGreaterThan(2000);
    expect(seen.length).toBeGreaterThan(3);
    expect(found).toMatchObject({ complete: false, missing: ['password', 'pepper', 'iterations', 'time'] });
  });
  test('a row without salt is told so', async () => {
    const { missing } = await diagnose({ hash: digest('sha1', 'another').toString('hex') }, password, patient);
    expect(missing).toEqual(['password', 'salt', 'pepper', 'iterations']);
  });
  test('a hostile hash is not computed', async () => {
    expect(await diagnose({ hash: `$2b$31$${'a'.repeat(53)}` }, password, patient)).toMatchObject({
      tried: 0,
      hash: { refused: 'cost_too_high' },
    });
  });
});
