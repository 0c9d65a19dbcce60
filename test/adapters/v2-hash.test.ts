import { afterEach, describe, expect, test } from 'vitest';
import type { HashChange } from '../../src/adapters/port.ts';
import { createV2Zitadel, type V2Options } from '../../src/adapters/v2-zitadel/index.ts';
import { credential } from '../../src/credential.ts';
import { makeHash } from '../../src/hashes/make.ts';
import type { SandboxOptions } from '../../src/sandbox/sandbox.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import { changeOf, errorOf, newPassword } from '../kit/conformance.ts';

/** What v2 does with hashes, by both generations of its call. */

const signal = new AbortController().signal;
const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const it of opened.splice(0).reverse()) await it.close();
});

async function scene(more: Partial<SandboxOptions> = {}, options: Partial<V2Options> = {}) {
  const sandbox = await startSandbox({
    orgs: ['org-1'],
    tokens: {
      root: { userId: 'ferry', roles: { instance: ['IAM_OWNER'] } },
      reader: { userId: 'eye', roles: { instance: ['IAM_OWNER_VIEWER'] } },
    },
    users: [
      { id: 'u1', org: 'org-1', userName: 'ann', email: 'ann@example.com', password: 'Zebra-Crossing-7' },
      { id: 'init', org: 'org-1', userName: 'init', state: 'initial' },
    ],
    ...more,
  });
  const backend = createV2Zitadel({ url: sandbox.url, credential: credential({ value: 'root' }), ...options });
  opened.push(sandbox, backend);
  return { sandbox, backend };
}

const hashOf = async (password: string, kind = 'bcrypt', cost: Record<string, number> = { cost: 10 }) =>
  (await makeHash(kind, cost, Buffer.from(password))) as string;

function change(hash: string, more: Partial<HashChange> = {}): HashChange {
  const { password: _, ...rest } = changeOf({ id: 'u1', org: 'org-1' }, 1n);
  return { ...rest, hash: Secret.fromString(hash), ...more };
}

describe.each([
  ['UpdateUser', []],
  ['UpdateHumanUser', ['UpdateUser']],
])('setHash by %s', (call, unknownCalls) => {
  test('stores it as it is, with the time of the change; the old password works no longer', async () => {
    const { sandbox, backend } = await scene({ unknownCalls });
    const password = newPassword();
    const hash = await hashOf(password);
    for (const changeRequired of [true, false]) {
      const { result, details } = await backend.setHash(change(hash, { changeRequired }), signal);
      const made = sandbox.users.get('u1')?.changes.at(-1);
      expect(result).toBe('set');
      expect(made).toMatchObject({ changeRequired, hashed: true, call });
      expect(Date.parse(details?.changeDate ?? '')).toBe(Math.floor((made?.at ?? 0) / 1000));
      expect(details).toMatchObject({ resourceOwner: 'org-1', sequence: expect.stringMatching(/^\d+$/) });
    }
    expect(sandbox.users.get('u1')?.hash).toBe(hash);
    expect(await backend.prove('org-1', 'u1', Secret.fromString(password), signal)).toBe(true);
    expect(await backend.prove('org-1', 'u1', Secret.fromString('Zebra-Crossing-7'), signal)).toBe(false);
    // Which call it knows is found out once.
    const asked = sandbox.calls.filter((each) => each.call === 'UpdateUser').length;
    expect(asked).toBe(unknownCalls.length > 0 ? 0 : 2);
  });

  test.each([
    ['an unknown user', 'nobody', 'COMMAND-G8dh3'],
    ['a user who is not initialized', 'init', 'COMMAND-M9dse'],
  ])('refuses %s', async (_, user, reason) => {
    const { backend } = await scene({ unknownCalls });
    const error = await errorOf(backend.setHash(change(await hashOf('x'), { user }), signal));
    expect(error).toMatchObject({ reason, scope: 'user', effect: 'none' });
  });

  test.each([
    [
      'of a kind that is not switched on',
      '$pbkdf2-sha256$29000$MDEyMzQ1Njc4OWFiY2RlZg$TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs',
    ],
    ['that is too cheap', `$2b$04$${'a'.repeat(53)}`],
    ['that was cut', `$2b$10$${'a'.repeat(40)}`],
    ['that is none', 'hunter22'],
  ])('says hash_refused of one %s, and never quotes it', async (_, hash) => {
    const { sandbox, backend } = await scene({ unknownCalls });
    const error = await errorOf(backend.setHash(change(hash), signal));
    expect(error).toMatchObject({ reason: 'hash_refused', scope: 'user', effect: 'none', code: 'invalid_argument' });
    expect(JSON.stringify(error) + error.stack).not.toContain(hash);
    expect(sandbox.users.get('u1')?.changes).toEqual([]);
  });
});

test.each([
  ['both calls', [], true],
  ['the newer one only', ['UpdateHumanUser'], true],
  ['the older one only', ['UpdateUser'], true],
  ['neither', ['UpdateUser', 'UpdateHumanUser'], false],
])('a version that knows %s is told from others, and nobody is changed', async (_, unknownCalls, takes) => {
  const { sandbox, backend } = await scene({ unknownCalls });
  expect(await backend.takesHashes(signal)).toBe(takes);
  expect([...sandbox.users.values()].flatMap(({ changes }) => changes)).toEqual([]);
  await sandbox.close();
  // Nobody answers: that says nothing of a version.
  expect(await errorOf(backend.takesHashes(signal))).toMatchObject({ reason: 'backend_down', scope: 'backend' });
});

