import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isJobIdOf, makeJobId } from '../src/ids.ts';
import { createProducer } from '../src/index.ts';
import { type JobView, queueNames, type SetPasswordData } from '../src/job.ts';
import { followPublicKeys, readFingerprintKey, readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createHolds } from '../src/ledger/holds.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { createLog } from '../src/log.ts';
import { loadCallers } from '../src/producer/callers.ts';
import { createHttp } from '../src/producer/http/server.ts';
import { createProducer as composeProducer, type Producer } from '../src/producer/producer.ts';
import { connectRedis, ready } from '../src/redis.ts';
import { jobParts, sign } from '../src/signature.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import type { Passferry, RequestOptions } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const keys = redisKeys('passferry');
const later = { headers: { prefer: 'respond-async' } };
let pf: Passferry;
let redis: Redis;

beforeAll(async () => {
  pf = await startPassferry();
  redis = new Redis(pf.redis.url, { maxRetriesPerRequest: null });
  atEnd(async () => redis.disconnect());
});

afterEach(async () => {
  for (const backend of ['v1', 'v2'] as const) await holds().lift(backend);
});

const jobKey = () => readJobKey(pf.keysDir);
const holds = () => createHolds(redis, keys, jobKey());
const ledger = () => createLedger({ redis, keys, jobKey: jobKey(), retentionMs: 86_400_000 });
const cancel = (id: string, more: RequestOptions = {}) => pf.send('DELETE', `/jobs/${id}`, undefined, more);
const batch = (jobs: unknown, more: RequestOptions = {}) =>
  pf.post('/jobs', { jobs }, { ...more, headers: { 'content-type': 'application/json', ...more.headers } });
const prefer = (seconds: number) => ({ headers: { prefer: `wait=${seconds}` } });

async function accept(org: 'acme' | 'globex', user: string, password: string, more: RequestOptions = later) {
  const answer = await pf.set(org, user, password, more);
  expect(answer.status).toBe(202);
  return answer.body.id as string;
}

/** A job that waits, for its backend is held. */
async function waiting(org: 'acme' | 'globex', user: string, password: string): Promise<string> {
  await holds().put(org === 'acme' ? 'v1' : 'v2', 'test', 'test');
  const id = await accept(org, user, password);
  await waitFor(async () => (await pf.get(`/jobs/${id}`)).body.waitingFor === 'held', { what: `${id} is held` });
  return id;
}

async function person(org: 'acme' | 'globex', password = newPassword()): Promise<string> {
  const user = randomUUID();
  await pf.addUser(org, user, password);
  return user;
}

async function queued(id: string): Promise<boolean> {
  const found = await Promise.all(
    Object.values(queueNames).map((name) => redis.exists(`${keys.bullPrefix}:${name}:${id}`)),
  );
  return found.includes(1);
}

