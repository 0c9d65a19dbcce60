import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { createServerTransport } from '@zitadel/client/node';
import { createManagementServiceClient } from '@zitadel/client/v1';
import { describe, expect, it } from 'vitest';
import { healthService } from '../src/producer/rpc/health.ts';
import { newPassword } from './kit/conformance.ts';
import { startPassferry, tokens } from './kit/passferry.ts';
import { rpcClients } from './kit/rpc-clients.ts';

const pf = await startPassferry();
const old = 'Old-password-1';
const canary = 'Zz9!canary';
await pf.addV1({ id: 'fresh', org: 'acme', state: 'initial' });
await pf.addV1({ id: 'foreigner', org: 'globex', password: old });
const management = '/zitadel.management.v1.ManagementService';

async function person(org: 'acme' | 'globex' = 'acme'): Promise<string> {
  const user = randomUUID();
  await pf.addUser(org, user, old);
  return user;
}

const changeRequired = async (user: string) =>
  (await pf.v1.readUser('acme', user, AbortSignal.timeout(5_000))).changeRequired;

describe.each(rpcClients)('$name', (client) => {
  const as = (token: string | null, headers: Record<string, string> = {}) => ({ token, headers });
  const full = as(tokens.full);

  it.each(['acme', 'globex'] as const)('sets a password in %s', async (org) => {
    const [user, password] = [await person(org), newPassword()];
    const told = await client.set(pf.url, { userId: user, password }, as(tokens.full, { 'x-zitadel-orgid': org }));
    expect(told).toMatchObject({ code: 0, owner: org, sequence: expect.any(BigInt) });
    expect(told.sequence).toBeGreaterThan(0n);
    expect(told.headers.get('passferry-result')).toBe('set');
    expect(told.headers.get('passferry-job')).toMatch(/^j0-/);
    expect(told.headers.get('idempotency-key')).toMatch(/^pf-/);
    expect(await pf.works(org, user, password)).toBe(true);
  });

  it('obeys noChangeRequired, and an initial password must always be changed', async () => {
    const user = await person();
    const password = newPassword();
    expect(await client.set(pf.url, { userId: user, password, noChangeRequired: true }, full)).toMatchObject({
      code: 0,
    });
    expect(await changeRequired(user)).toBe(false);
    expect(await client.initial(pf.url, { userId: user, password }, full)).toMatchObject({ code: 0, owner: 'acme' });
    expect(await changeRequired(user)).toBe(true);
  });

  const long = canary.padEnd(73, 'x');
  const refusals: [
    string,
    { token?: string | null; headers?: object; fields?: object },
    number,
    string | undefined,
    string?,
  ][] = [
    ['a bad token', { token: 'nonsense' }, Code.Unauthenticated, 'AUTH-7fs1e'],
    ['an unknown organization', { headers: { 'x-zitadel-orgid': 'initech' } }, Code.PermissionDenied, 'AUTH-Bs7Ds'],
    [
      'an organization that is not granted',
      { token: tokens.reader, headers: { 'x-zitadel-orgid': 'globex' } },
      ...([Code.NotFound, 'AUTHZ-cdgFk'] as const),
    ],
    ['a missing permission', { token: tokens.reader }, Code.PermissionDenied, 'AUTH-5mWD2'],
    ['an empty password', { fields: { password: '' } }, Code.InvalidArgument, undefined, 'password_missing'],
    ['73 letters', { fields: { password: long } }, Code.InvalidArgument, undefined, 'password_too_long'],
    ['no user', { fields: { userId: '' } }, Code.InvalidArgument, undefined, 'user_id_missing'],
    ['an unknown user', {}, Code.FailedPrecondition, 'COMMAND-G8dh3'],
    ['a user of another organization', { fields: { userId: 'foreigner' } }, Code.FailedPrecondition, 'COMMAND-G8dh3'],
    ['a user who is not initialized', { fields: { userId: 'fresh' } }, Code.FailedPrecondition, 'COMMAND-M9dse'],
  ];
  it.each(refusals)('refuses %s', async (_, { token = tokens.full, headers, fields }, code, id, reason) => {
    const request = { userId: 'nobody', password: canary, ...fields };
    const told = await client.set(pf.url, request, as(token, headers as Record<string, string>));
    expect(told).toMatchObject({ code, ...(id && { message: expect.stringContaining(`(${id})`) }) });
    expect(told.id).toBe(id);
    expect(told.headers.get('passferry-reason')).toBe(id ?? reason);
    expect(JSON.stringify([told.message, [...told.headers]])).not.toContain(canary);
  });

  it('refuses a password that breaks the policy', async () => {
    const told = await client.set(pf.url, { userId: await person(), password: 'Nosymbols1' }, full);
    expect(told).toMatchObject({ code: Code.InvalidArgument, id: 'DOMAIN-ZDLwA' });
  });

  it('refuses a call without a token, with no details', async () => {
    const told = await client.set(pf.url, { userId: 'nobody', password: canary }, as(null));
    expect(told).toMatchObject({ code: Code.Unauthenticated, message: 'auth header missing' });
    expect(told.id).toBeUndefined();
  });

  it('knows an Idempotency-Key again, and refuses it for another request', async () => {
    const [user, password] = [await person(), newPassword()];
    const keyed = as(tokens.full, { 'idempotency-key': randomUUID() });
    const first = await client.set(pf.url, { userId: user, password }, keyed);
    const again = await client.set(pf.url, { userId: user, password }, keyed);
    expect([first.code, again.code]).toEqual([0, 0]);
    expect(again.sequence).toBe(first.sequence);
    expect(again.headers.get('passferry-job')).toBe(first.headers.get('passferry-job'));
    expect([first, again].map(({ headers }) => headers.get('idempotency-replayed'))).toEqual([null, 'true']);
    const other = await client.set(pf.url, { userId: user, password: newPassword() }, keyed);
    expect(other).toMatchObject({ code: Code.FailedPrecondition });
    expect(other.headers.get('passferry-reason')).toBe('idempotency_key_reused');
    expect(await pf.works('acme', user, password)).toBe(true);
  });
});

