import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { type Callers, loadCallers } from '../src/producer/callers.ts';
import { changeCallersFile, hashToken } from '../src/producer/callers-file.ts';
import { tempDir } from './kit/files.ts';
import { spawnNode } from './kit/processes.ts';

/** Only this part of the command line: the whole of it loads for seconds. */
const entry = `
  import { Command } from 'commander';
  import { registerCallers } from '${new URL('../src/cli/callers.ts', import.meta.url).href}';
  const program = new Command('passferry').exitOverride();
  registerCallers(program);
  await program.parseAsync(process.argv.slice(1), { from: 'user' }).catch(() => { process.exitCode = 2; });
`;

const dir = tempDir();
const newFile = () => join(dir, `${randomUUID()}.json`);
const tokenForm = /^pf_[\w-]{43}$/;

/** `passferry callers …`, as a process of its own. */
async function run(file: string | undefined, ...args: string[]) {
  return runIn({}, file, ...args);
}
async function runIn(more: Record<string, string>, file: string | undefined, ...args: string[]) {
  const env = { PASSFERRY_DATA: join(dir, 'no-data'), ...(file && { PASSFERRY_CALLERS_FILE: file }), ...more };
  const child = spawnNode(['--input-type=module', '-e', entry, '--', 'callers', ...args], env);
  const { code } = await child.exited;
  const lines = child.lines();
  return { code, lines, text: lines.join('\n'), token: lines.find((line) => tokenForm.test(line)) ?? '' };
}
/** The same, which must go well. */
async function ok(file: string, ...args: string[]) {
  const ran = await run(file, ...args);
  expect(ran.code, ran.text).toBe(0);
  return ran;
}

const stored = (file: string) => JSON.parse(readFileSync(file, 'utf8')).callers;
const load = (file: string) => loadCallers(file, (error) => expect.unreachable(String(error)));
const nameOf = (callers: Callers, token: string) =>
  callers.authenticate(`Bearer ${token}`).then(
    ({ name }) => name,
    ({ reason }) => reason,
  );
const unknown = 'AUTH-7fs1e';

test('add shows the token once, stores only its hash, in a private file, and the caller may what was said', async () => {
  const file = newFile();
  const { token, text } = await ok(
    file,
    'add',
    'desk',
    '--org',
    'acme=set',
    '--org',
    'acme=read',
    '--org',
    'x=y=import',
  );
  expect(token).toMatch(tokenForm);
  expect(text.split(token)).toHaveLength(2);
  expect(readFileSync(file, 'utf8')).not.toContain(token.slice(3));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(existsSync(`${file}.lock`)).toBe(false);
  const grants = { acme: ['set', 'read'], 'x=y': ['import'] };
  expect(stored(file)).toEqual([{ name: 'desk', tokenSha256: hashToken(token), home: 'acme', grants }]);
  expect(await load(file).authenticate(`Bearer ${token}`)).toEqual({ name: 'desk', home: 'acme', grants });
});

test('without --file and PASSFERRY_CALLERS_FILE it is the file of the local `up`, when there is one', async () => {
  const file = join(tempDir(), 'callers.json');
  const data = { PASSFERRY_DATA: dirname(file) };
  expect((await runIn(data, undefined, 'list')).code).toBe(2);
  await ok(file, 'add', 'desk', '--org', 'acme=set');
  expect((await runIn(data, undefined, 'list')).text).toContain('desk: ');
  // What is named goes first.
  expect((await runIn(data, newFile(), 'list')).text).toContain('config_invalid');
});

test('a running serve knows at once who was added, given a new token, revoked', async () => {
  const file = newFile();
  const first = (await ok(file, 'add', 'one', '--org', 'acme=set')).token;
  const callers = load(file);
  const second = (await ok(file, 'add', 'two', '--org', '*=operate', '--home', 'acme')).token;
  expect(await nameOf(callers, second)).toBe('two');
  const rotated = (await ok(file, 'rotate', 'one')).token;
  expect(await nameOf(callers, rotated)).toBe('one');
  expect(await nameOf(callers, first)).toBe('one');
  const [{ previous }] = stored(file);
  expect(previous).toEqual([{ tokenSha256: hashToken(first), expiresAt: expect.any(String) }]);
  expect(Date.parse(previous[0].expiresAt) - Date.now()).toBeGreaterThan(23 * 3_600_000);
  const last = (await ok(file, 'rotate', 'one', '--overlap', '0')).token;
  expect(await nameOf(callers, last)).toBe('one');
  // Known from before: seen at the next look.
  const fresh = load(file);
  for (const old of [first, rotated]) expect(await nameOf(fresh, old)).toBe(unknown);
  await ok(file, 'revoke', 'two');
  expect(await nameOf(load(file), second)).toBe(unknown);
});

