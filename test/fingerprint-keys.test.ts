import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createKeyFiles, readFingerprintKey } from '../src/key-files.ts';
import { fingerprint } from '../src/producer/fingerprint.ts';
import { Secret } from '../src/secret.ts';
import { tempDir } from './kit/files.ts';

const dayMs = 86_400_000;
const retentionMs = 7 * dayMs;
const start = Date.parse('2030-01-01T12:00:00Z');
const fileOf = (dir: string) => join(dir, 'fingerprint.json');

it('makes a key a day, keeps it for its window, and writes the file for nobody else to read', async () => {
  const dir = tempDir();
  await createKeyFiles(dir);
  let now = start;
  const [one, two] = [readFingerprintKey(dir, () => now), readFingerprintKey(dir, () => now)];
  const first = one.current(retentionMs);
  expect(one.current(retentionMs)).toEqual(first);
  // Another process takes over what the first has made.
  expect(two.current(retentionMs)).toEqual(first);
  now += dayMs;
  const second = two.current(retentionMs);
  expect(second.id).not.toBe(first.id);
  expect(one.find(second.id)).toEqual(second);
  expect(one.find(first.id)).toEqual(first);
  expect(statSync(fileOf(dir)).mode & 0o777).toBe(0o600);
  now = start + retentionMs + 31 * dayMs;
  two.current(retentionMs);
  expect(readFingerprintKey(dir).find(first.id)).toEqual(first);
  now += 2 * dayMs;
  two.current(retentionMs);
  expect(two.find(first.id)).toBeUndefined();
  expect(readFileSync(fileOf(dir), 'utf8')).not.toContain(first.key.toString('base64url'));
});

it('goes on with the old key while the file cannot be rewritten, also after a process was killed at it', async () => {
  const dir = tempDir();
  await createKeyFiles(dir);
  let now = Date.now();
  const keys = readFingerprintKey(dir, () => now);
  const first = keys.current(retentionMs);
  const lock = `${fileOf(dir)}.new`;
  writeFileSync(lock, '');
  now += dayMs;
  expect(keys.current(retentionMs)).toEqual(first);
  utimesSync(lock, 1, 1);
  now += 60_000;
  expect(keys.current(retentionMs)).toEqual(first);
  now += 60_000;
  expect(keys.current(retentionMs).id).not.toBe(first.id);
  expect(existsSync(lock)).toBe(false);
});

it('reads the file of the first version', async () => {
  const dir = tempDir();
  const current = randomBytes(32);
  writeFileSync(fileOf(dir), JSON.stringify({ current: current.toString('base64url') }), { mode: 0o600 });
  const keys = readFingerprintKey(dir);
  expect(keys.current(retentionMs).key).toEqual(current);
  const later = readFingerprintKey(dir, () => Date.now() + dayMs);
  expect(later.current(retentionMs).key).not.toEqual(current);
  expect(later.find('first')?.key).toEqual(current);
});

it('names the key in the fingerprint, never the password', async () => {
  const request = { org: 'o', user: 'u', password: Secret.fromString('Secret-1'), changeRequired: true };
  const print = await fingerprint({ id: 'abc', key: randomBytes(32) }, 'c', request);
  expect(print).toMatch(/^abc\.[\w-]{43}$/);
});