describe('GET /jobs/{id}', () => {
  it('says done and how it ended in one word', async () => {
    const user = await person('acme');
    const id = await accept('acme', user, newPassword());
    expect(await pf.done(id)).toMatchObject({ done: true, ended: 'set', outcome: { result: 'set' } });
    const failed = await pf.done(await accept('acme', randomUUID(), newPassword()));
    expect(failed).toMatchObject({ done: true, ended: 'failed_precondition' });
    const open = await pf.get(`/jobs/${await waiting('acme', user, newPassword())}`);
    expect(open.body).toMatchObject({ done: false });
    expect(open.body).not.toHaveProperty('ended');
    expect(open.headers.get('retry-after')).toBe('1');
  });

  it('has a tag that changes with the job, and answers 304 to who knows it', async () => {
    const user = await person('globex');
    const id = await waiting('globex', user, newPassword());
    const open = await pf.get(`/jobs/${id}`);
    const tag = open.headers.get('etag') ?? '';
    expect(tag).toMatch(/^"[\w-]{27}"$/);
    for (const known of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      const same = await pf.get(`/jobs/${id}`, { headers: { 'if-none-match': known } });
      expect(same).toMatchObject({ status: 304, text: '' });
      expect(same.headers.get('etag')).toBe(tag);
      expect(same.headers.get('retry-after')).toBe('1');
    }
    await holds().lift('v2');
    await pf.done(id);
    const ended = await pf.get(`/jobs/${id}`, { headers: { 'if-none-match': tag } });
    expect(ended).toMatchObject({ status: 200, body: { ended: 'set' } });
    expect(ended.headers.get('etag')).not.toBe(tag);
    expect(ended.headers.get('retry-after')).toBeNull();
  });

  it('waits for the outcome, at most as long as the client prefers', async () => {
    const user = await person('acme');
    const id = await waiting('acme', user, newPassword());
    const none = await pf.get(`/jobs/${id}`, prefer(0));
    expect(none).toMatchObject({ status: 200, body: { done: false } });
    expect(none.headers.get('preference-applied')).toBe('wait=0');
    const over = await pf.get(`/jobs/${id}`, prefer(1));
    expect(over.body.done).toBe(false);
    expect(over.headers.get('preference-applied')).toBe('wait=1');

    const asked = pf.get(`/jobs/${id}`, prefer(30));
    await holds().lift('v1');
    const ended = await asked;
    expect(ended).toMatchObject({ status: 200, body: { done: true, ended: 'set' } });
    // PASSFERRY_WAIT, for that is less.
    expect(ended.headers.get('preference-applied')).toBe('wait=25');
    expect((await pf.get(`/jobs/${id}`, { headers: { prefer: 'wait=soon' } })).body.reason).toBe('prefer_invalid');
  });

  it('tells whoever waits that the job was cancelled', async () => {
    const id = await waiting('acme', await person('acme'), newPassword());
    const asked = pf.get(`/jobs/${id}`, prefer(20));
    expect((await cancel(id)).status).toBe(200);
    expect((await asked).body).toMatchObject({ done: true, ended: 'canceled' });
  });

  it('waits for nobody who has hung up', async () => {
    const id = await waiting('acme', await person('acme'), newPassword());
    const target = { url: pf.redis.url };
    const own = connectRedis(target, 'producer');
    await ready(own);
    const producer = composeProducer({
      redis: own,
      connectEvents: () => connectRedis(target, 'worker'),
      keys,
      publicKeys: followPublicKeys(pf.keysDir),
      jobKey: jobKey(),
      fingerprintKey: readFingerprintKey(pf.keysDir),
      retentionMs: 86_400_000,
    });
    const waits: Promise<unknown>[] = [];
    const noted: Producer = {
      ...producer,
      wait(...args) {
        const wait = producer.wait(...args);
        waits.push(wait);
        return wait;
      },
    };
    const http = createHttp({
      producer: noted,
      callers: loadCallers(`${pf.keysDir}/callers.json`, () => {}),
      orgExists: () => true,
      waitMs: 600_000,
      closing: new AbortController().signal,
      log: createLog('silent', 'test'),
    });
    const url = await http.listen({ host: '127.0.0.1', port: 0 });
    atEnd(() => http.close().then(() => producer.close()));
    const gone = new AbortController();
    const headers = { authorization: `Bearer ${pf.token}`, prefer: 'wait=600' };
    const asked = fetch(`${url}/jobs/${id}`, { headers, signal: gone.signal });
    const wait = await waitFor(() => waits[0] && { ended: waits[0] }, { what: 'it to be waited for' });
    gone.abort();
    await expect(asked).rejects.toThrow('abort');
    // Long before the ten minutes, and without an outcome.
    expect(await wait.ended).toBeUndefined();
    // Nor for a signal that has fired before.
    expect(await producer.wait(id, 600_000, AbortSignal.abort())).toBeUndefined();
  });

  it('after the retention: gone for those of its organization, unknown for all others', async () => {
    const user = await person('globex');
    const id = await accept('globex', user, newPassword());
    await pf.done(id);
    await redis.del(keys.job(id));
    const gone = await pf.get(`/jobs/${id}`);
    expect(gone).toMatchObject({ status: 410, body: { status: 410, code: 'not_found', reason: 'job_gone' } });
    expect(gone.headers.get('content-type')).toBe('application/problem+json');
    expect(await cancel(id)).toMatchObject({ status: 410, body: { reason: 'job_gone' } });
    // Granted acme only.
    expect(await pf.get(`/jobs/${id}`, { as: 'reader' })).toMatchObject({
      status: 404,
      body: { reason: 'job_unknown' },
    });
    const forged = `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`;
    expect(await pf.get(`/jobs/${forged}`)).toMatchObject({ status: 404, body: { reason: 'job_unknown' } });
    expect(await pf.get('/jobs/r0-aaaaaaaaaaaaaaaaaaaaaaaaaa-1')).toMatchObject({ status: 404 });
  });

  it('knows ids of the previous key', () => {
    const { current } = jobKey();
    const previous = Buffer.alloc(32, 7);
    const id = makeJobId(previous, 'acme');
    expect(isJobIdOf(id, [current, previous], 'acme')).toBe(true);
    expect(isJobIdOf(id, [current], 'acme')).toBe(false);
    expect(isJobIdOf(id, [current, previous], 'globex')).toBe(false);
    expect(isJobIdOf('j0-short', [current], 'acme')).toBe(false);
  });

  it('another organization sees nothing of it', async () => {
    const id = await waiting('globex', await person('globex'), newPassword());
    for (const answer of [
      await pf.get(`/jobs/${id}`, { as: 'reader' }),
      await pf.get(`/jobs/${id}`, { as: 'reader', ...prefer(20) }),
      await cancel(id, { as: 'reader' }),
    ]) {
      expect(answer).toMatchObject({ status: 404, body: { reason: 'job_unknown' } });
      expect(answer.headers.get('etag')).toBeNull();
    }
    expect((await pf.get(`/jobs/${id}`, { as: null })).status).toBe(401);
    expect((await pf.get(`/jobs/${id}`)).body.done).toBe(false);
  });
});