test('list tells names, grants and ends, and no token and no hash', async () => {
  const file = newFile();
  const { token } = await ok(file, 'add', 'desk', '--org', 'acme=set', '--expires', '2090-01-31');
  const ended = {
    name: 'gone',
    tokenSha256: hashToken('x'),
    home: 'a',
    grants: { a: ['read'] },
    expiresAt: '2020-01-31',
  };
  await changeCallersFile(file, (callers) => void callers.push(ended as never));
  await ok(file, 'rotate', 'desk', '--overlap', '7d');
  const plain = await ok(file, 'list');
  expect(plain.lines).toEqual([
    expect.stringMatching(
      /^desk: ends 2090-01-31T00:00:00.000Z · an old token counts until \S+ · home acme · acme=set$/,
    ),
    'gone: ENDED 2020-01-31 · home a · a=read',
  ]);
  const { text } = await ok(file, 'list', '--json');
  expect(JSON.parse(text).callers).toMatchObject([
    { name: 'desk', ended: false, oldTokens: [{ until: expect.any(String) }] },
    { name: 'gone', ended: true, oldTokens: [] },
  ]);
  for (const all of [plain.text, text]) {
    expect(all).not.toContain(hashToken(token));
    expect(all).not.toMatch(/[0-9a-f]{64}|pf_/);
  }
});

test('with --json what was made is one object', async () => {
  const file = newFile();
  const { lines } = await ok(file, 'add', 'desk', '--org', 'acme=set', '--expires', '90d', '--json');
  const { token, ...told } = JSON.parse(lines.find((line) => line.startsWith('{')) ?? '');
  expect(token).toMatch(tokenForm);
  expect(told).toEqual({ name: 'desk', home: 'acme', grants: { acme: ['set'] }, expiresAt: expect.any(String) });
  expect(Date.parse(told.expiresAt) - Date.now()).toBeGreaterThan(89 * 86_400_000);
});

test('ten writers at once lose nobody', async () => {
  const file = newFile();
  const names = Array.from({ length: 10 }, (_, n) => `c${n}`);
  const caller = (name: string) => ({ name, tokenSha256: hashToken(name), home: 'a', grants: { a: ['set' as const] } });
  await Promise.all(names.map((name) => changeCallersFile(file, (all) => void all.push(caller(name)), true)));
  expect(
    stored(file)
      .map(({ name }: { name: string }) => name)
      .sort(),
  ).toEqual(names);
});

test('a link goes on pointing to the file', async () => {
  const file = newFile();
  await ok(file, 'add', 'one', '--org', 'acme=set');
  const link = newFile();
  symlinkSync(file, link);
  await ok(link, 'add', 'two', '--org', 'acme=set');
  expect(stored(file)).toHaveLength(2);
  expect(existsSync(`${link}.lock`)).toBe(false);
});

test('what is called wrongly changes nothing and says why', async () => {
  const file = newFile();
  await ok(file, 'add', 'one', '--org', 'acme=set');
  const before = readFileSync(file, 'utf8');
  const ended = newFile();
  writeFileSync(
    ended,
    JSON.stringify({
      callers: [{ name: 'e', tokenSha256: hashToken('x'), home: 'a', grants: { a: ['set'] }, expiresAt: '2020-01-31' }],
    }),
  );
  const broken = newFile();
  writeFileSync(broken, '{"callers": hunter22');
  const wrong: [string | undefined, string[], number, RegExp][] = [
    [file, ['add', 'two'], 2, /--org/],
    [file, ['add', 'two', '--org', 'acme'], 2, /Permissions: set, import/],
    [file, ['add', 'two', '--org', 'acme=sett'], 2, /Permissions: set, import/],
    [file, ['add', 'two', '--org', '*=set'], 2, /operate goes with/],
    [file, ['add', 'two', '--org', 'acme=operate'], 2, /operate goes with/],
    [file, ['add', 'two', '--org', '*=operate'], 2, /--home/],
    [file, ['add', 'two', '--org', 'acme=set', '--expires', 'soon'], 2, /90d/],
    [file, ['add', 'two', '--org', 'acme=set', '--expires', '2020-01-01'], 2, /to come/],
    [file, ['add', 'a b', '--org', 'acme=set'], 2, /name/],
    [file, ['add', 'one', '--org', 'acme=set'], 1, /caller_refused/],
    [file, ['rotate', 'two'], 1, /caller_unknown/],
    [file, ['rotate', 'one', '--overlap', 'x'], 2, /30m/],
    [file, ['revoke', 'two'], 1, /caller_unknown/],
    [ended, ['rotate', 'e'], 1, /--expires/],
    [broken, ['add', 'two', '--org', 'acme=set'], 1, /config_invalid/],
    [broken, ['list'], 1, /config_invalid/],
    [newFile(), ['list'], 1, /config_invalid/],
    [newFile(), ['revoke', 'one'], 1, /config_invalid/],
    [undefined, ['list'], 2, /--file/],
  ];
  const ran = await Promise.all(wrong.map(([path, args]) => run(path, ...args)));
  for (const [n, { code, text, token }] of ran.entries()) {
    const [, args, expected, why] = wrong[n] as (typeof wrong)[number];
    expect(`${args.join(' ')}: ${code}`).toBe(`${args.join(' ')}: ${expected}`);
    expect(text).toMatch(why);
    expect(text).not.toMatch(/hunter22|\n +at /);
    expect(token).toBe('');
  }
  expect(readFileSync(file, 'utf8')).toBe(before);
  expect(readFileSync(broken, 'utf8')).toBe('{"callers": hunter22');
});
