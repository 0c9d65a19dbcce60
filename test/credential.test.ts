import { rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { credential } from '../src/credential.ts';
import { errorOf } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';

const file = () => join(tempDir(), 'token');

test('a value is the token, and printing the credential does not show it', async () => {
  const made = credential({ value: ' tok-1\n' });
  expect(await made.get()).toBe('tok-1');
  expect(await made.refresh()).toBe('tok-1');
  expect(inspect(made, { depth: 9, showHidden: true })).not.toContain('tok-1');
});

test.each(['', ' ', 'two words', 'line\nbreak', 'é'])('refuses the value %j without repeating it', async (value) => {
  const error = await errorOf((async () => credential({ value }))());
  expect(error).toMatchObject({ reason: 'config_invalid' });
});

test('a file is read again when it has changed, and always on refresh', async () => {
  const path = file();
  writeFileSync(path, ' one \n');
  const made = credential({ file: path });
  expect(await made.get()).toBe('one');
  writeFileSync(path, 'two');
  utimesSync(path, 1_000, 1_000);
  expect(await made.get()).toBe('two');
  writeFileSync(path, 'six');
  utimesSync(path, 1_000, 1_000);
  expect(await made.get()).toBe('two');
  expect(await made.refresh()).toBe('six');
});

test('a file that cannot be used leaves the last token in force', async () => {
  const path = file();
  const made = credential({ file: path });
  expect(await errorOf(made.get())).toMatchObject({ reason: 'backend_unauthenticated', scope: 'backend' });
  writeFileSync(path, '\n');
  expect(await errorOf(made.get())).toMatchObject({ reason: 'backend_unauthenticated', scope: 'backend' });
  writeFileSync(path, 'one');
  expect(await made.get()).toBe('one');
  writeFileSync(path, '');
  expect(await made.refresh()).toBe('one');
  rmSync(path);
  expect(await made.refresh()).toBe('one');
});