describe('DELETE /jobs/{id}', () => {
  it('ends what has not begun: the password is never set and nothing of it stays in the queue', async () => {
    const password = newPassword();
    const user = await person('globex', 'Old-password-1');
    const id = await waiting('globex', user, password);
    const first = await cancel(id);
    expect(first).toMatchObject({
      status: 200,
      body: {
        id,
        state: 'failed',
        done: true,
        ended: 'canceled',
        outcome: { reason: 'job_canceled', inEffect: false },
      },
    });
    expect((await cancel(id)).body).toEqual(first.body);
    await waitFor(async () => !(await queued(id)), { what: 'the queue to let it go' });
    await holds().lift('v2');
    // One that is accepted later has run: the cancelled one would have.
    await pf.done(await accept('globex', user, 'Other-password-1'));
    expect(await pf.works('globex', user, 'Other-password-1')).toBe(true);
    expect(pf.sandbox.users.get(user)?.changes).toHaveLength(1);
    expect(await redis.zscore(keys.open, id)).toBeNull();
    expect((await pf.get(`/jobs?state=failed&org=globex&user=${user}`)).body.jobs).toEqual([]);
  });

  it('answers who waits with the call as v1 says it', async () => {
    const user = await person('acme');
    await holds().put('v1', 'test', 'test');
    const key = `k-${randomUUID()}`;
    const asked = pf.set('acme', user, newPassword(), { headers: { 'idempotency-key': key } });
    const { id } = await waitFor(async () => (await pf.get(`/jobs?user=${user}`)).body.jobs[0] as JobView, {
      what: 'it',
    });
    await waitFor(async () => (await cancel(id)).status === 200, { what: 'cancelled' });
    expect(await asked).toMatchObject({ status: 499, body: { code: 1 } });
  });

  it('says that it is too late, with the outcome', async () => {
    const id = await accept('acme', await person('acme'), newPassword());
    await pf.done(id);
    const late = await cancel(id);
    expect(late).toMatchObject({
      status: 409,
      body: { status: 409, reason: 'job_done', code: 'failed_precondition', job: { id, ended: 'set' } },
    });
    expect(late.headers.get('passferry-reason')).toBe('job_done');
    expect((await pf.get(`/jobs/${id}`)).body.ended).toBe('set');
  });

  it('is too late for what a start has, or may have done', async () => {
    const password = newPassword();
    const user = await person('globex');
    const id = await waiting('globex', user, password);
    const data = await dataOf(id);
    const begin = (token: string) => ledger().begin(data, { token, leaseMs: 60_000, backend: 'v2', exact: false });
    const begun = { status: 409, body: { reason: 'job_begun', job: { id, done: false } } };

    expect((await begin('first')).kind).toBe('go');
    expect(await cancel(id)).toMatchObject(begun);
    await ledger().recordAttempt(data, 'first', 60_000, 0);
    expect(await cancel(id)).toMatchObject(begun);
    await ledger().closeAttempt(data, 'first');
    await ledger().release(data, 'first', 'backend_down', 'none');
    // Known to have done nothing: as if it had never begun.
    expect((await begin('second')).kind).toBe('go');
    await ledger().release(data, 'second', 'backend_timeout');
    expect(await cancel(id)).toMatchObject(begun);
    await holds().lift('v2');
    expect(await pf.done(id)).toMatchObject({ ended: 'set' });
  });

  it('goes when a start gave it back without having done anything', async () => {
    const id = await waiting('acme', await person('acme'), newPassword());
    const data = await dataOf(id);
    await ledger().begin(data, { token: 't', leaseMs: 60_000, backend: 'v1', exact: true });
    expect((await cancel(id)).status).toBe(409);
    await ledger().release(data, 't', 'backend_down', 'none');
    expect(await cancel(id)).toMatchObject({ status: 200, body: { ended: 'canceled' } });
    expect((await ledger().begin(data, { token: 'u', leaseMs: 60_000, backend: 'v1', exact: true })).kind).toBe('done');
  });

  it('needs the permission set; without it the job does not exist', async () => {
    const id = await waiting('acme', await person('acme'), newPassword());
    expect(await cancel(id, { as: 'reader' })).toMatchObject({ status: 404, body: { reason: 'job_unknown' } });
    expect((await pf.get(`/jobs/${id}`, { as: 'reader' })).body.done).toBe(false);
    expect(await cancel(makeJobId(Buffer.alloc(32), 'acme'))).toMatchObject({ status: 404 });
    expect(await cancel('nonsense')).toMatchObject({ status: 404, body: { reason: 'job_unknown' } });
  });

  it('leaves rows to their import', async () => {
    const user = await person('acme');
    await holds().put('v1', 'test', 'test');
    const file = `userId,password\n${user},${newPassword()}\n`;
    const { body: run } = await pf.post('/imports?asOf=now', file, { headers: { 'content-type': 'text/csv' } });
    expect(await cancel(`${run.id}-1`)).toMatchObject({ status: 409, body: { reason: 'row_of_import' } });
    expect(await cancel(`${run.id}-2`)).toMatchObject({ status: 404, body: { reason: 'job_unknown' } });
    await holds().lift('v1');
    expect((await pf.done(`${run.id}-1`)).outcome).toMatchObject({ result: 'set' });
  });

  it('against workers that begin: cancelled or set, never both, 50 times', async () => {
    const people = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const org = i % 2 === 0 ? ('acme' as const) : ('globex' as const);
        return { org, user: await person(org, 'Old-password-1'), password: newPassword() };
      }),
    );
    for (const backend of ['v1', 'v2'] as const) await holds().put(backend, 'test', 'test');
    const { body } = await batch(people);
    const ids = body.jobs.map(({ id }: JobView) => id) as string[];
    for (const id of ids) {
      await waitFor(async () => (await pf.get(`/jobs/${id}`)).body.waitingFor === 'held', { what: `${id} is held` });
    }

    const answers = new Map<string, number[]>();
    async function race(id: string): Promise<void> {
      answers.set(id, await Promise.all([cancel(id), cancel(id)]).then((both) => both.map(({ status }) => status)));
    }
    const [soon, late] = [ids.slice(0, 10), ids.slice(10)];
    await Promise.all([holds().lift('v1'), holds().lift('v2'), ...soon.map(race)]);
    await waitFor(async () => (await ledger().outcomes(late)).some((each) => each), { what: 'the workers to begin' });
    await Promise.all(late.map(race));

    const seen = { canceled: 0, set: 0 };
    for (const [i, id] of ids.entries()) {
      const { org, user, password } = people[i] as (typeof people)[number];
      const ended = (await pf.done(id)).ended as 'canceled' | 'set';
      seen[ended]++;
      // Whoever was told "cancelled" was told the truth, and for good.
      expect(answers.get(id)).toEqual(ended === 'canceled' ? [200, 200] : [409, 409]);
      await waitFor(async () => !(await queued(id)), { what: 'the queue to let it go' });
      expect(await pf.works(org, user, password)).toBe(ended === 'set');
    }
    expect(seen.canceled + seen.set).toBe(50);
    expect(Math.min(seen.canceled, seen.set)).toBeGreaterThan(0);
  });

  it('against a start in the same moment: exactly one wins, 50 times', async () => {
    const other = new Redis(pf.redis.url);
    atEnd(async () => other.disconnect());
    const theirs = createLedger({ redis: other, keys, jobKey: jobKey(), retentionMs: 86_400_000 });
    for (let round = 0; round < 50; round++) {
      const user = randomUUID();
      const jobId = makeJobId(jobKey().current, 'acme');
      const at = await theirs.reserve({
        ...{
          keyDigest: randomUUID(),
          jobId,
          fingerprint: 'a.b',
          caller: 'full',
          org: 'acme',
          user,
          expiresInMs: 60_000,
        },
      });
      const record = await theirs.job(jobId);
      if (!record) throw new Error('not reserved');
      const data = { ...unsigned(jobId, user), seq: at.seq, acceptedAt: at.acceptedAt, expiresAt: at.expiresAt };
      const [begun, cancelled] = await Promise.all([
        theirs.begin(data, { token: 't', leaseMs: 60_000, backend: 'v1', exact: true }),
        ledger().cancel(record),
      ]);
      expect([
        ['go', 'begun'],
        ['done', 'ended'],
      ]).toContainEqual([begun.kind, cancelled.kind]);
    }
  });
});

