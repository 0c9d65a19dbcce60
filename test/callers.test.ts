import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { actingOrg, authorize, type Caller, hashToken, isGranted, loadCallers } from '../src/producer/callers.ts';
import { tempDir } from './kit/files.ts';
import { waitFor } from './kit/wait.ts';

const dir = tempDir();
const entry = (name: string, token: string, over: object = {}) => ({
  ...{ name, tokenSha256: hashToken(token), home: 'a', grants: { a: ['set'] } },
  ...over,
});
let files = 0;
function write(callers: unknown, path = join(dir, `callers-${files++}.json`)): string {
  // By rename, as an operator's tool does: never half a file.
  writeFileSync(`${path}.new`, typeof callers === 'string' ? callers : JSON.stringify({ callers }));
  renameSync(`${path}.new`, path);
  return path;
}
const never = (error: unknown) => expect.unreachable(String(error));
const load = (callers: unknown) => loadCallers(write(callers), never);
const fails = (reason: string) => expect.objectContaining({ reason });
const unknown = fails('AUTH-7fs1e');

test('a token finds its caller, and the hash of the token stays inside', async () => {
  const callers = load([entry('one', 't-1'), entry('two', 't-2')]);
  expect(await callers.authenticate('Bearer t-2')).toEqual({ name: 'two', home: 'a', grants: { a: ['set'] } });
});

test.each([
  [undefined, 'auth_header_missing'],
  ['', 'auth_header_missing'],
  ['Basic dDox', 'AUTH-toLo1'],
  ['Bearer', 'AUTH-toLo1'],
  ['Bearer ', 'AUTH-toLo1'],
  ['Bearer Bearer t-1', 'AUTH-toLo1'],
  ['Bearer t 1', 'AUTH-7fs1e'],
  ['Bearer  t-1', 'AUTH-7fs1e'],
  ['bearer t-1', 'AUTH-toLo1'],
  ['Bearer t-9', 'AUTH-7fs1e'],
  [`Bearer ${hashToken('t-1')}`, 'AUTH-7fs1e'],
])('header %j: %s', async (header, reason) => {
  const callers = load([entry('one', 't-1')]);
  await expect(callers.authenticate(header)).rejects.toMatchObject({ reason, code: 'unauthenticated' });
});

test.each([
  ['no JSON', 'hunter22 {'],
  ['no list', '{"callers":{}}'],
  ['a token in clear', [{ ...entry('one', 't'), token: 'hunter22' }]],
  ['a hash that is none', [entry('one', 't', { tokenSha256: 'hunter22' })]],
  ['a name with a blank', [entry('hunter22 x', 't')]],
  ['no home', [entry('one', 't', { home: '' })]],
  ['an unknown permission', [entry('one', 't', { grants: { a: ['hunter22'] } })]],
  ['an empty grant', [entry('one', 't', { grants: { a: [] } })]],
  ['operate in one organization', [entry('one', 't', { grants: { a: ['operate'] } })]],
  ['set everywhere', [entry('one', 't', { grants: { '*': ['set'] } })]],
])('a file with %s is refused and not echoed', (_, callers) => {
  expect(() => load(callers)).toThrow(fails('config_invalid'));
  expect(() => load(callers)).not.toThrow(/hunter22/);
});

test('a file that is not there is refused', () => {
  expect(() => loadCallers(join(dir, 'none.json'), never)).toThrow(fails('config_invalid'));
});

test('a changed file is read when a token is unknown; with an error in it the old callers stay', async () => {
  const errors: unknown[] = [];
  const path = write([entry('one', 't-1')]);
  const callers = loadCallers(path, (error) => errors.push(error));
  write([entry('two', 't-22'), entry('three', 't-3')], path);
  expect((await callers.authenticate('Bearer t-22')).name).toBe('two');
  await expect(callers.authenticate('Bearer t-1')).rejects.toEqual(unknown);
  for (const broken of ['{', undefined]) {
    if (broken) write(broken, path);
    else rmSync(path);
    await expect(callers.authenticate('Bearer t-9')).rejects.toEqual(unknown);
    expect((await callers.authenticate('Bearer t-3')).name).toBe('three');
  }
  expect(errors).toEqual([fails('config_invalid'), fails('config_invalid')]);
});

const past = '2020-01-31T12:00:00Z';
const future = '2090-01-31';

