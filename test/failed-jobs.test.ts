import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { type JobView, queueNames, type SetPasswordData } from '../src/job.ts';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { jobParts, sign } from '../src/signature.ts';
import { bytes, find, makeCanary, readRedis } from './kit/canary.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import type { Passferry, RequestOptions } from './kit/passferry.ts';
import { startPassferry, v2Token } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** Jobs that failed because their user did not exist yet; adding the user repairs the cause. */
const unknown = 'COMMAND-G8dh3';
const orgs = ['acme', 'globex'] as const;
type Org = (typeof orgs)[number];
const keys = redisKeys('passferry');
const later = { headers: { prefer: 'respond-async' } };
const admin = { as: 'admin' } as const;

let pf: Passferry;
let redis: Redis;
let queues: Queue[];

beforeAll(async () => {
  pf = await startPassferry();
  redis = new Redis(pf.redis.url, { maxRetriesPerRequest: null });
  queues = Object.values(queueNames).map((name) => new Queue(name, { connection: redis, prefix: keys.bullPrefix }));
  atEnd(async () => {
    await Promise.all(queues.map((queue) => queue.close()));
    redis.disconnect();
  });
});

const ledger = () => createLedger({ redis, keys, jobKey: readJobKey(pf.keysDir), retentionMs: 86_400_000 });
const json = (path: string, body: object, more: RequestOptions = {}) =>
  pf.post(path, body, { ...more, headers: { 'content-type': 'application/json', ...more.headers } });
const retry = (id: string, body: object = {}, more: RequestOptions = {}) => json(`/jobs/${id}:retry`, body, more);
const view = async (id: string) => (await pf.get(`/jobs/${id}`)).body as JobView;
const failedOf = async (org: Org, query = '') => (await pf.get(`/jobs?org=${org}&state=failed${query}`)).body;

/** Without a password, so that no change of theirs is newer than the job. */
async function repair(org: Org, user: string): Promise<void> {
  if (org === 'acme') await pf.addV1({ id: user, org });
  else await pf.addV2({ id: user, org, userName: user });
}

async function fail(org: Org, user: string, password: string, more: RequestOptions = later): Promise<JobView> {
  const { body } = await pf.set(org, user, password, more);
  const job = await pf.done(body.id);
  expect(job).toMatchObject({ state: 'failed', outcome: { reason: unknown } });
  await waitFor(async () => (await queued(job.id))?.isFailed(), { what: 'the queue to know too' });
  return job;
}

async function queued(id: string) {
  for (const queue of queues) {
    const job = await queue.getJob(id);
    if (job) return job;
  }
  return undefined;
}

async function dataOf(id: string): Promise<SetPasswordData> {
  const job = await queued(id);
  return job?.data as SetPasswordData;
}