function unsigned(jobId: string, user: string): SetPasswordData {
  const who = { caller: 'full', org: 'acme', user, changeRequired: true, admin: false, overwriteNewer: false };
  const rest = { seq: '0', acceptedAt: 0, expiresAt: 0, dataKey: '', sealed: '', mac: '' };
  return { v: 1, name: 'set-password', jobId, ...who, ...rest };
}

async function dataOf(id: string): Promise<SetPasswordData> {
  const queue = new Queue(queueNames.interactive, { connection: redis, prefix: keys.bullPrefix });
  const data = (await queue.getJob(id))?.data as SetPasswordData;
  expect(data.mac).toBe(sign(jobKey(), 'job', jobParts(data)));
  return data;
}

describe('POST /jobs', () => {
  it('takes what is good and says of each item what became of it', async () => {
    const [user, other, third] = [await person('acme'), await person('globex'), await person('acme')];
    const [password, secret] = [newPassword(), newPassword()];
    const key = `k-${randomUUID()}`;
    const answer = await batch([
      { user, password, noChangeRequired: true, idempotencyKey: key, expiresIn: 60 },
      { user: other, org: 'globex', password, changeRequired: false },
      { user: '', password: 'x'.repeat(73) },
      { user, password: secret, org: 'elsewhere' },
      null,
      { user, password: 7, changeRequired: 'no', expiresIn: 0, idempotencyKey: 'ü' },
      { user: third, password, changeRequired: true, noChangeRequired: true },
      { user: third, password, idempotencyKey: key },
    ]);
    expect(answer.status).toBe(202);
    expect(answer.body).toMatchObject({ accepted: 2, refused: 6 });
    const [first, second, ...refused] = answer.body.jobs;
    expect(first).toMatchObject({ status: 'accepted', idempotencyKey: key, replayed: false });
    expect(Date.parse(first.expiresAt) - Date.parse(first.acceptedAt)).toBe(60_000);
    expect(second).toMatchObject({ status: 'accepted', idempotencyKey: expect.stringMatching(/^pf-/) });
    expect(refused).toMatchObject([
      { reason: 'user_id_missing', fields: [{ field: 'user' }, { field: 'password', reason: 'password_too_long' }] },
      { code: 'not_found', reason: 'AUTHZ-cdgFk' },
      { reason: 'field_type', fields: [{ field: 'jobs' }] },
      {
        fields: [
          { field: 'changeRequired', reason: 'field_type' },
          { field: 'expiresIn', reason: 'expires_invalid' },
          { field: 'idempotencyKey', reason: 'idempotency_key_invalid' },
          { field: 'password', reason: 'field_type' },
        ],
      },
      { reason: 'field_type', fields: [{ field: 'changeRequired' }] },
      { reason: 'idempotency_key_reused' },
    ]);
    for (const text of [password, secret, 'xxx', 'elsewhere', 'ü']) expect(answer.text).not.toContain(text);
    for (const { id } of [first, second]) expect(await pf.done(id)).toMatchObject({ ended: 'set' });
    expect(await pf.works('acme', user, password)).toBe(true);
    expect(await pf.works('globex', other, password)).toBe(true);

    const again = await batch([{ user, password, noChangeRequired: true, idempotencyKey: key }]);
    expect(again.body.jobs).toMatchObject([{ id: first.id, replayed: true }]);
  });

  it('keeps the order of the items of one user', async () => {
    const [user, password] = [await person('acme'), newPassword()];
    await holds().put('v1', 'test', 'test');
    const passwords = Array.from({ length: 8 }, () => newPassword());
    const { body } = await batch([...passwords, password].map((each) => ({ user, password: each })));
    const seqs = await Promise.all(
      body.jobs.map(async ({ id }: JobView) => BigInt((await redis.hget(keys.job(id), 'seq')) ?? '0')),
    );
    expect(seqs).toEqual([...seqs].sort((a, b) => (a < b ? -1 : 1)));
    await holds().lift('v1');
    for (const { id } of body.jobs) await pf.done(id);
    expect(await pf.works('acme', user, password)).toBe(true);
  });

  it('is 422 with a word on each item when none was accepted', async () => {
    const refused = await batch([{ user: 'a' }, { password: 'b' }]);
    expect(refused).toMatchObject({
      status: 422,
      body: {
        status: 422,
        reason: 'items_refused',
        accepted: 0,
        refused: 2,
        jobs: [{ reason: 'password_missing' }, { reason: 'user_id_missing' }],
      },
    });
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
    const reader = await batch([{ user: 'a', password: newPassword() }], { as: 'reader' });
    expect(reader).toMatchObject({
      status: 422,
      body: { jobs: [{ reason: 'AUTH-5mWD2', code: 'permission_denied' }] },
    });
  });

  it('takes 1,000 items', async () => {
    await holds().put('v1', 'test', 'test');
    const jobs = Array.from({ length: 1_000 }, (_, i) => ({ user: `many-${i}`, password: newPassword() }));
    const { status, body } = await batch(jobs);
    expect(status).toBe(202);
    expect(body).toMatchObject({ accepted: 1_000, refused: 0 });
    expect(new Set(body.jobs.map(({ id }: JobView) => id)).size).toBe(1_000);
    expect(body.jobs.map(({ idempotencyKey }: { idempotencyKey: string }) => idempotencyKey)).toHaveLength(1_000);
    const at = 537;
    expect((await pf.get(`/jobs/${body.jobs[at].id}`)).body.user).toBe(`many-${at}`);
    // Sent again as a whole, as proxies do: the same jobs.
    const again = await batch(jobs);
    expect(again.body.jobs.map(({ id }: JobView) => id)).toEqual(body.jobs.map(({ id }: JobView) => id));
    await Promise.all(body.jobs.map(({ id }: JobView) => cancel(id)));
  });

  it.each([
    ['no JSON', '{"jobs":', 400, 'body_not_json'],
    ['no body', '', 400, 'body_not_json'],
    ['a list', '[]', 400, 'body_not_object'],
    ['no list', '{"jobs":{"0":1}}', 400, 'field_type'],
    ['a list of the prototype', '{"__proto__":{"jobs":[]}}', 400, 'field_type'],
    ['no items', '{"jobs":[]}', 400, 'items_count'],
    ['1,001 items', `{"jobs":[${'{},'.repeat(1_000)}{}]}`, 400, 'items_count'],
    ['over 1 MiB', `{"jobs":["${'x'.repeat(1024 * 1024)}"]}`, 413, 'body_too_large'],
  ])('refuses %s', async (_, body, status, reason) => {
    const answer = await pf.post('/jobs', body, { headers: { 'content-type': 'application/json' } });
    expect(answer).toMatchObject({ status, body: { status, reason } });
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
  });

  it('refuses other media types and strangers', async () => {
    const form = { headers: { 'content-type': 'application/x-www-form-urlencoded' } };
    expect(await pf.post('/jobs', 'a=b', form)).toMatchObject({
      status: 415,
      body: { reason: 'media_type_unsupported' },
    });
    expect(await batch([{}], { as: null })).toMatchObject({ status: 401, body: { reason: 'auth_header_missing' } });
    const elsewhere = { headers: { 'x-zitadel-orgid': 'nowhere' } };
    expect(await batch([{}], elsewhere)).toMatchObject({ status: 422, body: { jobs: [{ reason: 'AUTHZ-cdgFk' }] } });
  });
});

