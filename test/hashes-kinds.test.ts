import { execFileSync } from 'node:child_process';
import { createHash, pbkdf2Sync, scryptSync } from 'node:crypto';
import { hashSync } from '@node-rs/bcrypt';
import { argon2i, argon2id } from 'hash-wasm';
import { encrypt } from 'unixcrypt';
import { describe, expect, test } from 'vitest';
import type { Hash } from '../src/hashes/kinds.ts';
import { recognise } from '../src/hashes/recognise.ts';
import { verifyHash } from '../src/hashes/verify.ts';
import { readBack } from './kit/hash-grammar.ts';

/** Every kind that a target takes: made by another library, read, written anew, and read back by the target's grammar. */

const password = 'Zebra-Crossing-7';
const salt = Buffer.from('0123456789abcdef');
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const raw64 = (bytes: Uint8Array) => b64(bytes).replaceAll('=', '');
const url64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
const adapted = (bytes: Uint8Array) => raw64(bytes).replaceAll('+', '.');
const key = (digest: string, rounds: number, size: number, with_: Buffer | string = salt) =>
  pbkdf2Sync(password, with_, rounds, size, digest);
const digest = (name: string, ...parts: (string | Buffer)[]) =>
  createHash(name)
    .update(Buffer.concat(parts.map((part) => Buffer.from(part))))
    .digest();
const u32 = (...values: number[]) =>
  Buffer.concat(values.map((value) => Buffer.from(Uint32Array.of(value).buffer).swap32()));

/** Verifies the encoded form by reading it with code of this test and asking other libraries. */
async function provesItself(text: string, verifier: string): Promise<Hash> {
  const hash = recognise(text);
  expect(hash.refused).toBeUndefined();
  const { v2 } = hash.targets;
  expect(v2.takes === 'with-verifier' ? v2.verifier : v2.takes).toBe(verifier);
  const written = hash.encoded as string;
  expect(written.length).toBeLessThanOrEqual(200);
  const target = readBack(written);
  expect(await target.verify(password)).toBe(true);
  expect(await target.verify(`${password} `)).toBe(false);
  // Ours agrees, also on its own form.
  for (const one of [hash, recognise(written)]) {
    if (!one.recipe) throw new Error('no recipe');
    expect(await verifyHash(one.recipe, Buffer.from(password))).toBe('match');
    expect(await verifyHash(one.recipe, Buffer.from('zebra'))).toBe('no_match');
  }
  expect(recognise(written).encoded).toBe(written);
  return hash;
}

const bcrypt = hashSync(password, 10);
const sha256 = key('sha256', 2000, 32);

describe('bcrypt', () => {
  test.each(['2a', '2b', '2y'])('$%s$ is taken as installed', async (letter) => {
    const hash = await provesItself(bcrypt.replace('$2b$', `$${letter}$`), 'default');
    expect(hash.encoded?.startsWith(letter === '2a' ? '$2a$' : '$2b$')).toBe(true);
    expect(hash.targets.v1).toEqual({ takes: 'default' });
  });
  test.each([
    ['Django', `bcrypt$${bcrypt}`],
    ['LDAP', `{CRYPT}${bcrypt}`],
    ['LDAP', `{BLF-CRYPT}${bcrypt.replace('$2b$', '$2y$')}`],
    ['LDAP', `{bcrypt}${bcrypt}`],
    ['base64 of LDAP', b64(Buffer.from(`{CRYPT}${bcrypt}`))],
    ['Auth0', JSON.stringify({ algorithm: 'bcrypt', hash: { value: bcrypt } })],
  ])('as %s writes it', async (form, text) => {
    expect((await provesItself(text, 'default')).form).toBe(form);
  });
});

