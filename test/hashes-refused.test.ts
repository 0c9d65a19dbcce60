import { createHash } from 'node:crypto';
import { hashSync } from '@node-rs/bcrypt';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hashReasons } from '../src/hashes/reasons.ts';
import { recognise } from '../src/hashes/recognise.ts';
import { verifyHash } from '../src/hashes/verify.ts';
import { readBack } from './kit/hash-grammar.ts';

const b64 = (size: number, fill = 7) => Buffer.alloc(size, fill).toString('base64');
const raw64 = (size: number) => b64(size).replaceAll('=', '');
const hex = (size: number) => 'a1'.repeat(size);
const crypt = (size: number) => 'abcdefghij'.repeat(9).slice(0, size);
const bcrypt = `$2b$10$${crypt(53)}`;

describe('no target takes', () => {
  test.each([
    ['hash_empty', ''],
    ['hash_empty', ' \t'],
    ...['!', '!!', '*', 'x', 'LOCKED', '*LK*', 'NULL', '\\N', '[object Object]', 'undefined', 'REDACTED'].map(
      (marker): [string, string] => ['hash_marker', marker],
    ),
    ['hash_marker', `!${'aB3'.repeat(13)}d`],
    ['hash_marker', '••••••'],
    ['hash_locked', `!$6$saltsalt$${crypt(86)}`],
    ['hash_locked', `!!${bcrypt}`],
    ['hash_unknown', 'Summer2024'],
    ['hash_unknown', 'x'.repeat(9000)],
    ['hash_recipe_unknown', b64(32, 0x5c).replace('X', 'x')],
    ['hash_recipe_unknown', `${hex(16)}:salt`],
    ['hash_malformed', '$2b$aa$'],
    ['hash_malformed', `$2b$03$${crypt(53)}`],
    ['hash_malformed', '$argon2id$v=19$m=65536$'],
    ['hash_malformed', '$unheard-of$abc'],
    ['hash_malformed', '{"secretData":'],
    ['hash_malformed', `$pbkdf2-sha256$01000$${raw64(16)}$${raw64(32)}`],
    ['hash_malformed', `$pbkdf2-sha256$1000$-_+/${raw64(12)}$${raw64(32)}`],
    ['hash_length', bcrypt.slice(0, -1)],
    ['hash_length', `${bcrypt}a`],
    ['hash_length', `$6$saltsalt$${crypt(85)}`],
    ['hash_length', `$1$saltsalt$${crypt(21)}`],
    ['hash_length', `$P$9${crypt(29)}`],
    ['hash_length', `$S$D${crypt(52)}`],
    ['hash_length', `{SSHA}${b64(20)}`],
    ['hash_too_long', `$scrypt$ln=14,r=8,p=1$${raw64(64)}$${raw64(128)}`],
    ['firebase_scrypt', `$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=${b64(64)}$${b64(8)}$${b64(64)}`],
    ['firebase_scrypt', JSON.stringify({ localId: 'a', passwordHash: b64(64), salt: b64(8) })],
    ['firebase_scrypt', `${b64(64)}$${b64(8)}$${b64(64)}$Bw==$8$14`],
    ['digest_salted', `{SSHA}${b64(28)}`],
    ['digest_salted', `{SMD5}${b64(24)}`],
    ...['224', '256', '384', '512'].map((bits): [string, string] => [
      'digest_salted',
      `{SSHA${bits}}${b64(Number(bits) / 8 + 8)}`,
    ]),
    ['digest_salted', Buffer.from(`{SSHA}${b64(28)}`).toString('base64')],
    ['digest_salted', `sha1$salty$${hex(20)}`],
    ['digest_plain', `{SHA}${b64(20)}`],
    ['digest_plain', `{SHA256}${b64(32)}`],
    ...[20, 28, 32, 48, 64].map((size): [string, string] => ['digest_plain', hex(size)]),
    ['digest_plain', hex(20).toUpperCase()],
    ['digest_plain', Buffer.from(hex(32)).toString('base64')],
    ['prehashed', `$wp$2y$10$${crypt(53)}`],
    ['prehashed', `bcrypt_sha256$${bcrypt}`],
    ['prehashed', `$bcrypt-sha256$v=2,t=2b,r=12$${crypt(22)}$${crypt(31)}`],
    ['prehashed', JSON.stringify({ algorithm: 'md5', hash: { value: hex(16) }, password: { encoding: 'utf16le' } })],
    ['peppered', JSON.stringify({ algorithm: 'hmac', hash: { value: hex(16), key: { value: 'a' } } })],
    ['wrapped', `U$S$D${crypt(51)}`],
    ['argon2d', `$argon2d$v=19$m=65536,t=2,p=1$${raw64(16)}$${raw64(32)}`],
    ['argon2_version', `$argon2id$m=65536,t=2,p=1$${raw64(16)}$${raw64(32)}`],
    ['argon2_version', `$argon2i$v=16$m=65536,t=2,p=1$${raw64(16)}$${raw64(32)}`],
    ['bcrypt_bare', `$2$10$${crypt(53)}`],
    ['bcrypt_flawed', `$2x$10$${crypt(53)}`],
    ['no_verifier', '$apr1$saltsalt$tftk681OPaeXtTfTq7ZqK.'],
    ['no_verifier', `$y$j9T$saltsalt$${crypt(43)}`],
    ['no_verifier', `$7$CU..../....saltsalt$${crypt(43)}`],
    ['no_verifier', '{CRYPT}rl.3StKT.4T8M'],
    ['no_verifier', `{NT}${hex(16)}`],
    ['parameters_missing', `{pbkdf2}${hex(40)}`],
    ['password_in_clear', '{noop}secret'],
    ['password_in_clear', '{CLEARTEXT}secret'],
    ['salt_unusable', `$md5salted-suffix$with blank$${b64(16)}`],
    ['salt_unusable', `$6$$${crypt(86)}`],
    ['salt_unusable', `md5$s é$${hex(16)}`],
    ['salt_unusable', `pbkdf2_sha256$2000$$${b64(32)}`],
  ])('%s: %s', (reason, text) => {
    const hash = recognise(text);
    expect(hash.refused).toBe(reason);
    expect(hash.encoded).toBeUndefined();
    expect(hash.targets).toEqual({ v1: { takes: 'no', why: reason }, v2: { takes: 'no', why: reason } });
    expect(hashReasons[hash.refused as keyof typeof hashReasons][1].length).toBeGreaterThan(20);
  });

  test('what the caller says is peppered', () => {
    const hash = recognise(bcrypt, { peppered: true });
    expect(hash.refused).toBe('peppered');
    expect(hash.recipe).toBeUndefined();
  });
});

