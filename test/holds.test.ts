import { randomUUID } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { parseRetryAfter } from '../src/adapters/zitadel/errors.ts';
import { credential } from '../src/credential.ts';
import { createProducer } from '../src/index.ts';
import { readJobKey, readPrivateKeys } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { dataKeyStore } from '../src/ledger/data-keys.ts';
import { createLog } from '../src/log.ts';
import { hashToken } from '../src/producer/callers.ts';
import { connectRedis } from '../src/redis.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { createLocalHold } from '../src/worker/hold-file.ts';
import { createOrganizationPauses, createPause } from '../src/worker/pause.ts';
import { createWorker } from '../src/worker/worker.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd, tempDir } from './kit/files.ts';
import type { Passferry } from './kit/passferry.ts';
import { startPassferry, tokens } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const operator = 'pf_test-operator';
const log = createLog('silent', 'test');
let pf: Passferry;
let redis: Redis;

beforeAll(async () => {
  pf = await startPassferry();
  redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  const file = join(pf.keysDir, 'callers.json');
  const known = JSON.parse(readFileSync(file, 'utf8')) as { callers: object[] };
  const grants = { '*': ['operate'] };
  known.callers.push({ name: 'operator', home: 'acme', tokenSha256: hashToken(operator), grants });
  writeFileSync(file, JSON.stringify(known));
});