describe('pbkdf2', () => {
  test.each(['sha1', 'sha224', 'sha256', 'sha384', 'sha512'])('passlib, %s', async (name) => {
    const made = key(name, 1500, 48);
    const id = name === 'sha1' ? 'pbkdf2' : `pbkdf2-${name}`;
    const hash = await provesItself(`$${id}$1500$${adapted(salt)}$${adapted(made)}`, 'pbkdf2');
    expect(hash.cost).toEqual({ rounds: 1500 });
  });

  // A key with every character in which the alphabets differ.
  const odd = Buffer.from('fbefbefbefbefbff', 'hex');
  test.each([
    ['standard', raw64],
    ['padded', b64],
    ['URL-safe', url64],
    ['passlib', adapted],
  ])('%s base64 is written in the alphabet of the target', async (_name, encode) => {
    const text = `$pbkdf2-sha256$2000$${encode(odd)}$${encode(key('sha256', 2000, 32, odd))}`;
    const hash = await provesItself(text, 'pbkdf2');
    expect(hash.encoded?.split('$')[3]).toBe(adapted(odd));
  });

  test.each([
    ['Django', `pbkdf2_sha256$2000$salty$${b64(key('sha256', 2000, 32, 'salty'))}`],
    ['Django', `pbkdf2_sha1$2000$salty$${b64(key('sha1', 2000, 20, 'salty'))}`],
    ['Werkzeug', `pbkdf2:sha256:2000$salty$${key('sha256', 2000, 32, 'salty').toString('hex')}`],
    ['LDAP', `{PBKDF2-SHA256}2000$${adapted(salt)}$${adapted(sha256)}`],
    ['LDAP', `{PBKDF2}2000$${adapted(salt)}$${adapted(key('sha1', 2000, 20))}`],
    ['ForgeRock', `{PBKDF2-HMAC-SHA256}2000:${b64(Buffer.concat([sha256, salt]))}`],
    ['ForgeRock', `{PBKDF2}2000:${b64(Buffer.concat([key('sha1', 2000, 20), salt]))}`],
    ['Atlassian', `{PKCS5S2}${b64(Buffer.concat([salt, key('sha1', 10_000, 32)]))}`],
    ['ASP.NET Identity v2', b64(Buffer.concat([Buffer.of(0), salt, key('sha1', 1000, 32)]))],
    ...[0, 1, 2].map((prf): [string, string] => {
      const made = key(['sha1', 'sha256', 'sha512'][prf] as string, 10_000, 32);
      return ['ASP.NET Identity v3', b64(Buffer.concat([Buffer.of(1), u32(prf, 10_000, 16), salt, made]))];
    }),
  ])('%s: %s', async (form, text) => {
    expect((await provesItself(text, 'pbkdf2')).form).toBe(form);
  });

  test.each([
    ['pbkdf2', 'sha1', 20],
    ['pbkdf2-sha256', 'sha256', 64],
    ['pbkdf2-sha512', 'sha512', 64],
  ])('Keycloak, %s, new and old', async (algorithm, name, size) => {
    const value = b64(key(name, 2750, size));
    const data = { hashIterations: 2750, algorithm };
    const credential = {
      type: 'password',
      secretData: JSON.stringify({ value, salt: b64(salt) }),
      credentialData: JSON.stringify(data),
    };
    for (const one of [credential, { ...data, hashedSaltedValue: value, salt: b64(salt) }])
      expect((await provesItself(JSON.stringify(one), 'pbkdf2')).form).toBe('Keycloak');
  });

  test('a key too long for the target is cut to its first block, which verifies', async () => {
    const long = Buffer.alloc(64, 7);
    const blob = Buffer.concat([u32(2048), long, key('sha256', 2048, 256, long)]);
    const hash = await provesItself(`{PBKDF2_SHA256}${b64(blob)}`, 'pbkdf2');
    expect(hash.warnings).toContain('cut_key');
  });
});

describe('argon2', () => {
  const options = { password, salt, iterations: 2, memorySize: 8192, parallelism: 2, hashLength: 32 } as const;
  test.each([
    ['argon2i', argon2i],
    ['argon2id', argon2id],
  ])('%s, also with its parameters in another order', async (kind, make) => {
    const text = await make({ ...options, outputType: 'encoded' });
    const swapped = text.replace('m=8192,t=2,p=2', 't=2,p=2,m=8192');
    expect((await provesItself(text, 'argon2')).kind).toBe(kind);
    expect((await provesItself(swapped, 'argon2')).encoded).toBe(text);
    expect((await provesItself(`argon2${text}`, 'argon2')).form).toBe('Django');
    expect((await provesItself(`{ARGON2}${text}`, 'argon2')).form).toBe('LDAP');
  });
  test('Keycloak', async () => {
    const value = b64(await argon2id({ ...options, outputType: 'binary' }));
    const additionalParameters = {
      hashLength: ['32'],
      memory: ['8192'],
      type: ['id'],
      version: ['1.3'],
      parallelism: ['2'],
    };
    const credentialData = JSON.stringify({ hashIterations: 2, algorithm: 'argon2', additionalParameters });
    const secretData = JSON.stringify({ value, salt: b64(salt), additionalParameters: {} });
    expect((await provesItself(JSON.stringify({ secretData, credentialData }), 'argon2')).form).toBe('Keycloak');
  });
});

