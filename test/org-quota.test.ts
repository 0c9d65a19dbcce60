import { randomBytes, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { failure, type SetPasswordData } from '../src/job.ts';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createHolds } from '../src/ledger/holds.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { readLoad, storedBytes } from '../src/ledger/load.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { pageScene } from './kit/pages.ts';
import type { Passferry, RequestOptions } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';

let pf: Passferry;
let redis: Redis;
const keys = redisKeys('passferry');
const later = { headers: { prefer: 'respond-async' } };
const most = 3;

beforeAll(async () => {
  pf = await startPassferry({ serveEnv: { PASSFERRY_ORG_MAX_WAITING: String(most) } });
  redis = new Redis(pf.redis.url, { maxRetriesPerRequest: null });
  atEnd(async () => redis.disconnect());
});

const holds = () => createHolds(redis, keys, readJobKey(pf.keysDir));

afterEach(async () => {
  for (const backend of ['v1', 'v2'] as const) await holds().lift(backend);
  await expect.poll(() => redis.hgetall(keys.load), { timeout: 120_000 }).toEqual({});
});

const own = (user: string, more: RequestOptions = later) =>
  pf.post(
    `/users/${user}/password`,
    { password: newPassword() },
    { ...more, headers: { 'x-zitadel-orgid': 'acme', ...more.headers } },
  );

/** Acme has as many jobs as it may; its backend is held. */
async function full(): Promise<string[]> {
  await holds().put('v1', 'test', 'test');
  const ids: string[] = [];
  for (let i = 0; i < most; i++) ids.push((await own(randomUUID())).body.id);
  return ids;
}

describe('an organization that has as much waiting as it may', () => {
  it('is refused with 429, a reason and when to come again', async () => {
    await full();
    for (const refused of [await own(randomUUID()), await pf.set('acme', randomUUID(), newPassword(), later)]) {
      expect(refused).toMatchObject({ status: 429, body: { code: 8 } });
      expect(refused.headers.get('passferry-reason')).toBe('org_quota');
      expect(refused.headers.get('retry-after')).toBe('5');
    }
  });

  it('stops no other organization', async () => {
    await full();
    const answer = await pf.set('globex', randomUUID(), newPassword(), later);
    expect(answer.status).toBe(202);
  });

  it('hears of a job that it has, under its key, and is let in again when one has ended', async () => {
    await holds().put('v1', 'test', 'test');
    const user = randomUUID();
    const password = newPassword();
    const named = { headers: { ...later.headers, 'idempotency-key': `k-${user}` } };
    const first = await pf.set('acme', user, password, named);
    for (let i = 1; i < most; i++) await own(randomUUID());
    const again = await pf.set('acme', user, password, named);
    expect(again).toMatchObject({ status: 202, body: { id: first.body.id } });
    expect((await own(randomUUID())).status).toBe(429);
    expect((await pf.send('DELETE', `/jobs/${first.body.id}`, undefined)).status).toBe(200);
    expect((await own(randomUUID())).status).toBe(202);
  });

  it('is told so for each item of a batch by itself', async () => {
    await holds().put('v1', 'test', 'test');
    const jobs = [...Array.from({ length: most + 1 }, () => 'acme'), 'globex'].map((org) => ({
      ...{ org, user: randomUUID(), password: newPassword(), idempotencyKey: `k-${randomUUID()}` },
    }));
    const json = { headers: { 'content-type': 'application/json' } };
    const answer = await pf.post('/jobs', { jobs }, json);
    expect(answer).toMatchObject({ status: 202, body: { accepted: most + 1, refused: 1 } });
    const refused = answer.body.jobs.find((job: { status: string }) => job.status === 'refused');
    expect(refused).toMatchObject({ reason: 'org_quota', idempotencyKey: expect.stringMatching(/^k-/) });
    const none = await pf.post(
      '/jobs',
      { jobs: jobs.slice(0, 1).map((job) => ({ ...job, idempotencyKey: 'o' })) },
      json,
    );
    expect(none).toMatchObject({ status: 429, body: { reason: 'org_quota', accepted: 0 } });
    expect(none.headers.get('content-type')).toContain('application/problem+json');
    expect(none.headers.get('retry-after')).toMatch(/^[1-9]/);
  });

  it('may import all the same, for rows are counted by their run', async () => {
    const ids = await full();
    const rows = Array.from({ length: 10 }, () => JSON.stringify({ userId: randomUUID(), password: newPassword() }));
    const answer = await pf.post('/imports?asOf=now', rows.join('\n'), {
      headers: { 'content-type': 'application/x-ndjson', 'x-zitadel-orgid': 'acme', 'idempotency-key': randomUUID() },
    });
    expect(answer).toMatchObject({ status: 202, body: { received: 10, rejected: 0 } });
    expect(await readLoad(redis, keys, 'acme')).toMatchObject({ jobs: ids.length });
  });
});

it('a batch of more than fifty waits with the rows, and its jobs can be asked for and end as others do', async () => {
  const jobs = Array.from({ length: 51 }, (_, i) => ({
    ...{ org: i % 2 ? 'acme' : 'globex', user: randomUUID(), password: newPassword() },
  }));
  const answer = await pf.post('/jobs', { jobs }, { headers: { 'content-type': 'application/json' } });
  const ids = answer.body.jobs.flatMap((job: { id?: string }) => job.id ?? []) as string[];
  expect(ids.length).toBeGreaterThanOrEqual(2 * most);
  for (const id of ids) expect(await redis.hget(keys.job(id), 'queue')).toBe('rows');
  // Nobody has these users.
  for (const id of ids) expect(await pf.done(id)).toMatchObject({ state: 'failed' });
  const [id] = ids as [string];
  const again = await pf.post(`/jobs/${id}:retry`, {}, { headers: { 'content-type': 'application/json' } });
  expect(again.status).toBe(200);
  expect(await pf.done(id)).toMatchObject({ state: 'failed', reopened: 1 });
});