test('who may write no user is told that hashes are taken: that is another matter', async () => {
  const { sandbox } = await scene();
  const backend = createV2Zitadel({ url: sandbox.url, credential: credential({ value: 'reader' }) });
  opened.push(backend);
  expect(await backend.takesHashes(signal)).toBe(true);
});

test('an empty hash is not sent', async () => {
  const { sandbox, backend } = await scene();
  expect((await errorOf(backend.setHash(change(''), signal))).reason).toBe('hash_refused');
  expect(sandbox.calls).toEqual([]);
});

test('a lost answer leaves the effect unknown', async () => {
  const { sandbox, backend } = await scene();
  sandbox.faults.add({ call: 'UpdateUser', times: 1, fault: { kind: 'cut-after' } });
  const error = await errorOf(backend.setHash(change(await hashOf(newPassword())), signal));
  expect(error).toMatchObject({ reason: 'backend_down', scope: 'backend', effect: 'unknown' });
});

describe.each([
  ['CreateUser', []],
  ['AddHumanUser', ['CreateUser']],
])('createUser by %s', (call, unknownCalls) => {
  const profile = {
    userName: 'eve',
    givenName: 'Eve',
    familyName: 'Ell',
    email: 'eve@example.com',
    emailVerified: false,
  };

  test('adds a user with this id, profile and hash, and sends no mail', async () => {
    const { sandbox, backend } = await scene({ unknownCalls });
    const hash = await hashOf('Aa1!eve-password');
    await backend.createUser(
      { org: 'org-1', user: 'eve-1', profile, hash: Secret.fromString(hash), changeRequired: true },
      signal,
    );
    expect(sandbox.users.get('eve-1')).toMatchObject({
      ...profile,
      org: 'org-1',
      hash,
      changeRequired: true,
      state: 'active',
    });
    expect(sandbox.calls.some((each) => each.call === call)).toBe(true);
    expect(sandbox.mails).toEqual([]);
    expect(await backend.prove('org-1', 'eve-1', Secret.fromString('Aa1!eve-password'), signal)).toBe(true);
    expect(await backend.readUser('org-1', 'eve-1', signal)).toMatchObject({
      org: 'org-1',
      email: profile.email,
      changeRequired: true,
    });
  });

  test('never changes one that is there', async () => {
    const { sandbox, backend } = await scene({ unknownCalls });
    const hash = Secret.fromString(await hashOf('x'));
    for (const [user, userName] of [
      ['u1', 'other'],
      ['new', 'ann'],
    ] as const) {
      const made = backend.createUser(
        { org: 'org-1', user, profile: { ...profile, userName }, hash, changeRequired: false },
        signal,
      );
      expect(await errorOf(made)).toMatchObject({ reason: 'user_exists', scope: 'user', code: 'already_exists' });
    }
    expect(sandbox.users.get('u1')).toMatchObject({ userName: 'ann', changes: [] });
  });

  test('needs an e-mail address, and a hash that is taken', async () => {
    const { backend } = await scene({ unknownCalls });
    const add = (more: object, hash: string) =>
      backend.createUser(
        {
          org: 'org-1',
          user: 'n',
          profile: { ...profile, ...more },
          hash: Secret.fromString(hash),
          changeRequired: false,
        },
        signal,
      );
    expect((await errorOf(add({ email: '' }, await hashOf('x')))).reason).toBe('profile_incomplete');
    expect((await errorOf(add({}, '$1$saltsalt$tftk681OPaeXtTfTq7ZqK.'))).reason).toBe('hash_refused');
  });
});

describe('a try of a hash', () => {
  const secret = Secret.fromString('Aa1!tried-password');
  const sha2 = () => hashOf('Aa1!tried-password', 'sha512-crypt', { rounds: 1000 });

  test('works where the target checks it, on a user who is out of service afterwards', async () => {
    const { sandbox, backend } = await scene({ verifiers: ['bcrypt', 'sha2'] });
    expect(await backend.probeHash('org-1', Secret.fromString(await sha2()), secret, signal)).toBe(true);
    const [probe, ...more] = [...sandbox.users.values()].filter(({ id }) => id.startsWith('passferry-probe-'));
    expect(more).toEqual([]);
    expect(probe).toMatchObject({ state: 'inactive', org: 'org-1', roles: [] });
    expect(sandbox.sessions.size).toBe(0);
  });

  test('fails with another password, and is refused where the kind is not switched on', async () => {
    const { backend } = await scene({ verifiers: ['bcrypt', 'sha2'] });
    const other = Secret.fromString('Aa1!another');
    expect(await backend.probeHash('org-1', Secret.fromString(await sha2()), other, signal)).toBe(false);
    const without = await scene();
    const error = await errorOf(without.backend.probeHash('org-1', Secret.fromString(await sha2()), secret, signal));
    expect(error.reason).toBe('hash_refused');
  });

  test('uses the user whom an operator named, and adds none', async () => {
    const { sandbox, backend } = await scene({ verifiers: ['sha2'] }, { probeUser: 'u1' });
    expect(await backend.probeHash('org-1', Secret.fromString(await sha2()), secret, signal)).toBe(true);
    expect(sandbox.users.size).toBe(2);
  });

  test('without the permission to add users it is said so', async () => {
    const { backend } = await scene({}, { credential: credential({ value: 'reader' }) });
    const error = await errorOf(backend.probeHash('org-1', Secret.fromString(await hashOf('x')), secret, signal));
    expect(error).toMatchObject({ reason: 'backend_forbidden', scope: 'organization' });
  });
});