describe('scrypt', () => {
  const made = scryptSync(password, salt, 64, { N: 2 ** 14, r: 8, p: 1 });
  const text = salt.toString();
  test.each([
    [undefined, `$scrypt$ln=14,r=8,p=1$${raw64(salt)}$${raw64(made)}`],
    [undefined, `$7$ln=14,r=8,p=1$${raw64(salt)}$${raw64(made)}`],
    ['Werkzeug', `scrypt:16384:8:1$${text}$${made.toString('hex')}`],
    ['Django', `scrypt$16384$${text}$8$1$${b64(made)}`],
    ['Spring', `{scrypt}$e0801$${b64(salt)}$${b64(made)}`],
  ])('%s', async (form, written) => {
    expect((await provesItself(written, 'scrypt')).form).toBe(form);
  });
});

describe('crypt(3) and its children', () => {
  test.each(['$5$saltsalt', '$6$0123456789abcdef', '$5$rounds=1234$x', '$6$rounds=7777$saltsalt'])(
    'sha-crypt %s',
    async (setting) => {
      const hash = await provesItself(encrypt(password, setting), 'sha2');
      // Targets before 2026-03 know no default.
      expect(hash.encoded).toContain('$rounds=');
    },
  );
  // unixcrypt errs for passwords of exactly 32 or 64 bytes; OpenSSL does not.
  test('passwords of any length agree with OpenSSL', async () => {
    for (const size of [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128]) {
      const long = 'ñ'.repeat(size);
      for (const kind of ['-1', '-5', '-6']) {
        const made = execFileSync('openssl', ['passwd', kind, '-salt', 'saltsalt', '-stdin'], { input: `${long}\n` });
        const { recipe } = recognise(made.toString().trim());
        expect(recipe && (await verifyHash(recipe, Buffer.from(long)))).toBe('match');
      }
    }
  });
  // Made with OpenSSL 3.0 and node:crypto for this project, the last one checked against passlib.
  test.each([
    ['$1$saltsalt$tftk681OPaeXtTfTq7ZqK.', 'md5'],
    ['{CRYPT}$1$saltsalt$tftk681OPaeXtTfTq7ZqK.', 'md5'],
    ['$P$9saltsaltHhlhuXi6suUfVGbwbQ7W71', 'phpass'],
    ['$H$9saltsaltHhlhuXi6suUfVGbwbQ7W71', 'phpass'],
    ['$S$DsaltsaltfitmBk1N0JMQPm0UzwsJd33r6xxE4QaWw0wxiwE8sw7', 'drupal7'],
  ])('%s', async (text, verifier) => {
    await provesItself(text, verifier);
  });
});

describe('md5', () => {
  test.each([
    ['md5plain', digest('md5', password).toString('hex')],
    ['md5plain', digest('md5', password).toString('hex').toUpperCase()],
    ['md5plain', `{MD5}${b64(digest('md5', password))}`],
    ['md5plain', `md5$$${digest('md5', password).toString('hex')}`],
    ['md5salted', `$md5salted-suffix$pepper01$${b64(digest('md5', password, 'pepper01'))}`],
    ['md5salted', `$md5salted-prefix$pepper01$${b64(digest('md5', 'pepper01', password))}`],
    ['md5salted', `md5$salty$${digest('md5', 'salty', password).toString('hex')}`],
    [
      'md5salted',
      JSON.stringify({
        algorithm: 'md5',
        hash: { value: digest('md5', password, 'salty').toString('hex'), encoding: 'hex' },
        salt: { value: 'salty', position: 'suffix' },
      }),
    ],
  ])('%s: %s', async (verifier, text) => {
    await provesItself(text, verifier);
  });
});
