import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createProducer } from '../src/index.ts';
import { queueNames } from '../src/job.ts';
import { redisKeys } from '../src/keys.ts';
import { newPassword } from './kit/conformance.ts';
import type { Answer, Passferry } from './kit/passferry.ts';
import { startPassferry, v2Token } from './kit/passferry.ts';
import type { FaultProxy } from './kit/proxy.ts';
import { waitFor } from './kit/wait.ts';

const old = 'Old-password-1';
let pf: Passferry;
let toRedis: FaultProxy;
let toV2: FaultProxy;

beforeAll(async () => {
  pf = await startPassferry({ proxies: true, deadlineMs: 1_000, settleMs: 300 });
  toRedis = pf.redisProxy as FaultProxy;
  toV2 = pf.v2Proxy as FaultProxy;
});

afterEach(async () => {
  await toRedis.restore();
  await toV2.restore();
  pf.sandbox.faults.clear();
});

async function addUser(org: 'acme' | 'globex'): Promise<string> {
  const user = randomUUID();
  await pf.addUser(org, user, old);
  return user;
}

const later = { headers: { prefer: 'respond-async' } };
const changes = (user: string) => pf.sandbox.users.get(user)?.changes.length;
const jobOf = (answer: Answer): string => answer.headers.get('passferry-job') as string;

/** The job once a worker has put it back for `reason`. */
const waiting = (job: string, reason: string) =>
  waitFor(async () => (await pf.get(`/jobs/${job}`)).body.waitingFor === reason, { what: `${job} waiting: ${reason}` });

describe('Redis is away', () => {
  async function expectRefused(user: string, password: string, key: string): Promise<void> {
    const start = performance.now();
    const answer = await pf.set('acme', user, password, { headers: { 'idempotency-key': key } });
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(answer).toMatchObject({ status: 503, body: { code: 14 } });
    expect(answer.headers.get('passferry-reason')).toBe('accept_unknown');
    expect(answer.headers.get('idempotency-key')).toBe(key);
    expect(answer.headers.get('retry-after')).not.toBeNull();
    expect(answer.text).not.toContain(password);
  }

  async function expectRecovers(user: string, password: string, key: string): Promise<void> {
    await waitFor(async () => (await pf.get('/readyz')).status === 200, { what: 'the producer to be ready again' });
    const answer = await waitFor(
      async () => {
        const each = await pf.set('acme', user, password, { headers: { 'idempotency-key': key } });
        return each.status === 503 ? undefined : each;
      },
      { what: 'an answer' },
    );
    expect(answer.status).toBe(200);
    expect(await pf.works('acme', user, password)).toBe(true);
  }

  it.each(['cut', 'blackhole'] as const)('answers 503 in time and recovers by itself: %s', async (fault) => {
    const [user, password, key] = [await addUser('acme'), newPassword(), randomUUID()];
    toRedis[fault]();
    await expectRefused(user, password, key);
    expect((await pf.get('/readyz')).status).toBe(503);
    expect((await pf.get('/healthz')).status).toBe(200);
    await toRedis.restore();
    await expectRecovers(user, password, key);
  });

  it('takes the same key again after a lost reply: one job', async () => {
    const [user, password, key] = [await addUser('acme'), newPassword(), randomUUID()];
    toRedis.dropReplies(1, user);
    const first = await pf.set('acme', user, password, { headers: { 'idempotency-key': key } });
    expect([200, 503]).toContain(first.status);
    expect(toRedis.dropped()).toBe(1);
    await expectRecovers(user, password, key);
    const redis = new Redis(pf.redis.url);
    const jobs = await redis.keys(redisKeys('passferry').job('*'));
    const users = await Promise.all(jobs.map((job) => redis.hget(job, 'user')));
    redis.disconnect();
    expect(users.filter((each) => each === user)).toHaveLength(1);
  });

  it('keeps what it knew over a restart', async () => {
    const before = await addUser('acme');
    const job = jobOf(await pf.set('acme', before, newPassword()));
    const [user, password, key] = [await addUser('acme'), newPassword(), randomUUID()];
    await pf.redis.stop();
    await expectRefused(user, password, key);
    await pf.redis.restart();
    await expectRecovers(user, password, key);
    expect(await pf.done(job)).toMatchObject({ outcome: { result: 'set' } });
  });
});