async function holds(method: string, path: string, body?: object, token: string = operator) {
  const response = await fetch(`${pf.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const later = { headers: { prefer: 'respond-async' } };
async function accept(user: string, password: string): Promise<string> {
  const answer = await pf.set('globex', user, password, later);
  expect(answer.status).toBe(202);
  return answer.body.id;
}
const waiting = (job: string, reason: string) =>
  waitFor(async () => (await pf.get(`/jobs/${job}`)).body.waitingFor === reason, { what: `${job} waits: ${reason}` });
const sent = (user: string) => pf.sandbox.users.get(user)?.changes.length;

describe('a hold by a person', () => {
  it('stops sending at once, is told with who and why, and after the release nothing is lost', async () => {
    const users = Array.from({ length: 5 }, () => randomUUID());
    for (const user of users) await pf.addUser('globex', user);
    const before = users.map(sent);
    const password = newPassword();

    const held = await holds('PUT', '/holds/v2', { reason: ' upgrade of v2 ' });
    expect(held).toMatchObject({ status: 200, body: { backend: 'v2', reason: 'upgrade of v2', by: 'operator' } });
    const jobs = await Promise.all(users.map((user) => accept(user, password)));
    for (const job of jobs) await waiting(job, 'held');
    expect(users.map(sent)).toEqual(before);
    expect((await pf.get(`/jobs/${jobs[0]}`)).body).toMatchObject({ done: false, attempts: 0 });
    expect((await pf.get('/readyz')).status).toBe(200);
    expect((await holds('GET', '/holds')).body).toEqual({ holds: [held.body], forged: [] });

    // The other backend goes on.
    const other = randomUUID();
    await pf.addUser('acme', other);
    expect((await pf.set('acme', other, password)).status).toBe(200);

    expect((await holds('DELETE', '/holds/v2')).body).toEqual({ backend: 'v2', released: true });
    for (const job of jobs) expect((await pf.done(job)).outcome).toMatchObject({ result: 'set', inEffect: true });
    for (const user of users) expect(await pf.works('globex', user, password)).toBe(true);
    expect((await holds('DELETE', '/holds/v2')).body).toEqual({ backend: 'v2', released: false });
    const audit = pf.lines.map((line) => JSON.parse(line));
    expect(audit).toContainEqual(expect.objectContaining({ level: 30, by: 'operator', reason: 'upgrade of v2' }));
  });

  it('does not keep a job beyond its expiry', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    await holds('PUT', '/holds/v2', { reason: 'long' });
    const headers = { ...later.headers, 'passferry-expires-in': '1' };
    const { body } = await pf.set('globex', user, newPassword(), { headers });
    expect((await pf.done(body.id)).outcome).toMatchObject({ reason: 'job_expired' });
    await holds('DELETE', '/holds/v2');
  });

  it('counts as absent when it is forged, and is reported', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    const key = redisKeys('passferry').hold('v2');
    await holds('PUT', '/holds/v1', { reason: 'real' });
    // A real one of another backend is a forgery here.
    await redis.copy(redisKeys('passferry').hold('v1'), key);
    await holds('DELETE', '/holds/v1');
    expect((await pf.set('globex', user, newPassword())).status).toBe(200);
    expect((await holds('GET', '/holds')).body).toEqual({ holds: [], forged: ['v2'] });
    expect(pf.lines.filter((line) => JSON.parse(line).level === 50).join()).toContain('a hold in Redis is not signed');
    await redis.del(key);
  });

  it('is refused without operate, for an unknown backend and without a reason', async () => {
    for (const token of Object.values(tokens)) {
      const refused = await holds('PUT', '/holds/v2', { reason: 'no' }, token);
      expect(refused).toMatchObject({ status: 403, body: { reason: 'org_not_granted' } });
    }
    expect(await holds('PUT', '/holds/v3', { reason: 'x' })).toMatchObject({ status: 404 });
    for (const reason of ['', ' ', 'a\nb', 'x'.repeat(201), 7]) {
      const refused = await holds('PUT', '/holds/v2', { reason });
      expect(refused).toMatchObject({ status: 400, body: { reason: 'hold_reason_invalid' } });
    }
    expect((await holds('GET', '/holds')).body).toEqual({ holds: [], forged: [] });
  });
});

/** A worker of its own for v2 with a token file, and a library producer, in a namespace of their own. */
async function ownWorker(probeMs = 200) {
  const namespace = `holds-${randomUUID().slice(0, 8)}`;
  const keys = redisKeys(namespace);
  const tokenFile = join(tempDir(), 'token');
  const holdFile = join(tempDir(), 'HOLD');
  writeFileSync(tokenFile, 'good');
  const sandbox = await startSandbox({
    bcryptCost: 4,
    tokens: {
      good: { userId: 'w', roles: { instance: ['IAM_OWNER'] } },
      partial: { userId: 'w', roles: { orgs: { acme: ['ORG_OWNER'] } } },
    },
    orgs: ['acme', 'globex'],
  });
  const connect = () => connectRedis({ url: pf.redis.url }, 'worker');
  const own = connect();
  const backend = createV2Zitadel({ url: sandbox.url, credential: credential({ file: tokenFile }), deadlineMs: 2_000 });
  const localHold = createLocalHold({ file: holdFile, log });
  const worker = createWorker({
    ...{ connect, keys, dataKeys: dataKeyStore(own, keys), log, localHold, probeMs, retentionMs: 60_000 },
    privateKeys: readPrivateKeys(pf.keysDir),
    jobKey: readJobKey(pf.keysDir),
    backends: { v2: { backend, limit: 4 } },
    stages: { default: 'v2', organizations: {} },
    // A token of one organization only cannot read roles in another one.
    protectedRoles: new Set(),
    deadlineMs: 2_000,
    settleMs: 200,
  });
  await worker.ready;
  const producer = await createProducer({ redisUrl: pf.redis.url, keysDir: pf.keysDir, namespace });
  atEnd(async () => {
    await worker.close();
    localHold.close();
    own.disconnect();
    await producer.close();
    await backend.close();
    await sandbox.close();
  });
  async function start(org: string): Promise<string> {
    const user = randomUUID();
    await sandbox.addUser({ id: user, org, userName: user, password: 'Old-password-1' });
    return (await producer.setPassword({ org, user, password: newPassword() })).jobId;
  }
  const waitsFor = (job: string, reason: string) =>
    waitFor(async () => (await producer.job(job))?.waitingFor === reason, { what: `${job} waits: ${reason}` });
  const sends = () => sandbox.calls.filter(({ call }) => call === 'SetPassword').length;
  return { tokenFile, holdFile, sandbox, worker, producer, start, waitsFor, sends };
}

describe('a hold of one worker', () => {
  it('is a file, for all or for the backends it names', async () => {
    const { holdFile, producer, start, waitsFor, sends } = await ownWorker();
    writeFileSync(holdFile, '');
    const job = await start('acme');
    await waitsFor(job, 'held');
    expect(sends()).toBe(0);
    writeFileSync(holdFile, 'v1\n');
    expect(await producer.wait(job, 10_000)).toMatchObject({ result: 'set' });
    writeFileSync(holdFile, 'v1\nv2\n');
    const next = await start('acme');
    await waitsFor(next, 'held');
    rmSync(holdFile);
    expect(await producer.wait(next, 10_000)).toMatchObject({ result: 'set' });
  });

  it('is asked again right before sending, and spends no attempt', async () => {
    const { holdFile, sandbox, producer, start, waitsFor, sends } = await ownWorker();
    sandbox.faults.add({ call: 'GetUserByID', fault: { kind: 'latency', ms: 500 } });
    const job = await start('acme');
    await waitFor(() => sandbox.calls.some(({ call }) => call === 'GetUserByID'), { what: 'the job to be under way' });
    writeFileSync(holdFile, '');
    await waitsFor(job, 'held');
    expect([sends(), (await producer.job(job))?.attempts]).toEqual([0, 0]);
    rmSync(holdFile);
    expect(await producer.wait(job, 10_000)).toMatchObject({ result: 'set' });
  });

  it('is a signal that toggles', async () => {
    const { worker, producer, start, waitsFor } = await ownWorker();
    const local = createLocalHold({ log });
    atEnd(async () => local.close());
    process.kill(process.pid, 'SIGUSR2');
    await waitFor(() => local.why('v1') === 'signal', { what: 'the signal' });
    const job = await start('acme');
    await waitsFor(job, 'held');
    expect(worker.progress().waitingFor).toEqual({ v2: 'held' });
    process.kill(process.pid, 'SIGUSR2');
    expect(await producer.wait(job, 10_000)).toMatchObject({ result: 'set' });
  });

  it('is refused credentials, until they work again', async () => {
    const { tokenFile, worker, producer, start, waitsFor } = await ownWorker();
    writeFileSync(tokenFile, 'refused');
    const job = await start('acme');
    await waitsFor(job, 'backend_unauthenticated');
    expect(worker.progress().waitingFor).toEqual({ v2: 'backend_unauthenticated' });
    writeFileSync(tokenFile, 'good');
    expect(await producer.wait(job, 15_000)).toMatchObject({ result: 'set' });
    expect(worker.progress().waitingFor).toEqual({});
  });

  it('is a missing permission in one organization; the others finish', async () => {
    const { tokenFile, worker, producer, start, waitsFor } = await ownWorker();
    writeFileSync(tokenFile, 'partial');
    const job = await start('globex');
    await waitsFor(job, 'backend_forbidden');
    await waitsFor(await start('globex'), 'backend_forbidden');
    expect(worker.progress().waitingFor).toEqual({});
    expect(await producer.wait(await start('acme'), 10_000)).toMatchObject({ result: 'set' });
  });
});

it.each([
  ['-1', undefined],
  ['0', 0],
  ['1e12', undefined],
  ['1000000000000', 3_600_000],
  ['NaN', undefined],
  ['Sun, 06 Nov 1994 08:49:37 GMT', 0],
])('Retry-After %s is %s ms', (text, ms) => {
  expect(parseRetryAfter(text, Date.now())).toBe(ms);
});

describe('a pause', () => {
  it('lets one try when it is over, doubles up to its limit and ends with a success', () => {
    let now = 0;
    const pause = createPause(
      60_000,
      600_000,
      () => now,
      () => 0,
    );
    expect(pause.waitMs()).toBe(0);
    const waits = Array.from({ length: 6 }, () => {
      const ms = pause.failed();
      // Those that were under way with it say nothing new.
      expect(pause.failed()).toBe(ms);
      now += ms;
      expect(pause.waitMs()).toBe(0);
      expect(pause.waitMs()).toBe(5_000);
      return ms;
    });
    expect(waits).toEqual([60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
    expect([pause.succeeded(), pause.succeeded(), pause.waitMs()]).toEqual([true, false, 0]);
  });

  it('is of one organization', () => {
    const pauses = createOrganizationPauses(60_000, 600_000);
    pauses.failed('a');
    expect(pauses.waitMs('a')).toBeGreaterThan(59_000);
    expect(pauses.waitMs('b')).toBe(0);
    expect([pauses.succeeded('a'), pauses.waitMs('a')]).toEqual([true, 0]);
  });
});
