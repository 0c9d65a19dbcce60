import net from 'node:net';
import type { Transport } from '@connectrpc/connect';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { hash as bcrypt } from '@node-rs/bcrypt';
import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { CredentialsCheckErrorSchema, ErrorDetailSchema } from '@zitadel/proto/zitadel/message_pb';
import { SessionService } from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import { UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Fault, Sandbox, SandboxOptions } from '../src/sandbox/sandbox.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';

const old = 'Zebra-Crossing-7';
const fresh = 'Zebra-Crossing-8';
const options: SandboxOptions = {
  orgs: ['o1', 'o2', 'o3'],
  tokens: {
    root: { userId: 'root', roles: { instance: ['IAM_OWNER'] } },
    one: { userId: 'boss', roles: { orgs: { o1: ['ORG_OWNER'], o2: ['ORG_OWNER_VIEWER'] } } },
    self: { userId: 'u1', roles: {} },
  },
  users: [
    { id: 'boss', org: 'o1', userName: 'boss', machine: true },
    { id: 'u1', org: 'o1', userName: 'ann', email: 'ann@example.com', password: old },
    { id: 'u2', org: 'o2', userName: 'bob', password: old, roles: ['ORG_OWNER', 'IAM_OWNER_VIEWER'] },
    { id: 'init', org: 'o1', userName: 'init', state: 'initial' },
    { id: 'locked', org: 'o1', userName: 'locked', state: 'locked', password: old },
    { id: 'none', org: 'o1', userName: 'none' },
  ],
};

let sandbox: Sandbox;
const opened: Sandbox[] = [];
const start = async (more: Partial<SandboxOptions> = {}) => {
  const started = await startSandbox({ ...options, ...more });
  opened.push(started);
  return started;
};
beforeEach(async () => {
  sandbox = await start();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((s) => s.close()));
});