const tooHigh = [
  `$2b$31$${crypt(53)}`,
  `$2b$17$${crypt(53)}`,
  `$wp$2y$31$${crypt(53)}`,
  `scrypt:1073741824:8:1$salt$${hex(64)}`,
  `$scrypt$ln=30,r=8,p=1$${raw64(16)}$${raw64(32)}`,
  `$scrypt$ln=14,r=8,p=4000000$${raw64(16)}$${raw64(32)}`,
  `$scrypt$ln=20,r=32,p=16$${raw64(16)}$${raw64(32)}`,
  `$argon2id$v=19$m=4194304,t=3,p=1$${raw64(16)}$${raw64(32)}`,
  `$argon2id$v=19$m=65536,t=4000000000,p=1$${raw64(16)}$${raw64(32)}`,
  `$argon2d$v=19$m=4194304,t=3,p=1$${raw64(16)}$${raw64(32)}`,
  `pbkdf2_sha256$4294967295$salt$${b64(32)}`,
  `$6$rounds=999999999$saltsalt$${crypt(86)}`,
  `$P$z${crypt(30)}`,
  `$S$z${crypt(51)}`,
];

describe('a hostile cost', () => {
  test.each(tooHigh)('is refused: %s', (text) => {
    expect(recognise(text).refused).toBe('cost_too_high');
  });

  test('starts no computing, although somebody asks for it', async () => {
    for (const text of tooHigh) {
      const { recipe } = recognise(text);
      // bcrypt over cost 16 gives a recipe only up to what can be written.
      if (recipe) expect(await verifyHash(recipe, Buffer.from('password'), { maxMs: 3000 })).toBe('too_costly');
    }
  });
});

describe('cheaper than the target allows', () => {
  test.each([
    `$argon2id$v=19$m=4096,t=3,p=1$${raw64(16)}$${raw64(32)}`,
    `{PBKDF2-HMAC-SHA256}10:${b64(48)}`,
    `$scrypt$ln=10,r=8,p=1$${raw64(16)}$${raw64(32)}`,
    `$5$rounds=999$saltsalt$${crypt(43)}`,
    `$P$4${crypt(30)}`,
    `$S$7${crypt(51)}`,
  ])('is refused with advice: %s', (text) => {
    expect(recognise(text).refused).toBe('cost_too_low');
  });

  test('bcrypt of cost 8 goes to v1, with a warning, and not to v2', () => {
    const hash = recognise(hashSync('Zebra-Crossing-7', 8));
    expect(hash.targets).toEqual({ v1: { takes: 'default' }, v2: { takes: 'no', why: 'cost_too_low' } });
    expect(hash.warnings).toContain('cost_low_for_v1');
  });
});

describe('any text', () => {
  const piece = fc.constantFrom(
    ...'$ { } : = , 2b 2y argon2id argon2i scrypt pbkdf2-sha256 pbkdf2_sha256 v=19 m=65536,t=3,p=4 ln=14,r=8,p=1 {SSHA} {CRYPT} {PBKDF2} rounds=5000 1 5 6 P H S 10 00 99999999999 md5 sha1 md5salted-suffix wp ! * AQAAAA {"algorithm": ] [ "'.split(
      ' ',
    ),
    crypt(53),
    crypt(22),
    raw64(32),
    b64(16),
    hex(16),
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 14 }).map((parts) => parts.join('')),
    fc.array(piece, { maxLength: 8 }).map((parts) => `$${parts.join('$')}`),
  );

  test('is recognised or refused, never thrown at; what is taken is what the target parses', () => {
    fc.assert(
      fc.property(text, (any) => {
        const hash = recognise(any);
        expect(hash.refused === undefined).toBe(hash.encoded !== undefined);
        // bcrypt that only v1 takes lies outside of v2's bounds.
        if (hash.encoded !== undefined && hash.targets.v2.takes !== 'no') readBack(hash.encoded);
      }),
      { numRuns: 3000 },
    );
  });

  test('of any length is done with before anybody notices', () => {
    const long = ['$', 'a', '{', '0', '=', '{"', 'a:', '!', '$2b$', '{CRYPT}', 'argon2$argon2'].flatMap((part) =>
      [100, 8000, 1_000_000].map((size) => part.repeat(Math.ceil(size / part.length))),
    );
    // A regular expression that goes wrong would need hours: the runner's own limit is the assertion.
    for (const one of long) expect(recognise(one).encoded).toBeUndefined();
  });

  test('md5 of 32 digits is taken with a warning: nothing in it says so', () => {
    const hash = recognise(createHash('md5').update('a').digest('hex'));
    expect(hash.warnings).toEqual(['unmarked', 'weak']);
  });
});