test.each<[string, object, string[], string[]]>([
  ['without an end', {}, ['new'], ['old']],
  ['with an end to come', { expiresAt: future }, ['new'], []],
  ['that has ended', { expiresAt: past }, [], ['new']],
  ['with an old token that still counts', old(future), ['new', 'old'], []],
  ['with an old token that has ended', old(past), ['new'], ['old']],
  ['that has ended, with an old token to come', { ...old(future), expiresAt: past }, [], ['new', 'old']],
])('a caller %s', async (_, over, known, gone) => {
  const callers = load([entry('one', 'new', over)]);
  for (const token of known) expect((await callers.authenticate(`Bearer ${token}`)).name).toBe('one');
  for (const token of gone) await expect(callers.authenticate(`Bearer ${token}`)).rejects.toEqual(unknown);
});

function old(expiresAt: string) {
  return { previous: [{ tokenSha256: hashToken('old'), expiresAt }] };
}

test.each(['31.12.2027', '2027-13-01', '2027-01-01 hunter22', '', 1798761600])('the end %j is refused', (expiresAt) => {
  expect(() => load([entry('one', 't', { expiresAt })])).toThrow(fails('config_invalid'));
  expect(() => load([entry('one', 't', { expiresAt })])).not.toThrow(/hunter22/);
});

test('the token of a caller whose end comes while we run counts no more', async () => {
  const callers = load([entry('one', 't', { expiresAt: new Date(Date.now() + 300).toISOString() })]);
  expect((await callers.authenticate('Bearer t')).name).toBe('one');
  const ended = () =>
    callers.authenticate('Bearer t').then(
      () => false,
      () => true,
    );
  await waitFor(ended, { what: 'the token ends' });
});

test('what the file does not know is asked of the issuer, what it knows is not', async () => {
  const asked: string[] = [];
  const issued: Caller = { name: 'oidc:i:1', home: 'a', grants: {} };
  const callers = loadCallers(
    write([entry('one', 't-1'), entry('two', 't-2', { expiresAt: past })]),
    never,
    async (token) => {
      asked.push(token);
      return token === 't-2' ? undefined : issued;
    },
  );
  expect((await callers.authenticate('Bearer t-1')).name).toBe('one');
  expect(await callers.authenticate('Bearer t-3')).toBe(issued);
  await expect(callers.authenticate('Bearer t-2')).rejects.toEqual(unknown);
  expect(asked).toEqual(['t-3', 't-2']);
});

const caller: Caller = { name: 'c', home: 'a', grants: { a: ['set', 'read'], b: ['admin'], '*': ['operate'] } };

test.each([
  ['a', 'set', undefined],
  ['a', 'import', 'AUTH-5mWD2'],
  ['a', 'admin', 'AUTH-5mWD2'],
  ['b', 'import', undefined],
  ['b', 'admin', undefined],
  ['c', 'set', 'AUTHZ-cdgFk'],
  ['*', 'operate', 'AUTHZ-cdgFk'],
  ['*', 'set', 'AUTHZ-cdgFk'],
  // Names of Object.prototype are organizations like any other.
  ['constructor', 'set', 'AUTHZ-cdgFk'],
  ['__proto__', 'set', 'AUTHZ-cdgFk'],
] as const)('in %s for %s: %s', (org, permission, reason) => {
  expect(isGranted(caller, org, permission)).toBe(reason === undefined);
  if (reason) expect(() => authorize(caller, org, permission)).toThrow(fails(reason));
  else authorize(caller, org, permission);
});

test('the organization comes from the header, else it is home', () => {
  const callers = load([entry('one', 't', { home: 'h', grants: { b: ['set'], '*': ['operate'] } })]);
  for (const none of [undefined, '']) expect(actingOrg(caller, none, callers.knows)).toBe('a');
  for (const org of ['b', 'h']) expect(actingOrg(caller, org, callers.knows)).toBe(org);
  // One that only an issuer has granted is known to the caller all the same.
  expect(actingOrg({ ...caller, grants: { y: ['set'] } }, 'y', callers.knows)).toBe('y');
  for (const org of ['x', '*', 'toString']) {
    expect(() => actingOrg(caller, org, callers.knows)).toThrow(fails('AUTH-Bs7Ds'));
  }
});
