import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from './kit/files.ts';

const dir = tempDir();
const laravel = '$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi';
const django = `pbkdf2_sha256$260000$salty$${Buffer.alloc(32, 7).toString('base64')}`;
const md5 = (text: string) => createHash('md5').update(text).digest('hex');

function hash(args: string[], input = ''): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const whole = ['--import', 'tsx', 'src/cli/main.ts', 'hash', ...args];
    const child = execFile(process.execPath, whole, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
    child.stdin?.on('error', () => {}).end(input);
  });
}

function file(name: string, text: string | Buffer): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

test('inspect says of one hash from a pipe what it is and who takes it', async () => {
  const { code, stdout } = await hash(['inspect'], `${laravel}\n`);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^bcrypt, cost 10\n {2}v1: takes it; v2: takes it\n {2}one check takes about \d+ ms here\n/);
});

test('inspect sums up a list by kind, with reasons, advice and the verifiers that are needed', async () => {
  const path = file('list.txt', `\ufeff${laravel}\r\n${laravel}\r\n${django}\r\n!\r\n$2b$31$${'a'.repeat(53)}\r\n`);
  const { code, stdout } = await hash(['inspect', path]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/^5 hashes: 3 can be imported, 2 REFUSED\n {2}v1 takes 2; v2 takes 3, /);
  expect(stdout).toContain('2 × bcrypt, cost 10, first in line 1');
  expect(stdout).toContain('1 × pbkdf2-sha256 (Django), rounds 260,000, first in line 3');
  expect(stdout).toContain('REFUSED hash_marker, first in line 4');
  expect(stdout).toContain('(estimated, not run)');
  expect(stdout).toContain('what to do: ');
  expect(stdout).toContain('v2 needs pbkdf2 in ZITADEL_SYSTEMDEFAULTS_PASSWORDHASHER_VERIFIERS');
  expect(stdout).not.toContain('92IXUNpkjO0');
});

test('inspect finds the column of hashes in a CSV, or is told it', async () => {
  const path = file('users.csv', `id;name;password_hash\n1;"a;b";"${laravel}"\n2;c;!\n`);
  const found = await hash(['inspect', path, '--json']);
  expect(JSON.parse(found.stdout)).toMatchObject({
    total: 2,
    taken: 1,
    refused: 1,
    kinds: [
      { kind: 'bcrypt', count: 1, firstLine: 2, targets: { v1: { takes: 'default' } } },
      { kind: 'none', refused: { reason: 'hash_marker' }, firstLine: 3 },
    ],
  });
  const named = await hash(['inspect', path, '--column', 'name']);
  expect(named.stdout).toContain('2 × unknown: REFUSED hash_unknown');
  expect(await hash(['inspect', path, '--column', 'nobody'])).toMatchObject({ code: 2 });
});

test('inspect --encoded writes a line for each hash, for the owner only', async () => {
  const [path, out] = [file('two.txt', `${laravel}\n!\n${django}\n`), file('out.txt', 'old')];
  const { code, stderr } = await hash(['inspect', path, '--encoded', out]);
  expect(code).toBe(1);
  const lines = readFileSync(out, 'utf8').split('\n');
  expect(lines).toEqual([
    laravel.replace('$2y$', '$2b$'),
    '',
    expect.stringMatching(/^\$pbkdf2-sha256\$260000\$c2FsdHk\$[\w./]{43}$/),
    '',
  ]);
  expect(statSync(out).mode & 0o777).toBe(0o600);
  expect(stderr).toContain('2 written to');
  const piped = await hash(['inspect', path, '--encoded', '-']);
  expect(piped.stdout).toBe(lines.join('\n'));
  expect(piped.stderr).toContain('3 hashes: 2 can be imported, 1 REFUSED');
});

test('what a file holds cannot steer the terminal, and no value is repeated', async () => {
  const steering = ['\u001b', '\u202e', 'Sup3r'];
  const evil = 'Sup3r\u001b[2Jsecret\u202e';
  const { stdout, stderr } = await hash(['inspect', file('evil.txt', `${evil}\n${evil}\n`), '--json']);
  for (const bad of steering) expect(stdout + stderr).not.toContain(bad);
  const broken = await hash(['inspect', file('broken.csv', `hash,b\n"${evil},1\n`)]);
  for (const bad of [...steering, '    at ']) expect(broken.stderr + broken.stdout).not.toContain(bad);
  expect(broken.code).toBe(2);
});

test.each([
  ['a file that is not there', ['inspect', 'no such file'], /cannot read no such file \(ENOENT\)/],
  ['an empty one', ['inspect', '/dev/null'], /there is nothing to inspect/],
  ['a row that is not there', ['doctor', 'no such file'], /cannot read no such file \(ENOENT\)/],
  ['rounds that are no number', ['doctor', '/dev/null', '--iterations', 'many'], /whole number/],
])('%s is a usage error in one line', async (_name, args, text) => {
  const { code, stderr } = await hash(args, 'password');
  expect(code).toBe(2);
  expect(stderr).toMatch(text);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('doctor says the recipe and the form of the target, from a CSV and a password file', async () => {
  const row = file('row.csv', `user,hash,salt\nann,${md5('Zebra-Crossing-7pepper01')},pepper01\n`);
  const { code, stdout, stderr } = await hash(['doctor', row, '--password-file', file('known', 'Zebra-Crossing-7\n')]);
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/^FOUND \([\d,]+ recipes?, [\d.]+ s\): password → salt as text → password \+ salt → md5\n/);
  expect(stdout).toContain('v1: no; v2: takes it with the verifier md5salted');
  expect(stdout).toContain('$md5salted-suffix$pepper01$+VuDaVLmMEEnIsufguXSjg==');
  expect(stdout + stderr).not.toContain('Zebra');
});

test('doctor reads JSON and a password from a pipe, and says why no target takes it', async () => {
  const row = file('row.json', JSON.stringify({ id: 7, hash: md5(`${md5('Zebra-Crossing-7')}x9`), salt: 'x9' }));
  const { code, stdout } = await hash(['doctor', row, '--json'], 'Zebra-Crossing-7\n');
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    found: true,
    how: ['md5 in hex', 'salt as text', 'password + salt', 'md5'],
    refused: { reason: 'recipe_foreign' },
  });
});

test('doctor says what is missing when nothing fits', async () => {
  const row = file('bare.txt', `${createHash('sha1').update('another').digest('hex')}\n`);
  const { code, stdout } = await hash(['doctor', row], 'Zebra-Crossing-7');
  expect(code).toBe(1);
  expect(stdout).toMatch(/^NOT FOUND \(\d,\d{3} recipes, /);
  expect(stdout).toMatch(/What may be missing:\n {2}the password: .*\n {2}the salt: .*--salt-column\n/);
});
