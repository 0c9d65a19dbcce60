import { hashSync } from '@node-rs/bcrypt';
import { describe, expect, test } from 'vitest';
import { recognise } from '../src/hashes/recognise.ts';
import { verifyHash } from '../src/hashes/verify.ts';
import { suspicion } from '../src/producer/import/suspicious.ts';

/** Details of real files that concern hashes; those of forms and costs stand in hashes-kinds and hashes-refused. */

async function verdict(text: string, password: string | Buffer) {
  const { recipe } = recognise(text);
  if (!recipe) throw new Error('nothing to verify with');
  return verifyHash(recipe, Buffer.from(password));
}

const made = (password: string | Buffer) => hashSync(password, 4).replace('$2b$', '$2y$');

describe('a hash matches exactly its password', () => {
  test('$2y$ as PHP writes it', async () => {
    expect(await verdict(made('Zebra-Crossing-7'), 'Zebra-Crossing-7')).toBe('match');
  });
  test('73 bytes never match the hash of the first 72', async () => {
    expect(await verdict(made('a'.repeat(72)), 'a'.repeat(72))).toBe('match');
    expect(await verdict(made('a'.repeat(72)), 'a'.repeat(73))).toBe('no_match');
    // 36 characters of two bytes each.
    expect(await verdict(made('é'.repeat(36)), `${'é'.repeat(36)}x`)).toBe('no_match');
  });
  test('what stands behind a NUL counts', async () => {
    expect(await verdict(made('a'), 'a\0b')).toBe('no_match');
    expect(await verdict(made('a\0b'), 'a\0b')).toBe('match');
  });
  test.each([
    ['a blank behind it', 'Zebra', 'Zebra '],
    ['a no-break space', 'Zebra', 'Zebra\u00a0'],
    ['another Unicode form', 'ñandú'.normalize('NFC'), 'ñandú'.normalize('NFD')],
    ['smart quotes', "it's", 'it\u2019s'],
  ])('%s makes another password', async (_name, one, other) => {
    expect(await verdict(made(one), other)).toBe('no_match');
  });
  test('an empty password matches nothing, not even its own hash', async () => {
    expect(await verdict(made(''), '')).toBe('no_match');
  });
  test('the trimming of WordPress knows PHP\u2019s blanks only', async () => {
    const hash = '$wp$2y$10$607XKVrBjPEqujeOXNwbYuOJ.gPMd2TelMMknmeV70Kap1E81Ovo6';
    expect(await verdict(hash, ' hashpwn\n')).toBe('match');
    expect(await verdict(hash, 'hashpwn\u00a0')).toBe('no_match');
  });
});

test.each([
  made('a'),
  '$wp$2y$10$607XKVrBjPEqujeOXNwbYuOJ.gPMd2TelMMknmeV70Kap1E81Ovo6',
  '$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$LaZlmT7vmDNv5u4IWAHoQA176+OO1vd+DS/jn991Wyw',
  '$scrypt$ln=15,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$G4pFxMNAs0kOPDCNIorA2x8GRuoe0nLcrBi56too1sc',
  'scrypt:32768:8:1$salt$00',
  '$pbkdf2-sha256$29000$MDEyMzQ1Njc4OWFiY2RlZg$TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs',
  'pbkdf2_sha256$29000$salt$TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs=',
  'pbkdf2:sha256:29000$salt$00',
  '$1$saltsalt$tftk681OPaeXtTfTq7ZqK.',
  '$5$saltsaltsaltsalt$amPZpV0JPhCtf4paaj6N9GJa/yQiz8qvMeMSsPrOqHD',
  '$P$9saltsaltHhlhuXi6suUfVGbwbQ7W71',
  '$S$DsaltsaltfitmBk1N0JMQPm0UzwsJd33r6xxE4QaWw0wxiwE8sw7',
  '4e0f55e7a644b6f30e12c0aa0de54771',
  '{SSHA}BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==',
  '{PBKDF2-SHA256}2000$BwcH$BwcH',
  'sha1$salt$00',
])('a column of passwords that holds %s is stopped', (text) => {
  expect(suspicion(text)).toBe('password_is_hash');
});

test('what is a marker for a hash is one for a password too', () => {
  for (const marker of [
    '!',
    '!!',
    '*',
    'x',
    'LOCKED',
    'NULL',
    '\\N',
    '[object Object]',
    'undefined',
    'REDACTED',
    '***',
  ]) {
    expect(recognise(marker).refused).toBe('hash_marker');
    expect(suspicion(marker)).toBe('password_marker');
  }
});