describe('GET /jobs', () => {
  const ids = (body: { jobs: JobView[] }) => body.jobs.map(({ id }) => id);

  it('lists the jobs of a user, newest first, page by page', async () => {
    const user = await person('acme');
    const made: string[] = [];
    for (let i = 0; i < 5; i++) made.unshift(await accept('acme', user, newPassword()));
    for (const id of made) await pf.done(id);
    const all = await pf.get(`/jobs?user=${user}&org=acme`);
    expect(ids(all.body)).toEqual(made);
    expect(all.body).not.toHaveProperty('next');
    expect(all.body.jobs[0]).toEqual((await pf.get(`/jobs/${made[0]}`)).body);

    const first = (await pf.get(`/jobs?user=${user}&limit=2`)).body;
    // Newer ones do not move the pages.
    await accept('acme', user, newPassword());
    const second = (await pf.get(`/jobs?user=${user}&limit=2&cursor=${first.next}`)).body;
    const third = (await pf.get(`/jobs?user=${user}&limit=2&cursor=${second.next}`)).body;
    expect([...ids(first), ...ids(second), ...ids(third)]).toEqual(made);
    expect(third).not.toHaveProperty('next');
  });

  it('lists those in a state, and forgets what is gone', async () => {
    const user = await person('acme');
    const set = await accept('acme', user, newPassword());
    const gone = await accept('acme', user, newPassword());
    for (const id of [set, gone]) await pf.done(id);
    const open = await waiting('acme', user, newPassword());
    await redis.del(keys.job(gone));
    const list = async (query: string) => ids((await pf.get(`/jobs?user=${user}&${query}`)).body);
    expect(await list('')).toEqual([open, set]);
    expect(await list('state=completed')).toEqual([set]);
    expect(await list('state=delayed')).toEqual([open]);
    expect(await list('state=failed')).toEqual([]);
    expect(await list('state=quarantined')).toEqual([]);
    expect(await redis.zcard(keys.userJobs('acme', user))).toBe(2);
  });

  it('keeps the newest 100 of a user, as long as they are kept', async () => {
    const user = randomUUID();
    await holds().put('v1', 'test', 'test');
    const items = Array.from({ length: 105 }, () => ({ user, password: newPassword() }));
    const { body } = await batch(items);
    const listed = ids((await pf.get(`/jobs?user=${user}&limit=500`)).body);
    expect(listed).toEqual(ids(body).reverse().slice(0, 100));
    const index = keys.userJobs('acme', user);
    expect(await redis.pttl(index)).toBeGreaterThan(7 * 86_400_000);
    await Promise.all(ids(body).map((id) => cancel(id)));
  });

  it('shows nothing of another organization', async () => {
    const user = await person('globex');
    await pf.done(await accept('globex', user, newPassword()));
    expect((await pf.get(`/jobs?user=${user}&org=acme`)).body).toEqual({ jobs: [] });
    const reader = await pf.get(`/jobs?user=${user}&org=globex`, { as: 'reader' });
    expect(reader).toMatchObject({ status: 404, body: { reason: 'AUTHZ-cdgFk' } });
  });

  it.each([
    ['state=waiting', 'user_id_missing'],
    ['user=a&state=lost', 'field_type'],
    ['user=a&limit=0', 'field_type'],
    ['user=a&limit=501', 'field_type'],
    ['user=a&cursor=1-j0-aa', 'cursor_invalid'],
    ['state=failed&cursor=s1', 'cursor_invalid'],
    ['user=a&org=%00', 'org_id_invalid'],
    ['user=a&user=b', 'field_type'],
  ])('refuses ?%s', async (query, reason) => {
    expect(await pf.get(`/jobs?${query}`)).toMatchObject({ status: 400, body: { status: 400, reason } });
  });
});