async function rest(verb: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(sandbox.url + path, {
    method: verb,
    headers: { authorization: 'Bearer root', ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const json = (response.headers.get('content-type') ?? '').includes('json') ? JSON.parse(text) : text;
  return { status: response.status, json, headers: response.headers };
}
const v1Set = (user: string, password: string, headers: Record<string, string> = {}) =>
  rest('POST', `/management/v1/users/${user}/password`, { password }, { 'x-zitadel-orgid': 'o1', ...headers });
const v2Set = (user: string, password: string, headers: Record<string, string> = {}, more = {}) =>
  rest('POST', `/v2/users/${user}/password`, { newPassword: { password }, ...more }, headers);
const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const refused = async (call: Promise<unknown>) =>
  ConnectError.from(
    await call.then(
      () => undefined,
      (e) => e,
    ),
  );
const idOf = (error: ConnectError) => error.findDetails(ErrorDetailSchema)[0]?.id;

describe('REST', () => {
  test('v1 sets, forces a new password by default, and answers without creationDate', async () => {
    const { status, json } = await v1Set('u1', fresh);
    const user = sandbox.users.get('u1');
    expect(status).toBe(200);
    expect(json).toEqual({ details: { sequence: '2', changeDate: expect.any(String), resourceOwner: 'o1' } });
    expect(user?.changeRequired).toBe(true);
    expect(user?.changes).toHaveLength(1);
    expect(await sandbox.verify('u1', fresh)).toBe(true);
    const read = (await rest('GET', '/v2/users/u1')).json.user;
    expect(read.human).toMatchObject({ passwordChangeRequired: true, passwordChanged: json.details.changeDate });
    expect(read).toMatchObject({ state: 'USER_STATE_ACTIVE', details: { resourceOwner: 'o1', sequence: '2' } });
    expect(
      (await rest('GET', '/management/v1/users/u1', undefined, { 'x-zitadel-orgid': 'o1' })).json.user,
    ).toMatchObject({ id: 'u1', userName: 'ann', human: { passwordChanged: json.details.changeDate } });
  });

  test('v2 calls set plain and hashed passwords', async () => {
    await v2Set('u1', fresh);
    expect(sandbox.users.get('u1')).toMatchObject({ changeRequired: false, sequence: 2 });
    const plain = { human: { password: { password: { password: 'Other-Pass-99', changeRequired: true } } } };
    expect((await rest('PATCH', '/v2/users/u1', plain)).json).toEqual({ changeDate: expect.any(String) });
    expect(await sandbox.verify('u1', 'Other-Pass-99')).toBe(true);
    const hashed = { password: { hashedPassword: { hash: await bcrypt('short', 10) } } };
    const { json } = await rest('PUT', '/v2/users/human/u1', hashed);
    expect(json.details).toMatchObject({ sequence: '4', resourceOwner: 'o1' });
    expect(await sandbox.verify('u1', 'short')).toBe(true);
  });

  test.each(['{"password":"Zebra-Crossing-8","noChangeRequired":true}', '{}', ''])(
    'the trap: %j on the v2 path answers 200 and stores the hash of the empty password',
    async (body) => {
      expect((await rest('POST', '/v2/users/u1/password', body)).status).toBe(200);
      expect(await sandbox.verify('u1', '')).toBe(true);
      const login = { checks: { user: { userId: 'u1' }, password: { password: fresh } } };
      expect((await rest('POST', '/v2/sessions', login)).json.code).toBe(3);
    },
  );

  const hash = (text: string) => ({ human: { password: { hashedPassword: { hash: text } } } });
  const bcryptBody = 'a'.repeat(53);
  test.each<[string, () => ReturnType<typeof rest>, number, number, string | undefined]>([
    ['no header', () => v1Set('u1', fresh, { authorization: '' }), 401, 16, undefined],
    ['not Bearer', () => v1Set('u1', fresh, { authorization: 'Basic x' }), 401, 16, 'AUTH-toLo1'],
    ['bad token, bad input', () => v1Set('u1', '', { authorization: 'Bearer x' }), 401, 16, 'AUTH-7fs1e'],
    ['unknown org', () => v1Set('u1', fresh, { 'x-zitadel-orgid': 'nope' }), 403, 7, 'AUTH-Bs7Ds'],
    ['unknown org, v2', () => v2Set('u1', fresh, { 'x-zitadel-orgid': 'nope' }), 403, 7, 'AUTH-Bs7Ds'],
    [
      'no membership',
      () => v1Set('u1', fresh, { authorization: 'Bearer one', 'x-zitadel-orgid': 'o3' }),
      404,
      5,
      'AUTHZ-cdgFk',
    ],
    [
      'weak role',
      () => v1Set('u2', fresh, { authorization: 'Bearer one', 'x-zitadel-orgid': 'o2' }),
      403,
      7,
      'AUTH-5mWD2',
    ],
    ['weak role, v2', () => v2Set('u2', fresh, { authorization: 'Bearer one' }), 403, 7, 'AUTH-AWfge'],
    ['own password without proof', () => v2Set('u1', fresh, { authorization: 'Bearer self' }), 404, 5, 'AUTHZ-cdgFk'],
    ['empty, v1', () => v1Set('u1', ''), 400, 3, undefined],
    ['73 characters, v1', () => v1Set('u1', `Aa1-${'x'.repeat(69)}`), 400, 3, undefined],
    ['201 characters, v2', () => v2Set('u1', `Aa1-${'x'.repeat(197)}`), 400, 3, undefined],
    ['empty, v2', () => v2Set('u1', ''), 400, 3, undefined],
    ['user id too long', () => v2Set('u'.repeat(201), fresh), 400, 3, undefined],
    ['74 bytes', () => v1Set('u1', `Aa1-${'é'.repeat(35)}`), 500, 13, 'COMMAND-CahN2'],
    ['73 bytes, v2', () => v2Set('u1', `Aa1-${'x'.repeat(69)}`), 500, 13, 'COMMAND-CahN2'],
    ['missing user', () => v1Set('ghost', fresh), 400, 9, 'COMMAND-G8dh3'],
    ['other org', () => v1Set('u2', fresh), 400, 9, 'COMMAND-G8dh3'],
    ['machine', () => v2Set('boss', fresh), 400, 9, 'COMMAND-G8dh3'],
    ['initial', () => v1Set('init', fresh), 400, 9, 'COMMAND-M9dse'],
    ['short', () => v1Set('u1', 'a'), 400, 3, 'DOMAIN-HuJf6'],
    ['no lower', () => v1Set('u1', 'AAAAAAA1'), 400, 3, 'DOMAIN-co3Xw'],
    ['no upper', () => v1Set('u1', 'aaaaaaa1'), 400, 3, 'DOMAIN-VoaRj'],
    ['no number', () => v1Set('u1', 'aaaaaaaA'), 400, 3, 'DOMAIN-ZBv4H'],
    ['no symbol', () => v1Set('u1', 'aaaaaaA1'), 400, 3, 'DOMAIN-ZDLwA'],
    ['wrong current', () => v2Set('u1', fresh, {}, { currentPassword: 'x' }), 400, 3, 'COMMAND-3M0fs'],
    ['same as current', () => v2Set('u1', old, {}, { currentPassword: old }), 400, 9, 'COMMAND-Aesh5'],
    ['no password yet', () => v2Set('none', fresh, {}, { currentPassword: old }), 400, 9, 'COMMAND-3nJ4t'],
    ['locked, proof', () => v2Set('locked', fresh, {}, { currentPassword: old }), 400, 9, 'COMMAND-JLK35'],
    ['no code', () => v2Set('u1', fresh, {}, { verificationCode: 'c' }), 400, 9, 'COMMAND-2M9fs'],
    ['two proofs', () => v2Set('u1', fresh, {}, { verificationCode: 'c', currentPassword: old }), 400, 3, undefined],
    ['not JSON', () => rest('POST', '/v2/users/u1/password', '{'), 400, 3, undefined],
    ['unknown path', () => rest('GET', '/v2/nothing'), 404, 5, undefined],
    ['wrong verb', () => rest('GET', '/v2/users/u1/password'), 405, 12, undefined],
    [
      'no password in Update',
      () => rest('PATCH', '/v2/users/u1', { human: { password: {} } }),
      400,
      3,
      'COMMAND-3klek4sbns',
    ],
    [
      'Update, missing user',
      () => rest('PATCH', '/v2/users/ghost', hash(`$2b$10$${bcryptBody}`)),
      404,
      5,
      'COMMAND-ugjs0upun6',
    ],
    ['foreign hash', () => rest('PATCH', '/v2/users/u1', hash('$argon2id$v=19$x')), 400, 3, 'USER-oz74onzvqr'],
    ['bare $2$', () => rest('PATCH', '/v2/users/u1', hash(`$2$10$${bcryptBody}`)), 400, 3, 'CRYPT-2xK7d'],
    ['cheap hash', () => rest('PATCH', '/v2/users/u1', hash(`$2b$09$${bcryptBody}`)), 400, 3, 'CRYPT-5uV9n'],
    ['malformed hash', () => rest('PATCH', '/v2/users/u1', hash('$2b$10$abc')), 400, 3, 'CRYPT-r8Qm2'],
    ['read a missing user', () => rest('GET', '/v2/users/ghost'), 404, 5, 'QUERY-Dfbg2'],
  ])('%s is refused', async (_, call, status, code, id) => {
    const answer = await call();
    expect([answer.status, answer.json.code, answer.json.details?.[0].id]).toEqual([status, code, id]);
    if (id === undefined) expect(answer.json).not.toHaveProperty('details');
    else expect(answer.json.details[0]['@type']).toMatch(/^type\.googleapis\.com\/zitadel\.v1\./);
    expect([...sandbox.users.values()].flatMap((user) => user.changes)).toEqual([]);
  });

  test('accepts locked users, 72 bytes, the same password again, and policies per organization', async () => {
    expect((await v1Set('locked', fresh)).status).toBe(200);
    expect(sandbox.users.get('locked')?.state).toBe('locked');
    for (let i = 0; i < 2; i++) expect((await v1Set('u1', `Aa1-${'é'.repeat(34)}`)).status).toBe(200);
    expect(sandbox.users.get('u1')?.changes.map((c) => c.sequence)).toEqual([2, 3]);
    sandbox = await start({
      policies: { o1: { minLength: 1, upper: false, lower: false, number: false, symbol: false } },
    });
    expect((await v1Set('u1', 'x')).status).toBe(200);
    expect((await v2Set('u2', 'x')).json.details[0].id).toBe('DOMAIN-HuJf6');
  });

  test('a session is opened by the password in force only', async () => {
    const login = (password: string) =>
      rest('POST', '/v2/sessions', { checks: { user: { loginName: 'ann' }, password: { password } } });
    await v2Set('u1', fresh);
    const good = await login(fresh);
    expect(good.status).toBe(201);
    expect((await login(old)).json.details[0]).toMatchObject({ id: 'COMMAND-3M0fs', failedAttempts: 1 });
    expect((await login(old)).json.details[0]).toMatchObject({ failedAttempts: 2 });
    expect((await rest('DELETE', `/v2/sessions/${good.json.sessionId}`)).status).toBe(200);
  });

  test('the read model lags', async () => {
    sandbox = await start({ lagMs: 150 });
    const changed = async () => (await rest('GET', '/v2/users/u1')).json.user.human.passwordChanged;
    const before = await changed();
    const { json } = await v2Set('u1', fresh);
    expect(await changed()).toBe(before);
    await vi.waitFor(async () => expect(await changed()).toBe(json.details.changeDate));
  });
});

describe.each<[string, (baseUrl: string) => Transport]>([
  ['gRPC', (baseUrl) => createGrpcTransport({ baseUrl })],
  ['gRPC-Web over HTTP/1.1', (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: '1.1' })],
  ['gRPC-Web over HTTP/2', (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: '2' })],
  ['Connect JSON', (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: false })],
  ['Connect binary over HTTP/2', (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '2' })],
])('%s', (name, transportTo) => {
  const newPassword = { password: fresh };

  test('sets, reads, refuses, logs in', async () => {
    const transport = transportTo(sandbox.url);
    const users = createClient(UserService, transport);
    const { details } = await users.setPassword({ userId: 'u1', newPassword }, as('one'));
    const { user } = await users.getUserByID({ userId: 'u1' }, as('one'));
    expect(user?.details).toMatchObject({ sequence: 2n, resourceOwner: 'o1' });
    expect(user?.type).toMatchObject({ case: 'human', value: { passwordChanged: details?.changeDate } });
    const initial = await refused(users.setPassword({ userId: 'init', newPassword }, as('one')));
    expect([initial.code, idOf(initial)]).toEqual([Code.FailedPrecondition, 'COMMAND-M9dse']);
    const sessions = createClient(SessionService, transport);
    const login = (password: string) => {
      const checks = { user: { search: { case: 'userId' as const, value: 'u1' } }, password: { password } };
      return sessions.createSession({ checks }, as('one'));
    };
    expect((await login(fresh)).sessionToken).not.toBe('');
    expect((await refused(login(old))).findDetails(CredentialsCheckErrorSchema)[0]?.failedAttempts).toBe(1);
  });

  test('v1 is there except over Connect', async () => {
    const v1 = createClient(ManagementService, transportTo(sandbox.url));
    const set = v1.setHumanPassword({ userId: 'u1', password: fresh, noChangeRequired: true }, as('one'));
    if (name.startsWith('Connect')) return expect(await refused(set)).toBeInstanceOf(ConnectError);
    expect((await set).details?.sequence).toBe(2n);
    const { result } = await v1.listUserMemberships(
      { userId: 'u2' },
      { headers: { ...as('root').headers, 'x-zitadel-orgid': 'o2' } },
    );
    expect(result.map(({ type, roles }) => [type.case, roles])).toEqual([
      ['iam', ['IAM_OWNER_VIEWER']],
      ['orgId', ['ORG_OWNER']],
    ]);
  });

  const faults: [Fault, effects: number, answered: boolean][] = [
    [{ kind: 'latency', ms: 20 }, 1, true],
    [{ kind: 'no-effect' }, 0, true],
    [{ kind: '429', retryAfter: 3 }, 0, false],
    [{ kind: '429', edge: true }, 0, false],
    [{ kind: '503' }, 0, false],
    [{ kind: 'html' }, 0, false],
    [{ kind: 'cut-before' }, 0, false],
    [{ kind: 'cut-after' }, 1, false],
    [{ kind: 'late-effect', ms: 20 }, 1, false],
  ];
  test.each(faults)('fault %j', async (fault, effects, answered) => {
    const users = createClient(UserService, transportTo(sandbox.url));
    sandbox.faults.add({ call: 'SetPassword', user: 'u1', times: 1, fault });
    const set = users.setPassword({ userId: 'u1', newPassword }, as('one'));
    if (answered) expect((await set).details?.sequence).toBe(2n);
    else {
      const error = await refused(set);
      if (fault.kind === '503' || fault.kind === 'html') expect(error.code).toBe(Code.Unavailable);
      if (fault.kind === '429' && !fault.edge) {
        expect([error.code, idOf(error)]).toEqual([Code.ResourceExhausted, 'QUOTA-vjAy8']);
        expect(error.metadata.get('retry-after')).toBe('3');
      }
    }
    const changes = () => sandbox.users.get('u1')?.changes.length;
    await vi.waitFor(() => expect(changes()).toBe(effects));
    expect((await users.setPassword({ userId: 'u1', newPassword }, as('one'))).details?.sequence).toBe(
      BigInt(2 + effects),
    );
  });
});