/** What may happen to jobs of two organizations, in any order. */
const kinds = [
  'accept',
  'rows',
  'set',
  'fail',
  'expire',
  'cancel',
  'retry',
  'drop',
  'lose',
  'start',
  'forget',
] as const;
const steps = fc.array(fc.record({ what: fc.constantFrom(...kinds), which: fc.nat(30) }), {
  ...{ minLength: 10, maxLength: 60, size: 'max' as const },
});

test('after any walk of accepts, ends, cancels, expiries and retries the counters are what a full count says', async () => {
  const jobKey = { current: randomBytes(32) };
  async function walk(walked: { what: (typeof kinds)[number]; which: number }[]): Promise<void> {
    const own = redisKeys(`q${randomBytes(8).toString('hex')}`);
    const ledger = createLedger({ redis, keys: own, jobKey, retentionMs: 60_000 });
    const scene = pageScene(redis, own, jobKey);
    await ledger.raiseFloor(0n);
    const jobs: SetPasswordData[] = [];
    const limit = { jobs: 6, bytes: 1e9 };
    const orgs = ['a', 'b:7'];
    for (const [i, { what, which }] of walked.entries()) {
      const org = orgs[which % 2] as string;
      const job = jobs[which % Math.max(1, jobs.length)];
      if (what === 'accept') {
        const jobId = `j${i}`;
        // Some under a key that is known.
        const request = { keyDigest: `k${which % 9}`, fingerprint: 'f.1', caller: 'c', org, user: `u${which % 3}` };
        const queue = which % 5 === 0 ? 'rows' : 'interactive';
        const reply = await ledger
          .reserve({
            ...request,
            jobId,
            expiresInMs: 60_000,
            limit,
            queue,
            ...(which % 4 === 0 && { isSame: async () => true }),
          })
          .catch((error: PassferryError) => error.reason);
        if (typeof reply === 'string') expect(['org_quota', 'idempotency_key_reused']).toContain(reply);
        else if (reply.jobId === jobId) jobs.push(dataOf(jobId, org, request.user, reply));
      } else if (what === 'rows') {
        const id = `r0-${String(i).padStart(26, '0')}`;
        await scene.store({ id, org }, [{ line: 1, user: 'u' }]);
        jobs.push(await scene.job(id, 1));
      } else if (!job) {
      } else if (what === 'set') {
        await ledger.commit(job, { result: 'set', inEffect: true, backend: 'v1', at: 0 }, { changedAt: i });
      } else if (what === 'fail' || what === 'expire') {
        const reason = what === 'fail' ? 'refused' : 'job_expired';
        await ledger.commit(job, failure(new PassferryError(reason), 0, 'v1'));
      } else if (what === 'cancel') {
        const record = await ledger.job(job.jobId);
        if (record) await ledger.cancel(record);
      } else if (what === 'retry') {
        await redis.set(own.dataKey('d'), 'x');
        await ledger.reopen({ ...job, expiresAt: job.expiresAt + 1_000 }, 'somebody');
      } else if (what === 'drop') {
        const record = await ledger.job(job.jobId);
        if (record?.outcome) await ledger.drop(record, 'somebody', 'why');
      } else if (what === 'lose') {
        // Its record has come to its time, or was lost.
        await redis.del(own.job(job.jobId));
      } else if (what === 'start') {
        await ledger.begin(job, { token: `t${i}`, leaseMs: 1, backend: 'v1', exact: true });
      } else {
        const past = await redis.zrange(own.open, 0, -1);
        await Promise.all(past.map((id) => redis.zadd(own.open, 1, id)));
        await ledger.overdue(100, 0);
      }
    }
    const open = new Set(await redis.zrange(own.open, 0, -1));
    for (const org of orgs) {
      const mine = jobs.filter((job) => job.org === org && job.run === undefined && open.has(job.jobId));
      const bytes = mine.reduce((sum, job) => sum + storedBytes(job), 0);
      expect(await readLoad(redis, own, org), JSON.stringify(walked)).toEqual({ jobs: mine.length, bytes });
    }
    const counted = jobs.filter((job) => job.run === undefined && open.has(job.jobId)).map(({ jobId }) => jobId);
    expect((await redis.hkeys(own.counted)).sort()).toEqual(counted.sort());
    const all = await redis.keys(`{${own.namespace}:0}:*`);
    if (all.length > 0) await redis.unlink(...all);
  }
  await fc.assert(fc.asyncProperty(steps, walk), { numRuns: 300 });
});

function dataOf(
  jobId: string,
  org: string,
  user: string,
  { seq, acceptedAt, expiresAt }: { seq: string; acceptedAt: number; expiresAt: number },
): SetPasswordData {
  return {
    ...{ v: 1, name: 'set-password', jobId, caller: 'c', org, user, seq, acceptedAt, expiresAt },
    ...{ changeRequired: true, admin: false, overwriteNewer: false, dataKey: 'd', sealed: 's', mac: 'm' },
  };
}