describe('what these routes do not have', () => {
  it.each([
    ['PUT', '/jobs', 'GET, HEAD, POST'],
    ['DELETE', '/jobs', 'GET, HEAD, POST'],
    ['OPTIONS', '/jobs', 'GET, HEAD, POST'],
    ['PATCH', '/jobs/j0-a', 'GET, HEAD, DELETE'],
    ['POST', '/jobs/j0-a', 'GET, HEAD, DELETE'],
    ['OPTIONS', '/jobs/j0-a', 'GET, HEAD, DELETE'],
    ['PUT', '/jobs:retry', 'POST'],
  ])('%s %s is 405 and says what there is', async (method, path, allow) => {
    const answer = await pf.send(method, path, undefined);
    expect(answer).toMatchObject({ status: 405, body: { status: 405, reason: 'method_not_allowed' } });
    expect(answer.headers.get('allow')).toBe(allow);
  });

  it('HEAD tells what GET does, without the body', async () => {
    const id = await accept('acme', await person('acme'), newPassword());
    await pf.done(id);
    const { headers } = await pf.get(`/jobs/${id}`);
    const head = await pf.send('HEAD', `/jobs/${id}`, undefined);
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(head.headers.get('etag')).toBe(headers.get('etag'));
    expect((await pf.get('/jobs/a/b')).status).toBe(404);
  });
});

