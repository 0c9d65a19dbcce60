import { once } from 'node:events';
import { utimesSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { SetPasswordRequestSchema } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Change } from '../../src/adapters/port.ts';
import type { V2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import { createV2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import { parseRetryAfter } from '../../src/adapters/zitadel/errors.ts';
import type { ZitadelOptions } from '../../src/adapters/zitadel/options.ts';
import { credential } from '../../src/credential.ts';
import { freePort } from '../../src/embedded/free-port.ts';
import type { PassferryError } from '../../src/errors.ts';
import type { Fault, Sandbox, SandboxOptions } from '../../src/sandbox/sandbox.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import { errorFromZitadel } from '../../src/zitadel-ids.ts';
import { changeOf, errorOf, testBackend } from '../kit/conformance.ts';
import { tempDir } from '../kit/files.ts';
import { waitFor } from '../kit/wait.ts';
import { zitadelFixture } from '../kit/zitadel-fixture.ts';

const canary = 'Canary-Wing-7!';
const old = 'Zebra-Crossing-7';
const signal = new AbortController().signal;

const options: SandboxOptions = {
  orgs: ['org-1', 'org-2', 'org-3'],
  tokens: {
    root: { userId: 'ferry', roles: { instance: ['IAM_OWNER'] } },
    one: { userId: 'boss', roles: { orgs: { 'org-1': ['ORG_OWNER'], 'org-2': ['ORG_OWNER_VIEWER'] } } },
    other: { userId: 'somebody', roles: { instance: ['IAM_OWNER'] } },
  },
  users: [
    { id: 'u1', org: 'org-1', userName: 'ann', email: 'ann@example.com', password: old },
    { id: 'u2', org: 'org-2', userName: 'bob', password: old, roles: ['ORG_OWNER', 'IAM_OWNER_VIEWER'] },
    { id: 'u3', org: 'org-3', userName: 'cat', password: old },
    { id: 'bot', org: 'org-1', userName: 'bot', machine: true },
    { id: 'init', org: 'org-1', userName: 'init', state: 'initial' },
    { id: 'locked', org: 'org-1', userName: 'locked', state: 'locked', password: old },
    { id: 'off', org: 'org-1', userName: 'off', state: 'inactive', password: old },
    { id: 'none', org: 'org-1', userName: 'none' },
  ],
};

const opened: { close(): Promise<unknown> }[] = [];
const keep = <T extends { close(): Promise<unknown> }>(it: T): T => {
  opened.push(it);
  return it;
};
let sandbox: Sandbox;
let backend: V2Zitadel;
const connect = (more: Partial<ZitadelOptions> = {}) =>
  keep(createV2Zitadel({ url: sandbox.url, credential: credential({ value: 'root' }), ...more }));
beforeEach(async () => {
  sandbox = keep(await startSandbox(options));
  backend = connect();
});
afterEach(async () => {
  for (const it of opened.splice(0).reverse()) await it.close();
});

const change = (id = 'u1', more: Partial<Change> = {}) =>
  changeOf({ id, org: 'org-1' }, 1n, { password: Secret.fromString(canary), ...more });
const effects = (id = 'u1') => sandbox.users.get(id)?.changes.length;
const withToken = (value: string) => connect({ credential: credential({ value }) });

/** The error of a set; never holds the password or the token. */
async function failed(made: Promise<unknown>): Promise<PassferryError> {
  const error = await errorOf(made);
  const printed = inspect(error, { depth: 9, showHidden: true }) + inspect(error.cause, { depth: 9, showHidden: true });
  const parts = JSON.stringify(error) + JSON.stringify(Object.entries(error)) + error.stack + String(error.message);
  for (const secret of [canary, 'Bearer']) expect(printed + parts).not.toContain(secret);
  return error;
}

describe('setPassword', () => {
  test('answers with what ZITADEL stored, to the microsecond', async () => {
    const { result, details } = await backend.setPassword(change('u1', { changeRequired: true }), signal);
    const [made] = sandbox.users.get('u1')?.changes ?? [];
    expect(result).toBe('set');
    expect(details).toEqual({ sequence: '2', changeDate: expect.any(String), resourceOwner: 'org-1' });
    expect(made?.changeRequired).toBe(true);
    expect(Date.parse(details?.changeDate ?? '')).toBe(Math.floor((made?.at ?? 0) / 1000));
    const micros = String((made?.at ?? 0) % 1_000_000).padStart(6, '0');
    expect((/\.(\d+)Z$/.exec(details?.changeDate ?? '')?.[1] ?? '').padEnd(6, '0')).toBe(micros);
    expect(await sandbox.verify('u1', canary)).toBe(true);
  });

  test('sends no empty password', async () => {
    const error = await failed(backend.setPassword(change('u1', { password: Secret.fromString('') }), signal));
    expect(error).toMatchObject({ reason: 'password_missing', scope: 'user', effect: 'none' });
    expect(sandbox.calls).toEqual([]);
  });

  test.each([
    ['nobody', canary, 'COMMAND-G8dh3'],
    ['bot', canary, 'COMMAND-G8dh3'],
    ['init', canary, 'COMMAND-M9dse'],
    ['u1', 'Aa1!', 'DOMAIN-HuJf6'],
    ['u1', 'AAAA111!', 'DOMAIN-co3Xw'],
    ['u1', 'aaaa111!', 'DOMAIN-VoaRj'],
    ['u1', 'AAAAaaa!', 'DOMAIN-ZBv4H'],
    ['u1', 'AAAAaaa1', 'DOMAIN-ZDLwA'],
    ['u1', `Aa1!${'x'.repeat(80)}`, 'COMMAND-CahN2'],
    ['u1', `Aa1!${'x'.repeat(200)}`, 'refused'],
  ])('%s: a final answer about the user (%#)', async (user, password, reason) => {
    const error = await failed(backend.setPassword(change(user, { password: Secret.fromString(password) }), signal));
    expect(error).toMatchObject({ reason, scope: 'user', effect: 'none' });
    const { message } = errorFromZitadel({ grpcCode: 3, id: reason });
    if (reason !== 'refused') expect(error.message).toBe(message);
  });

  test.each([
    ['one', 'u2', 'backend_forbidden', 'organization', 'AUTH-AWfge'],
    ['one', 'u3', 'backend_forbidden', 'organization', 'AUTHZ-cdgFk'],
    ['wrong', 'u1', 'backend_unauthenticated', 'backend', 'AUTH-7fs1e'],
  ])('token %s on %s: %s', async (token, user, reason, scope, id) => {
    const error = await failed(withToken(token).setPassword(change(user), signal));
    expect(error).toMatchObject({ reason, scope, effect: 'none', cause: { code: id } });
  });

  const faults: [string, Fault, string, 'none' | 'unknown', number?][] = [
    ['quota', { kind: '429', retryAfter: 7 }, 'backend_limited', 'none', 7000],
    ['edge limit', { kind: '429', retryAfter: 7, edge: true }, 'backend_limited', 'none', 7000],
    ['edge limit without a time', { kind: '429', edge: true }, 'backend_limited', 'none'],
    ['a week to wait', { kind: '429', retryAfter: 604_800 }, 'backend_limited', 'none', 3_600_000],
    ['unavailable', { kind: '503' }, 'backend_down', 'unknown'],
    ['HTML of a proxy', { kind: 'html' }, 'backend_down', 'unknown'],
    ['cut before the effect', { kind: 'cut-before' }, 'backend_down', 'unknown'],
    ['cut after the effect', { kind: 'cut-after' }, 'backend_down', 'unknown'],
    ['late effect', { kind: 'late-effect', ms: 1 }, 'backend_down', 'unknown'],
  ];
  test.each(faults)('%s delays the job', async (_, fault, reason, effect, retryAfterMs) => {
    sandbox.faults.add({ call: 'SetPassword', times: 1, fault });
    const error = await failed(backend.setPassword(change(), signal));
    expect(error).toMatchObject({ reason, scope: 'backend', effect, retryAfterMs });
    expect(sandbox.calls).toHaveLength(1);
    // the connection comes back by itself
    expect((await backend.setPassword(change(), signal)).result).toBe('set');
  });

  test('a call that takes too long ends at the deadline', async () => {
    sandbox.faults.add({ fault: { kind: 'latency', ms: 60_000 } });
    const error = await failed(connect({ deadlineMs: 150 }).setPassword(change(), signal));
    expect(error).toMatchObject({ reason: 'backend_timeout', scope: 'backend', effect: 'unknown' });
  });

  test('an abort after sending leaves the effect unknown, one before sends nothing', async () => {
    sandbox.faults.add({ fault: { kind: 'latency', ms: 60_000 } });
    const stop = new AbortController();
    const running = failed(backend.setPassword(change(), stop.signal));
    await waitFor(() => sandbox.calls.length === 1, { what: 'the call to arrive' });
    stop.abort();
    expect(await running).toMatchObject({ reason: 'aborted', scope: 'backend', effect: 'unknown' });
    const early = await failed(backend.setPassword(change(), stop.signal));
    expect(early).toMatchObject({ reason: 'aborted', scope: 'backend', effect: 'none' });
    expect(sandbox.calls).toHaveLength(1);
  });

  test('close ends calls in flight and takes no more', async () => {
    sandbox.faults.add({ fault: { kind: 'latency', ms: 60_000 } });
    const running = failed(backend.setPassword(change(), signal));
    await waitFor(() => sandbox.calls.length === 1, { what: 'the call to arrive' });
    await backend.close();
    expect(await running).toMatchObject({ reason: 'aborted', effect: 'unknown' });
    expect(await failed(backend.setPassword(change(), signal))).toMatchObject({ reason: 'aborted', effect: 'none' });
  });

  test('nobody listens: nothing happened', async () => {
    const deaf = connect({ url: `http://127.0.0.1:${await freePort()}` });
    const error = await failed(deaf.setPassword(change(), signal));
    expect(error).toMatchObject({ reason: 'backend_down', scope: 'backend', effect: 'none' });
    expect(error.cause).toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('a server that is no gRPC server is a fault of the backend', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    keep({ close: async () => server.close() });
    const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    expect(await failed(connect({ url }).setPassword(change(), signal))).toMatchObject({ scope: 'backend' });
  });

  test('reads a refused token again from its file, once', async () => {
    const file = join(tempDir(), 'token');
    writeFileSync(file, 'stale');
    const fromFile = connect({ credential: credential({ file }) });
    expect(await failed(fromFile.setPassword(change(), signal))).toMatchObject({ reason: 'backend_unauthenticated' });
    expect(sandbox.calls).toHaveLength(2);
    // the same time stamp: only the refusal makes it read again
    utimesSync(file, 1_000, 1_000);
    await failed(fromFile.setPassword(change(), signal));
    writeFileSync(file, 'root\n');
    utimesSync(file, 1_000, 1_000);
    expect((await fromFile.setPassword(change(), signal)).result).toBe('set');
    expect(effects()).toBe(1);
  });
});

test('the bytes on the wire are those of the published contract', async () => {
  const bodies: Buffer[] = [];
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', async (stream) => {
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    bodies.push(Buffer.concat(chunks));
    const headers = { ':status': 200, 'content-type': 'application/grpc+proto' };
    stream.respond(headers, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    // a response without details
    stream.end(Buffer.alloc(5));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  keep({
    close: async () => {
      for (const session of sessions) session.destroy();
      server.close();
    },
  });
  const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  const made = change('u1', { password: Secret.fromString('p'), changeRequired: true });
  const error = await failed(connect({ url }).setPassword(made, signal));
  expect(error).toMatchObject({ reason: 'backend_error', scope: 'backend', effect: 'unknown' });
  expect(bodies[0]?.subarray(0, 5).toString('hex')).toBe('000000000b');

  // the example has a current password at its end, which Passferry never sends
  const example = '0a02753112050a017010011a0163';
  const sent = bodies[0]?.subarray(5) ?? Buffer.alloc(0);
  expect(sent.toString('hex')).toBe(example.slice(0, -'1a0163'.length));
  const whole = fromBinary(SetPasswordRequestSchema, sent);
  whole.verification = { case: 'currentPassword', value: 'c' };
  expect(Buffer.from(toBinary(SetPasswordRequestSchema, whole)).toString('hex')).toBe(example);
});

describe('readUser', () => {
  test('tells owner, state and the last change, whatever organization is named', async () => {
    await backend.setPassword(change('u1', { changeRequired: true }), signal);
    const at = (sandbox.users.get('u1')?.passwordChanged ?? 0) / 1000;
    const user = await backend.readUser('org-2', 'u1', signal);
    const { passwordChangedAt, ...rest } = user;
    expect(passwordChangedAt).toBeCloseTo(at, 2);
    expect(rest).toEqual({
      user: 'u1',
      org: 'org-1',
      state: 'active',
      changeRequired: true,
      userName: 'ann',
      email: 'ann@example.com',
    });
  });

  test.each([
    ['locked', 'locked'],
    ['off', 'inactive'],
    ['init', 'initial'],
  ])('%s is %s', async (id, state) => {
    expect((await backend.readUser('org-1', id, signal)).state).toBe(state);
  });

  test.each(['nobody', 'bot'])('%s is no user with a password', async (id) => {
    const error = await failed(backend.readUser('org-1', id, signal));
    expect(error).toMatchObject({ reason: 'COMMAND-G8dh3', code: 'failed_precondition', scope: 'user' });
  });

  test('no permission there is not "no such user"', async () => {
    const error = await failed(withToken('one').readUser('org-3', 'u3', signal));
    expect(error).toMatchObject({ reason: 'backend_forbidden', scope: 'organization' });
  });
});

describe('readRoles', () => {
  test('gives the roles in the instance and the organization', async () => {
    expect((await backend.readRoles('org-2', 'u2', signal)).sort()).toEqual(['IAM_OWNER_VIEWER', 'ORG_OWNER']);
    expect(await backend.readRoles('org-1', 'u1', signal)).toEqual([]);
  });

  test.each(['org-3', 'org-unknown'])('cannot read them in %s', async (org) => {
    const error = await failed(withToken('one').readRoles(org, 'u3', signal));
    expect(error).toMatchObject({ reason: 'backend_forbidden', scope: 'organization' });
  });
});

describe('prove', () => {
  test('the new password works, the old one, another and none do not', async () => {
    expect(await backend.prove('org-1', 'u1', Secret.fromString(old), signal)).toBe(true);
    await backend.setPassword(change(), signal);
    expect(await backend.prove('org-1', 'u1', Secret.fromString(canary), signal)).toBe(true);
    expect(await backend.prove('org-1', 'u1', Secret.fromString(old), signal)).toBe(false);
    expect(await backend.prove('org-1', 'u1', Secret.fromString(''), signal)).toBe(false);
    expect(await backend.prove('org-1', 'none', Secret.fromString(canary), signal)).toBe(false);
    expect(sandbox.calls.filter(({ call }) => call === 'DeleteSession')).toHaveLength(2);
  });

  test('a session that cannot be ended changes nothing about the proof', async () => {
    sandbox.faults.add({ call: 'DeleteSession', fault: { kind: '503' } });
    expect(await backend.prove('org-1', 'u1', Secret.fromString(old), signal)).toBe(true);
  });

  test('anything else is no verdict', async () => {
    for (const id of ['nobody', 'off']) {
      expect(await failed(backend.prove('org-1', id, Secret.fromString(canary), signal))).toMatchObject({
        scope: 'user',
      });
    }
    sandbox.faults.add({ call: 'CreateSession', fault: { kind: 'cut-before' } });
    const error = await failed(backend.prove('org-1', 'u1', Secret.fromString(canary), signal));
    expect(error).toMatchObject({ reason: 'backend_down', scope: 'backend' });
  });
});

describe('ping', () => {
  test('is answered by a ZITADEL that works', async () => {
    await backend.ping(signal);
    await withToken('one').ping(signal);
  });

  test('fails on a wrong token and when nobody is there', async () => {
    expect(await failed(withToken('wrong').ping(signal))).toMatchObject({ reason: 'backend_unauthenticated' });
    sandbox.faults.add({ fault: { kind: 'html' } });
    expect(await failed(backend.ping(signal))).toMatchObject({ reason: 'backend_down' });
  });
});

describe('configuration', () => {
  const make = async (url: string, more: Partial<ZitadelOptions> = {}) => {
    await createV2Zitadel({ url, credential: credential({ value: 'root' }), ...more }).close();
  };

  test.each([
    'nonsense',
    'ftp://example.com',
    'http://example.com',
    'http://127.evil.example',
    'https://a:b@example.com',
  ])('refuses %s', async (url) => {
    const error = await failed(make(url));
    expect(error).toMatchObject({ reason: 'config_invalid', fields: [{ field: 'url' }] });
    expect(inspect(error) + JSON.stringify(error)).not.toContain('example');
  });

  test('refuses a deadline that is none', async () => {
    expect(await failed(make('https://example.com', { deadlineMs: 0 }))).toMatchObject({ reason: 'config_invalid' });
  });

  test('takes https, loopback, and plain http on demand', async () => {
    for (const url of ['https://example.com/base', 'http://localhost:1', 'http://[::1]:1', 'http://127.0.0.2:1']) {
      await make(url);
    }
    await make('http://example.com', { allowPlaintext: true });
  });
});

test.each([
  [undefined, undefined],
  ['0', 0],
  ['7', 7000],
  [' 7 ', 7000],
  ['99999999999999999999', 3_600_000],
  ['Thu, 01 Jan 1970 00:01:10 GMT', 10_000],
  ['Thu, 01 Jan 1970 00:00:10 GMT', 0],
  ['Fri, 02 Jan 1970 00:01:10 GMT', 3_600_000],
  ['-5', undefined],
  ['1.5', undefined],
  ['', undefined],
  ['soon', undefined],
  ['Someday', undefined],
])('Retry-After %j is %j ms', (text, ms) => {
  expect(parseRetryAfter(text, 60_000)).toBe(ms);
});

testBackend(
  'v2-zitadel behind the owner check of the worker',
  async () => {
    const box = await startSandbox({ ...options, users: [] });
    const v2 = createV2Zitadel({ url: box.url, credential: credential({ value: 'root' }) });
    return {
      ...zitadelFixture(box, {
        ...v2,
        async setPassword(made, stop) {
          const user = await v2.readUser(made.org, made.user, stop);
          if (user.org !== made.org) throw errorFromZitadel({ grpcCode: 9, id: 'COMMAND-G8dh3' });
          return v2.setPassword(made, stop);
        },
      }),
      async foreignChange(_org, user, password) {
        const response = await fetch(`${box.url}/v2/users/${user}/password`, {
          method: 'POST',
          headers: { authorization: 'Bearer other' },
          body: JSON.stringify({ newPassword: { password } }),
        });
        expect(response.status).toBe(200);
      },
    };
  },
  { exact: false },
);
