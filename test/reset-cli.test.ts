import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { tempDir } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';

let world: Passferry;
let dir: string;
const old = 'Old-password-1';

beforeAll(async () => {
  world = await startPassferry();
  dir = tempDir();
  for (const id of ['ann', 'bob', 'cem', 'dan']) {
    await world.addV2({ id, org: 'globex', userName: id, email: `${id}@example.com`, password: old });
  }
});

function passferry(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, PASSFERRY_URL: world.url, PASSFERRY_TOKEN: world.token };
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

function list(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

test('passferry reset --mode link says what was sent, and that nothing else has ended', async () => {
  const file = list('links.csv', 'email\nann@example.com\nnobody@example.com\n');
  const { code, stdout, stderr } = await passferry('reset', file, '--mode', 'link', '--by', 'email', '--org', 'globex');
  expect(code, stderr).toBe(1);
  expect(stdout).toMatch(/^1 user is NOT reset\n1 link sent; no password was changed by that\n {2}1 × user_not_found/);
  expect(stdout).toContain('sessions and tokens stay valid');
  expect(stderr).toContain('2 users, found by email: each user is mailed a link');
  expect(readFileSync(`${file}.rejects.csv`, 'utf8')).toContain('nobody@example.com');
  expect(world.sandbox.mails.map(({ user }) => user)).toEqual(['ann']);
});

test('generated passwords go through the handout to whoever has the key, and log in', async () => {
  const [key, sealed] = [join(dir, 'handout.jwk'), join(dir, 'passwords.ndjson')];
  expect((await passferry('handout', 'key', key)).code).toBe(0);
  const file = list('generate.csv', 'userId\nbob\ncem\n');
  const args = ['--mode', 'generate', '--recipient', `${key}.pub`, '--handout', sealed, '--org', 'globex', '--json'];
  const reset = await passferry('reset', file, ...args, '--end-sessions');
  expect(reset.code, reset.stderr).toBe(0);
  expect(JSON.parse(reset.stdout)).toMatchObject({ set: 2, handedOut: 2, sessionsEnded: 0 });

  const opened = await passferry('handout', 'open', sealed, '--key', key);
  expect(opened.code, opened.stderr).toBe(0);
  expect(opened.stdout).toContain('2 passwords IN CLEAR');
  expect(opened.stdout + reset.stdout + reset.stderr).not.toMatch(/[\w!#$%*+\-=?@]{24}\n/);
  const rows = readFileSync(`${sealed}.csv`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(','));
  expect(rows[0]).toEqual(['userId', 'email', 'userName', 'orgId', 'password']);
  for (const [user, , , org, password] of rows.slice(1)) {
    expect(await world.works(org as string, user as string, password as string)).toBe(true);
  }
  for (const path of [key, sealed, `${sealed}.csv`]) expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('a handout cannot be opened with another key, nor when its lines were put to other users', async () => {
  const sealed = readFileSync(join(dir, 'passwords.ndjson'), 'utf8');
  const other = join(dir, 'other.jwk');
  await passferry('handout', 'key', other);
  const wrong = await passferry(
    'handout',
    'open',
    join(dir, 'passwords.ndjson'),
    '--key',
    other,
    '--out',
    join(dir, 'w.csv'),
  );
  expect(wrong).toMatchObject({ code: 1, stdout: '2 lines cannot be opened: made for another key, or altered\n' });
  const swapped = list('swapped.ndjson', sealed.replace('"userId":"bob"', '"userId":"dan"'));
  const some = await passferry('handout', 'open', swapped, '--key', join(dir, 'handout.jwk'), '--json');
  expect(JSON.parse(some.stdout)).toMatchObject({ opened: 1, unreadable: 1 });
});

test.each([
  [['--mode', 'generate'], 2, 'generated passwords need --recipient'],
  [['--mode', 'link', '--handout', 'x'], 2, '--recipient and --handout go with --mode generate'],
  [['--mode', 'link', '--by', 'email'], 3, 'nothing was sent: The list has no column of the kind'],
  [['--mode', 'generate', '--recipient', 'PRIVATE'], 2, 'holds a private key; give the public one'],
] as const)(
  'what is asked wrongly ends before anything is sent: %s',
  async (args, code, text) => {
    const file = list('wrong.csv', 'userId\ndan\n');
    const given = args.map((each) => (each === 'PRIVATE' ? join(dir, 'handout.jwk') : each));
    const { code: ended, stderr } = await passferry('reset', file, '--org', 'globex', ...given);
    expect(ended, stderr).toBe(code);
    expect(stderr).toContain(text);
    expect(await world.works('globex', 'dan', old)).toBe(true);
  },
  400_000,
);