async function changeByUser(org: Org, user: string, password: string, acceptedAt: string): Promise<void> {
  // Beyond the tolerance for clocks that differ.
  const beyond = Date.parse(acceptedAt) + 2_100;
  await waitFor(() => Date.now() > beyond, { what: 'the tolerance to pass' });
  if (org === 'acme') {
    await pf.v1.addUsers([{ id: user, org, password }]);
    return;
  }
  await repair(org, user);
  await fetch(`${pf.sandbox.url}/v2/users/${user}/password`, {
    method: 'POST',
    headers: { authorization: `Bearer ${v2Token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ newPassword: { password } }),
  });
}

async function importRows(users: string[]) {
  const rows = users.map((user) => `${user},${newPassword()}`).join('\n');
  const { body } = await pf.post('/imports?asOf=now', `userId,password\n${rows}\n`, {
    headers: { 'content-type': 'text/csv' },
  });
  return body.id as string;
}
const run = async (id: string) => (await pf.get(`/imports/${id}`)).body;
const rejectedRows = async (id: string) =>
  (await pf.get(`/imports/${id}/rejects`)).text.split('\n').filter((line) => line !== '');
const completed = (id: string) =>
  waitFor(async () => ((await run(id)).state === 'completed' ? run(id) : undefined), { what: 'the run to complete' });

describe.each(orgs)('a failed job in %s', (org) => {
  it('is listed with its reason, and a retry sets it once the cause is repaired', async () => {
    const [user, password] = [randomUUID(), newPassword()];
    const job = await fail(org, user, password);
    const { jobs } = await failedOf(org, `&user=${user}`);
    expect(jobs).toEqual([job]);
    expect(Date.parse(job.retryUntil as string)).toBeGreaterThan(Date.now() + 23 * 3_600_000);

    await repair(org, user);
    const answer = await retry(job.id);
    expect(answer).toMatchObject({ status: 200, body: { id: job.id, reopened: 1, reopenedBy: 'full' } });
    const done = await pf.done(job.id);
    expect(done).toMatchObject({ reopened: 1, outcome: { result: 'set', inEffect: true } });
    expect(done).not.toHaveProperty('retryUntil');
    expect(Date.parse(done.expiresAt)).toBeGreaterThan(Date.parse(job.expiresAt));
    expect(await pf.works(org, user, password)).toBe(true);
    expect((await failedOf(org, `&user=${user}`)).jobs).toEqual([]);
    expect((await retry(job.id)).body).toMatchObject({ status: 400, reason: 'job_not_failed' });
  });

  it('does not overtake: a newer password stays', async () => {
    const [user, older, newer] = [randomUUID(), newPassword(), newPassword()];
    const job = await fail(org, user, older);
    await repair(org, user);
    expect((await pf.set(org, user, newer)).status).toBe(200);
    expect((await retry(job.id)).status).toBe(200);
    expect(await pf.done(job.id)).toMatchObject({ outcome: { result: 'superseded', inEffect: false } });
    expect(await pf.works(org, user, newer)).toBe(true);
  });

  it("leaves a person's later choice, unless an admin overwrites it, which is on record", async () => {
    const [user, ours, theirs] = [randomUUID(), newPassword(), newPassword()];
    const job = await fail(org, user, ours);
    const other = await fail(org, user, ours);
    await changeByUser(org, user, theirs, other.acceptedAt);
    expect((await retry(job.id)).status).toBe(200);
    expect(await pf.done(job.id)).toMatchObject({ outcome: { result: 'stale', inEffect: false } });
    expect(await pf.works(org, user, theirs)).toBe(true);

    expect((await retry(other.id, { overwriteNewer: true })).status).toBe(403);
    expect((await retry(other.id, { overwriteNewer: true }, admin)).status).toBe(200);
    const done = await pf.done(other.id);
    expect(done).toMatchObject({ overwriteNewerBy: 'admin', outcome: { result: 'set', inEffect: true } });
    expect(await pf.works(org, user, ours)).toBe(true);
    const audit = pf.lines.map((line) => JSON.parse(line));
    expect(audit).toContainEqual(expect.objectContaining({ jobId: other.id, by: 'admin', overwriteNewer: true }));
  });

  it('is found under its idempotency key for as long as the retried job is known', async () => {
    const [user, password, key] = [randomUUID(), newPassword(), randomUUID()];
    const named = { headers: { ...later.headers, 'idempotency-key': key } };
    const job = await fail(org, user, password, named);
    const stored = (await redis.hget(keys.job(job.id), 'key')) as string;
    await redis.pexpire(stored, 60_000);
    await redis.pexpire(keys.job(job.id), 60_000);
    await repair(org, user);
    expect((await retry(job.id)).status).toBe(200);
    expect(await redis.pttl(stored)).toBeGreaterThan(7 * 86_400_000);
    expect(await pf.done(job.id)).toMatchObject({ outcome: { result: 'set' } });
    const again = await pf.set(org, user, password, named);
    expect(again.headers.get('passferry-job')).toBe(job.id);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
  });

  it('that ended expired is retried under a new expiry', async () => {
    const [user, password] = [randomUUID(), newPassword()];
    const headers = { prefer: 'respond-async', 'passferry-expires-in': '1' };
    await Promise.all(queues.map((queue) => queue.pause()));
    const { body } = await pf.set(org, user, password, { headers });
    const job = await pf.done(body.id);
    await Promise.all(queues.map((queue) => queue.resume()));
    expect(job.outcome).toMatchObject({ code: 'expired', reason: 'job_expired' });
    await repair(org, user);
    expect((await retry(job.id)).status).toBe(200);
    expect(await pf.done(job.id)).toMatchObject({ outcome: { result: 'set', inEffect: true } });
  });
});

describe('many', () => {
  it('of a file are rows of its import, with a retry of their own', async () => {
    const users = Array.from({ length: 7 }, () => randomUUID());
    await repair('acme', users[0] as string);
    const before = (await failedOf('acme')).jobs.length;
    const id = await importRows(users);
    expect(await completed(id)).toMatchObject({ received: 7, finished: 7, set: 1, failed: 6 });
    expect(await rejectedRows(id)).toHaveLength(6);
    expect((await failedOf('acme')).jobs).toHaveLength(before);

    for (const user of users.slice(1, 5)) await repair('acme', user);
    expect((await json(`/imports/${id}:retry`, {})).status).toBe(200);
    const settled = await waitFor(async () => ((await run(id)).set === 5 ? completed(id) : undefined), {
      what: 'five',
    });
    expect(settled).toMatchObject({ received: 7, finished: 7, set: 5, failed: 2, expired: 0 });
    expect(await rejectedRows(id)).toHaveLength(2);
  });

  it('match nothing of another reason or user', async () => {
    const job = await fail('acme', randomUUID(), newPassword());
    for (const other of [{ reason: 'job_expired' }, { user: randomUUID() }]) {
      const { body } = await json('/jobs:retry', { org: 'acme', user: job.user, ...other });
      expect(body).toEqual({ matched: 0, retried: 0, skipped: {} });
    }
  });

  it('come in pages, newest first, each once', async () => {
    const user = randomUUID();
    const jobs = [];
    for (let i = 0; i < 5; i++) jobs.push(await fail('globex', user, newPassword()));
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await failedOf('globex', `&user=${user}&limit=2${cursor}`);
      seen.push(...page.jobs.map((job: JobView) => job.id));
      cursor = page.next ? `&cursor=${page.next}` : '';
    } while (cursor);
    expect(seen).toEqual(jobs.map((job) => job.id).reverse());
  });
});

describe('the secret of a failed job', () => {
  it('is destroyed in its time, and then a retry says so', async () => {
    const canary = makeCanary();
    const job = await fail('acme', randomUUID(), canary.password);
    const { sealed } = await dataOf(job.id);
    expect((await readRedis(redis, pf.redis.dir)).values).toContain(sealed);
    // Its time has come.
    await redis.zadd(keys.failedSecrets, 1, job.id);
    await waitFor(async () => !(await queued(job.id)), { what: 'the queue to have lost the job' });
    const { values = '', streams = '' } = await readRedis(redis, pf.redis.dir);
    expect(values + streams).not.toContain(sealed);
    expect(find(canary, bytes(values + streams))).toEqual([]);
    expect(await redis.zscore(keys.failedSecrets, job.id)).toBeNull();

    expect((await retry(job.id)).body).toMatchObject({ status: 400, reason: 'secret_destroyed' });
    const known = await view(job.id);
    expect(known).toMatchObject({ state: 'failed', outcome: { reason: unknown } });
    expect(known).not.toHaveProperty('retryUntil');
    const many = await json('/jobs:retry', { org: 'acme', user: job.user });
    expect(many.body).toEqual({ matched: 1, retried: 0, skipped: { secret_destroyed: 1 } });
  });

  it('stays when the job was reopened before its time', async () => {
    const job = await fail('acme', randomUUID(), newPassword());
    await Promise.all(queues.map((queue) => queue.pause()));
    expect((await retry(job.id)).status).toBe(200);
    expect(await ledger().condemnSecret(job.id)).toBe(false);
    expect(await redis.zscore(keys.failedSecrets, job.id)).toBeNull();
    await Promise.all(queues.map((queue) => queue.resume()));
    await pf.done(job.id);
    expect(await queued(job.id)).toBeDefined();
  });

  it('goes at once when the job is dropped; who and why is told, the outcome stays', async () => {
    const job = await fail('acme', randomUUID(), newPassword());
    expect((await json(`/jobs/${job.id}:drop`, { reason: ' ' })).body).toMatchObject({ reason: 'reason_invalid' });
    const { body } = await json(`/jobs/${job.id}:drop`, { reason: 'left the company' });
    expect(body).toMatchObject({ dropped: { by: 'full', reason: 'left the company' }, outcome: { reason: unknown } });
    expect(await queued(job.id)).toBeUndefined();
    expect((await failedOf('acme', `&user=${job.user}`)).jobs).toEqual([]);
    expect((await retry(job.id)).body).toMatchObject({ reason: 'secret_destroyed' });
  });

  it('lives under a data key that outlives the new expiry', async () => {
    const job = await fail('acme', randomUUID(), newPassword());
    const { dataKey } = await dataOf(job.id);
    await redis.pexpire(keys.dataKey(dataKey), 3_600_000);
    await retry(job.id);
    const { expiresAt } = await pf.done(job.id);
    expect(Date.now() + (await redis.pttl(keys.dataKey(dataKey)))).toBeGreaterThan(Date.parse(expiresAt));
  });
});

describe('a retry that is cut short', () => {
  async function signedAgain(id: string): Promise<SetPasswordData> {
    const { mac: _, ...data } = await dataOf(id);
    const again = { ...data, expiresAt: Date.now() + 3_600_000 };
    return { ...again, mac: sign(readJobKey(pf.keysDir), 'job', jobParts(again)) };
  }

  it('after the new signature: the job is still failed, and the next retry does all', async () => {
    const [user, password] = [randomUUID(), newPassword()];
    const job = await fail('acme', user, password);
    await repair('acme', user);
    await (await queued(job.id))?.updateData(await signedAgain(job.id));
    expect(await view(job.id)).toMatchObject({ state: 'failed', outcome: { reason: unknown } });
    await retry(job.id);
    expect(await pf.done(job.id)).toMatchObject({ reopened: 1, outcome: { result: 'set' } });
  });

  it('after the reopening: the sweeper goes on, once', async () => {
    const [user, password] = [randomUUID(), newPassword()];
    const job = await fail('globex', user, password);
    await repair('globex', user);
    const data = await signedAgain(job.id);
    await (await queued(job.id))?.updateData(data);
    expect(await ledger().reopen(data, 'somebody')).toBe('reopened');
    expect(await ledger().reopen(data, 'somebody else')).toBe('open');
    expect(await pf.done(job.id)).toMatchObject({ reopened: 1, reopenedBy: 'somebody', outcome: { result: 'set' } });
    expect(await pf.works('globex', user, password)).toBe(true);
    await waitFor(async () => (await redis.zscore(keys.reopened, job.id)) === null, { what: 'the note to go' });
  });

  it('and what failed in the queue only is run again', async () => {
    const [user, password] = [randomUUID(), newPassword()];
    const job = await fail('acme', user, password);
    await repair('acme', user);
    const data = await signedAgain(job.id);
    await (await queued(job.id))?.updateData(data);
    await ledger().reopen(data, 'somebody');
    // As if nobody had noted it: failed by stalls.
    await redis.zrem(keys.reopened, job.id);
    expect(await pf.done(job.id)).toMatchObject({ outcome: { result: 'set' } });
  });

  it('a job with an altered signature is not run again', async () => {
    const job = await fail('acme', randomUUID(), newPassword());
    await (await queued(job.id))?.updateData({ ...(await signedAgain(job.id)), user: randomUUID() });
    expect((await retry(job.id)).body).toMatchObject({ reason: 'secret_destroyed' });
    expect(await view(job.id)).toMatchObject({ state: 'failed', outcome: { reason: unknown } });
  });
});

describe('who may', () => {
  it('another organization sees nothing and retries nothing', async () => {
    const job = await fail('globex', randomUUID(), newPassword());
    const reader = { as: 'reader' } as const;
    const nowhere = await pf.get('/jobs?org=globex', reader);
    expect(nowhere).toMatchObject({ status: 404 });
    expect((await pf.get('/jobs?org=no-such', reader)).text).toBe(nowhere.text);
    const unseen = await retry(job.id, {}, reader);
    expect(unseen.body).toMatchObject({ status: 404, reason: 'job_unknown' });
    expect((await json(`/jobs/${job.id}:drop`, { reason: 'x' }, reader)).text).toBe(unseen.text);
    expect((await json('/jobs:retry', { org: 'globex' }, reader)).status).toBe(404);
    expect(await view(job.id)).not.toHaveProperty('reopened');
  });

  it('whoever only reads lists, and changes nothing', async () => {
    const job = await fail('acme', randomUUID(), newPassword());
    const reader = { as: 'reader' } as const;
    expect((await pf.get(`/jobs?user=${job.user}`, reader)).body.jobs).toHaveLength(1);
    expect((await retry(job.id, {}, reader)).status).toBe(403);
    expect((await json('/jobs:retry', {}, reader)).status).toBe(403);
  });

  it('a job that an admin made is retried by an admin only', async () => {
    const job = await fail('acme', randomUUID(), newPassword(), { ...later, ...admin });
    expect((await retry(job.id)).body).toMatchObject({ status: 403, reason: 'permission_missing' });
    expect((await json('/jobs:retry', { user: job.user })).body.skipped).toEqual({ permission_missing: 1 });
    expect((await retry(job.id, {}, admin)).status).toBe(200);
  });

  it('bad input is named and not echoed', async () => {
    for (const query of ['state=open', 'limit=0', 'limit=501', 'limit=x', 'cursor=x', 'org=%00']) {
      const answer = await pf.get(`/jobs?${query}`);
      expect(answer.status, query).toBe(400);
    }
    const job = await fail('acme', randomUUID(), newPassword());
    expect((await retry(job.id, { overwriteNewer: 'canary' })).text).not.toContain('canary');
    expect((await json(`/jobs/${job.id}:shred`, {})).status).toBe(405);
    expect((await retry(`j0-${'0'.repeat(34)}`)).body).toMatchObject({ reason: 'job_unknown' });
  });
});

describe('overwriteNewer with the first request', () => {
  const header = { 'passferry-overwrite-newer': 'true' };

  it('needs admin, is logged, and is part of the request', async () => {
    const [user, password, key] = [randomUUID(), newPassword(), randomUUID()];
    await repair('acme', user);
    expect((await pf.set('acme', user, password, { headers: header })).status).toBe(403);
    const both = { as: 'admin', headers: { ...header, 'idempotency-key': key } } as const;
    const answer = await pf.set('acme', user, password, both);
    expect(answer.status).toBe(200);
    const audit = pf.lines.map((line) => JSON.parse(line));
    const jobId = answer.headers.get('passferry-job');
    expect(audit).toContainEqual(expect.objectContaining({ jobId, org: 'acme', by: 'admin', level: 30 }));
    const without = await pf.set('acme', user, password, { as: 'admin', headers: { 'idempotency-key': key } });
    expect(without.status).toBe(422);
    const odd = await pf.set('acme', user, password, { as: 'admin', headers: { 'passferry-overwrite-newer': 'yes' } });
    expect(odd.status).toBe(400);
  });

  it('an import takes it too: admin only, and not under the key of one without', async () => {
    const user = randomUUID();
    await repair('acme', user);
    const file = `userId,password\n${user},${newPassword()}\n`;
    const headers = { 'content-type': 'text/csv', 'idempotency-key': randomUUID() };
    const path = '/imports?overwriteNewer=true';
    expect((await pf.post(path, file, { headers })).status).toBe(403);
    const { body } = await pf.post(path, file, { headers, ...admin });
    const done = await waitFor(
      async () => {
        const each = (await pf.get(`/imports/${body.id}`)).body;
        return each.state === 'completed' ? each : undefined;
      },
      { what: 'the import' },
    );
    expect(done).toMatchObject({ set: 1 });
    expect((await pf.post('/imports?asOf=now', file, { headers, ...admin })).status).toBe(422);
  });
});