it('passferry cancel takes back each, says what was too late, and exits so', async () => {
  const done = await accept('acme', await person('acme'), newPassword());
  await pf.done(done);
  const open = await waiting('acme', await person('acme'), newPassword());
  expect(await cli('cancel', open)).toMatchObject({ code: 0, out: `${open}: cancelled; its password is not set\n` });
  const mixed = await cli('cancel', open, done);
  expect(mixed.code).toBe(1);
  expect(mixed.out).toContain(`${done}: NOT cancelled: `);
  expect(mixed.out).toContain('(job_done); it ended set');
  const [told] = (await cli('cancel', '--json', done)).out.trim().split('\n');
  expect(JSON.parse(told ?? '')).toMatchObject({ id: done, reason: 'job_done', ended: 'set' });
});

it('the library cancels too', async () => {
  const library = await createProducer({ redisUrl: pf.redis.url, keysDir: pf.keysDir });
  atEnd(() => library.close());
  await holds().put('v1', 'test', 'test');
  const { jobId } = await library.setPassword({ org: 'acme', user: randomUUID(), password: newPassword() });
  expect(await library.cancel(jobId)).toMatchObject({ done: true, ended: 'canceled' });
  expect(await library.wait(jobId, 5_000)).toMatchObject({ code: 'canceled', reason: 'job_canceled' });
  await expect(library.cancel('j0-nothing')).rejects.toMatchObject({ reason: 'job_unknown' });
});

