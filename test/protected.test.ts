import { afterEach, expect, test } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { loadWorkConfig } from '../src/config.ts';
import { credential } from '../src/credential.ts';
import type { SetPasswordData } from '../src/job.ts';
import type { Fault } from '../src/sandbox/faults.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { checkProtected, type Protection } from '../src/worker/protect.ts';
import { atEnd } from './kit/files.ts';

/** Protected users as ZITADEL tells their roles, over its own protocol. */

const users = { owner: ['ORG_OWNER'], root: ['IAM_OWNER'], helper: ['ORG_USER_MANAGER'], plain: [] };
const sandbox = await startSandbox({
  bcryptCost: 4,
  tokens: {
    all: { userId: 'w', roles: { instance: ['IAM_OWNER'] } },
    // May write there, and may not read who has which role.
    blind: { userId: 'b', roles: { orgs: { other: ['ORG_OWNER'] } } },
  },
  orgs: ['o', 'other'],
  users: Object.entries(users).map(([id, roles]) => ({
    id,
    org: 'o',
    userName: id,
    password: 'Old-password-1',
    roles,
  })),
});
atEnd(() => sandbox.close());
afterEach(() => sandbox.faults.clear());

function backend(token: string) {
  const made = createV2Zitadel({ url: sandbox.url, credential: credential({ value: token }), deadlineMs: 2_000 });
  atEnd(() => made.close());
  return made;
}
const [all, blind] = [backend('all'), backend('blind')];

/** `set`, or the reason why not, with its scope. */
function verdict(user: string, protection: Protection, { admin = false, v2 = all } = {}): Promise<string> {
  const data = { org: 'o', user, admin } as SetPasswordData;
  return checkProtected(data, v2, protection, AbortSignal.timeout(5_000)).then(
    () => 'set',
    ({ reason, scope }) => `${reason} ${scope}`,
  );
}
const owners = { roles: new Set(['IAM_OWNER', 'ORG_OWNER']) };
const refused = 'protected_user user';

test.each<[keyof typeof users, Protection, string]>([
  ['plain', {}, 'set'],
  ['helper', {}, refused],
  ['owner', {}, refused],
  ['root', {}, refused],
  ['helper', owners, 'set'],
  ['owner', owners, refused],
  ['root', owners, refused],
  ['root', { roles: new Set() }, 'set'],
  ['helper', { ...owners, users: new Set(['helper']) }, refused],
])('%s with %j: %s', async (user, protection, expected) => {
  expect(await verdict(user, protection)).toBe(expected);
  expect(await verdict(user, protection, { admin: true })).toBe('set');
});

test.each([{}, owners, { ...owners, users: new Set(['x']) }, { users: new Set(['x']) }])(
  'without the right to read roles nobody is set but by admin: %j',
  async (protection) => {
    for (const user of ['plain', 'root']) {
      expect(await verdict(user, protection, { v2: blind })).toBe('roles_unreadable user');
      expect(await verdict(user, protection, { v2: blind, admin: true })).toBe('set');
    }
  },
);

test.each<[Fault, string]>([
  [{ kind: '503' }, 'backend_down backend'],
  [{ kind: '429' }, 'backend_limited backend'],
  [{ kind: 'cut-before' }, 'backend_down backend'],
  [{ kind: 'html' }, 'backend_down backend'],
])('while roles cannot be had the job is put off: %j', async (fault, expected) => {
  sandbox.faults.add({ call: 'ListUserMemberships', fault });
  for (const user of ['plain', 'root']) expect(await verdict(user, owners)).toBe(expected);
});

test.each([
  ['IAM_OWNER, ORG_OWNER', ['IAM_OWNER', 'ORG_OWNER']],
  ['none', []],
  ['', undefined],
])('PASSFERRY_PROTECTED_ROLES=%s', (text, expected) => {
  expect(load(text).PASSFERRY_PROTECTED_ROLES).toEqual(expected);
});

test('a list of no roles is no list', () => {
  expect(() => load(' , ')).toThrow(/PASSFERRY_PROTECTED_ROLES must name roles, or none/);
});

function load(PASSFERRY_PROTECTED_ROLES: string) {
  return loadWorkConfig({
    ...{ PASSFERRY_REDIS_URL: 'redis://localhost:6379', PASSFERRY_KEYS_DIR: 'test' },
    ...{ PASSFERRY_V1_URL: 'postgres://localhost/z', PASSFERRY_PROTECTED_ROLES },
  });
}