describe('v2 is away', () => {
  it('lets the job wait, spends no attempt, and sets it once when v2 is back', async () => {
    const [user, password] = [await addUser('globex'), newPassword()];
    toV2.cut();
    const { body } = await pf.set('globex', user, password, later);
    await waiting(body.id, 'backend_down');
    expect((await pf.get(`/jobs/${body.id}`)).body).toMatchObject({ done: false, attempts: 0 });
    // The other backend goes on meanwhile.
    expect((await pf.set('acme', await addUser('acme'), newPassword())).status).toBe(200);
    await toV2.restore();
    expect(await pf.done(body.id)).toMatchObject({ attempts: 1, outcome: { result: 'set', inEffect: true } });
    expect(changes(user)).toBe(1);
    expect(await pf.works('globex', user, password)).toBe(true);
  });

  it('answers 504 when the caller has no patience left; the job goes on', async () => {
    const [user, password] = [await addUser('globex'), newPassword()];
    toV2.cut();
    const answer = await pf.set('globex', user, password, { headers: { prefer: 'wait=1' } });
    expect(answer).toMatchObject({ status: 504, body: { code: 4 } });
    expect(answer.headers.get('passferry-reason')).toBe('wait_over');
    expect(answer.headers.get('idempotency-key')).toMatch(/^pf-/);
    await toV2.restore();
    expect(await pf.done(jobOf(answer))).toMatchObject({ outcome: { result: 'set', inEffect: true } });
    expect(changes(user)).toBe(1);
  });

  it('settles a lost answer by reading: set, assumed, one effect', async () => {
    const [user, password] = [await addUser('globex'), newPassword()];
    pf.sandbox.faults.add({ call: 'SetPassword', user, times: 1, fault: { kind: 'cut-after' } });
    const answer = await pf.set('globex', user, password);
    expect(answer.status).toBe(200);
    const outcome = { result: 'set', assumed: true, inEffect: true };
    expect(await pf.done(jobOf(answer))).toMatchObject({ attempts: 1, outcome });
    expect(changes(user)).toBe(1);
    expect(await pf.works('globex', user, password)).toBe(true);
  });

  it('sends again what never arrived: one effect', async () => {
    const [user, password] = [await addUser('globex'), newPassword()];
    pf.sandbox.faults.add({ call: 'SetPassword', user, times: 1, fault: { kind: 'cut-before' } });
    const answer = await pf.set('globex', user, password);
    const job = await pf.done(jobOf(answer));
    expect(job).toMatchObject({ attempts: 2, outcome: { result: 'set', inEffect: true } });
    expect(job.outcome).not.toHaveProperty('assumed');
    expect(changes(user)).toBe(1);
    expect(await pf.works('globex', user, password)).toBe(true);
  });

  it('leaves the newer of two in force, whichever comes first', async () => {
    const user = await addUser('globex');
    const [older, newer] = [newPassword(), newPassword()];
    toV2.cut();
    const first = (await pf.set('globex', user, older, later)).body.id;
    const second = (await pf.set('globex', user, newer, later)).body.id;
    await waiting(first, 'backend_down');
    await toV2.restore();
    expect(await pf.done(second)).toMatchObject({ outcome: { result: 'set', inEffect: true } });
    const { outcome } = await pf.done(first);
    expect(['set', 'superseded']).toContain((outcome as { result: string }).result);
    expect(changes(user)).toBe((outcome as { result: string }).result === 'set' ? 2 : 1);
    expect(await pf.works('globex', user, newer)).toBe(true);
  });

  it("ends stale on the user's own later choice", async () => {
    const user = await addUser('globex');
    const [ours, theirs] = [newPassword(), newPassword()];
    toV2.cut();
    const { body } = await pf.set('globex', user, ours, later);
    await waiting(body.id, 'backend_down');
    // Beyond the tolerance for clocks that differ.
    const beyond = Date.parse(body.acceptedAt) + 2_100;
    await waitFor(() => Date.now() > beyond, { what: 'the tolerance to pass' });
    const changed = await fetch(`${pf.sandbox.url}/v2/users/${user}/password`, {
      method: 'POST',
      headers: { authorization: `Bearer ${v2Token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ newPassword: { password: theirs } }),
    });
    expect(changed.status).toBe(200);
    await toV2.restore();
    expect(await pf.done(body.id)).toMatchObject({ state: 'completed', outcome: { result: 'stale', inEffect: false } });
    expect(changes(user)).toBe(1);
    expect(await pf.works('globex', user, theirs)).toBe(true);
  });

  it('ends expired what could not be done in time', async () => {
    const [user, password] = [await addUser('globex'), newPassword()];
    const producer = await createProducer({ redisUrl: pf.redis.url, keysDir: pf.keysDir });
    try {
      toV2.cut();
      const { jobId } = await producer.setPassword({ org: 'globex', user, password, expiresInMs: 1_000 });
      const job = await pf.done(jobId);
      expect(job).toMatchObject({
        state: 'failed',
        outcome: { code: 'expired', reason: 'job_expired', inEffect: false },
      });
      await toV2.restore();
      // Something later goes through the same lane: the expired one had its chance to do harm.
      expect((await pf.set('globex', await addUser('globex'), newPassword())).status).toBe(200);
      expect(changes(user)).toBe(0);
    } finally {
      await producer.close();
    }
  });
});

it('tells outcomes after the queue has lost everything', async () => {
  const [good, bad] = [await addUser('acme'), randomUUID()];
  const set = jobOf(await pf.set('acme', good, newPassword()));
  const failed = jobOf(await pf.set('acme', bad, newPassword()));
  const connection = new Redis(pf.redis.url, { maxRetriesPerRequest: null });
  for (const name of Object.values(queueNames)) {
    const queue = new Queue(name, { connection, prefix: redisKeys('passferry').bullPrefix });
    await queue.obliterate({ force: true });
    await queue.close();
  }
  connection.disconnect();
  expect(await pf.done(set)).toMatchObject({ state: 'completed', outcome: { result: 'set' } });
  expect(await pf.done(failed)).toMatchObject({ state: 'failed', outcome: { reason: 'COMMAND-G8dh3' } });
});