it('without Redis these routes say so', async () => {
  const own = await startPassferry({ proxies: true });
  const { body } = await own.set('acme', randomUUID(), newPassword(), later);
  await own.redisProxy?.cut();
  const json = { headers: { 'content-type': 'application/json' } };
  for (const path of [`/jobs/${body.id}`, '/jobs?user=a', '/jobs', '/jobs?state=quarantined']) {
    expect(await own.get(path)).toMatchObject({ status: 503, body: { reason: 'redis_down' } });
  }
  expect(await own.send('DELETE', `/jobs/${body.id}`, undefined)).toMatchObject({ status: 503 });
  const items = Array.from({ length: 50 }, (_, i) => ({ user: `u${i}`, password: newPassword() }));
  const refused = await own.post('/jobs', { jobs: items }, json);
  expect(refused).toMatchObject({ status: 503, body: { reason: 'accept_unknown', accepted: 0, refused: 50 } });
  expect(refused.body.jobs[0].idempotencyKey).toMatch(/^pf-/);
  await own.redisProxy?.restore();
});

it('whoever waits is answered when the process closes', async () => {
  const own = await startPassferry();
  const theirs = new Redis(own.redis.url);
  await createHolds(theirs, keys, readJobKey(own.keysDir)).put('v1', 'test', 'test');
  theirs.disconnect();
  const user = randomUUID();
  await own.addUser('acme', user);
  const { body } = await own.set('acme', user, newPassword(), later);
  const asked = own.get(`/jobs/${body.id}`, prefer(20));
  const known = own.get(`/jobs/${body.id}`);
  expect((await known).body.done).toBe(false);
  await own.close();
  expect(await asked).toMatchObject({ status: 200, body: { done: false } });
});

function cli(...args: string[]): Promise<{ code: number | null; out: string }> {
  const env = { ...process.env, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token };
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], { cwd: root, env });
  let out = '';
  child.stdout.on('data', (part) => {
    out += part;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out }));
  });
}