it('answers every other method of the API with what is served', async () => {
  const client = createManagementServiceClient(createServerTransport(tokens.full, { baseUrl: pf.url }));
  const error = ConnectError.from(await client.getMyOrg({}).catch((thrown) => thrown));
  expect(error.code).toBe(Code.Unimplemented);
  expect(error.rawMessage).toContain('SetHumanPassword');
  const headers = { 'content-type': 'application/json' };
  const answer = await pf.post(`${management}/ImportHumanUser`, { password: [canary] }, { headers });
  expect(answer).toMatchObject({ status: 501, body: { code: 'unimplemented' } });
  expect(answer.text).not.toContain(canary);
});

describe('gRPC health', () => {
  type Call = (request: { service: string }, options?: object) => unknown;
  const { check, watch } = createClient(healthService, createGrpcTransport({ baseUrl: pf.url })) as unknown as {
    check: (...of: Parameters<Call>) => Promise<{ status: number }>;
    watch: (...of: Parameters<Call>) => AsyncIterable<{ status: number }>;
  };

  it.each(['', 'zitadel.management.v1.ManagementService'])('says that "%s" serves', async (service) => {
    expect(await check({ service })).toMatchObject({ status: 1 });
  });

  it('knows no other service', async () => {
    const error = ConnectError.from(await check({ service: 'x' }).catch((thrown) => thrown));
    expect(error.code).toBe(Code.NotFound);
    const first = await watch({ service: 'x' })[Symbol.asyncIterator]().next();
    expect(first.value).toMatchObject({ status: 3 });
  });

  it('is told to who watches', async () => {
    const gone = new AbortController();
    const answers = watch({ service: '' }, { signal: gone.signal })[Symbol.asyncIterator]();
    expect((await answers.next()).value).toMatchObject({ status: 1 });
    gone.abort();
    await answers.next().catch(() => {});
  });
});

describe('Connect in JSON without a library', () => {
  const headers = { 'content-type': 'application/json' };
  const post = (body: unknown) => pf.post(`${management}/SetHumanPassword`, body, { headers });

  it('answers with the sequence as text', async () => {
    const user = await person();
    const answer = await post({ userId: user, password: newPassword(), unknown: 1 });
    expect(answer).toMatchObject({
      status: 200,
      body: { details: { sequence: expect.stringMatching(/^\d+$/), resourceOwner: 'acme' } },
    });
  });

  it.each([
    ['no JSON', `{"userId":"ada","password":"${canary}`, 'body_not_json'],
    ['a list', `["${canary}"]`, 'body_not_object'],
    ['a number', '{"userId":"ada","password":123456789}', 'field_type'],
    ['a list as password', `{"userId":"ada","password":["${canary}"]}`, 'field_type'],
    ['a flag that is text', `{"userId":"ada","password":"a","noChangeRequired":"${canary}"}`, 'field_type'],
    ['a key that stands twice', `{"userId":"ada","password":"a","password":"${canary}"}`, 'body_not_json'],
    ['too much', JSON.stringify({ userId: 'ada', password: canary, x: 'x'.repeat(70_000) }), 'body_too_large'],
  ])('refuses %s without repeating it', async (_, body, reason) => {
    const answer = await post(body);
    expect(answer.headers.get('passferry-reason')).toBe(reason);
    expect(answer.headers.get('idempotency-key')).toMatch(/^pf-/);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_argument' } });
    expect(answer.text).not.toMatch(/canary|123456789/);
  });

  it.each(['application/grpc+json', 'application/grpc-web+json', 'application/connect+json'])(
    'takes no %s',
    async (type) => {
      const headers = { 'content-type': type };
      const answer = await pf.post(`${management}/SetHumanPassword`, `{"password":${canary}`, { headers });
      expect(answer).toMatchObject({ status: 415, text: '' });
    },
  );
});

const run = promisify(execFile);

describe('curl', () => {
  it.each([
    ['--http2-prior-knowledge', '2'],
    ['--http1.1', '1.1'],
  ])('sets a password with %s', async (flag, version) => {
    const [user, password] = [await person(), newPassword()];
    const { stdout } = await run('curl', [
      ...['-sS', flag, '-H', `authorization: Bearer ${tokens.full}`, '-d', JSON.stringify({ password })],
      ...['-w', '\n%{http_code} %{http_version}', `${pf.url}/management/v1/users/${user}/password`],
    ]);
    const [body, end] = stdout.split('\n');
    expect(end).toBe(`200 ${version}`);
    expect(JSON.parse(body as string)).toMatchObject({ details: { resourceOwner: 'acme' } });
    expect(await pf.works('acme', user, password)).toBe(true);
  });
});