test('faults over REST, by share and taken back', async () => {
  sandbox.faults.add({ times: 1, fault: { kind: 'html' } });
  expect(await v1Set('u1', fresh)).toMatchObject({ status: 502, json: expect.stringContaining('<html>') });
  sandbox.faults.add({ times: 1, fault: { kind: '429', retryAfter: 2 } });
  const limited = await v1Set('u1', fresh);
  expect([limited.status, limited.json.code, limited.headers.get('retry-after')]).toEqual([429, 8, '2']);
  const remove = sandbox.faults.add({ fault: { kind: 'cut-after' } });
  await expect(v1Set('u1', fresh)).rejects.toThrow();
  remove();
  expect(sandbox.users.get('u1')?.changes).toHaveLength(1);
  sandbox.faults.add({ rate: 0.5, fault: { kind: '503' } });
  const seen = [];
  for (let i = 0; i < 20; i++) seen.push((await rest('GET', '/v2/users/u1')).status);
  expect(new Set(seen)).toEqual(new Set([200, 503]));
  sandbox.faults.clear();
  expect((await rest('GET', '/v2/users/u1')).status).toBe(200);
});

test('records the calls and never a password', async () => {
  await v2Set('u1', fresh);
  await v1Set('u1', 'weak');
  expect(sandbox.calls.map(({ call, user, over }) => [call, user, over])).toEqual([
    ['SetPassword', 'u1', 'rest'],
    ['SetHumanPassword', 'u1', 'rest'],
  ]);
  expect(JSON.stringify([sandbox.calls, [...sandbox.users.values()]])).not.toMatch(/Zebra|weak/);
});

test('closes without waiting although a silent client and an HTTP/2 connection are open, a call in flight', async () => {
  const silent = net.connect(sandbox.port, '127.0.0.1');
  silent.on('error', () => {});
  const users = createClient(UserService, createGrpcTransport({ baseUrl: sandbox.url }));
  sandbox.faults.add({ fault: { kind: 'latency', ms: 10_000 } });
  const hanging = refused(users.getUserByID({ userId: 'u1' }, as('root')));
  await vi.waitFor(() => expect(sandbox.calls).toHaveLength(1));
  const begun = performance.now();
  await sandbox.close();
  expect(performance.now() - begun).toBeLessThan(9_000);
  expect(await hanging).toBeInstanceOf(ConnectError);
});
