import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { linesOf } from '../src/cli/why.ts';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { writeApplied } from '../src/ledger/applied.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { hashToken } from '../src/producer/callers.ts';
import { createStatus } from '../src/producer/status.ts';
import { createWhy, type Why } from '../src/producer/why.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type CallerName, type Passferry, startPassferry, tokens } from './kit/passferry.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

const operator = 'pf_test-operator';
const keys = redisKeys('passferry');
const later = { headers: { prefer: 'respond-async' } };
let pf: Passferry;
let redis: Redis;

beforeAll(async () => {
  pf = await startPassferry({ proxies: true, deadlineMs: 1_000 });
  redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  const file = join(pf.keysDir, 'callers.json');
  const known = JSON.parse(readFileSync(file, 'utf8')) as { callers: object[] };
  const grants = { '*': ['operate'] };
  known.callers.push({ name: 'operator', home: 'acme', tokenSha256: hashToken(operator), grants });
  writeFileSync(file, JSON.stringify(known));
  await waitFor(async () => (await ask('acme', 'nobody')).body.stage !== null, { what: 'a word of the worker' });
});

const ask = async (org: string, user: string, as: CallerName = 'full') => {
  const answer = await pf.get(`/why?${new URLSearchParams({ user, org })}`, { as });
  return { status: answer.status, body: answer.body as Why };
};
const why = async (org: string, user: string) => (await ask(org, user)).body;
const until = (what: string, org: string, user: string, is: (seen: Why) => boolean) =>
  waitFor(
    async () => {
      const seen = await why(org, user);
      return is(seen) ? seen : undefined;
    },
    { what },
  );
async function hold(method: 'PUT' | 'DELETE', backend: string) {
  await fetch(`${pf.url}/holds/${backend}`, {
    method,
    headers: { authorization: `Bearer ${operator}`, ...(method === 'PUT' && { 'content-type': 'application/json' }) },
    ...(method === 'PUT' && { body: '{"reason":"upgrade"}' }),
  });
}

describe('GET /why', () => {
  it('says plainly that a user was never seen', async () => {
    expect(await ask('acme', 'nobody')).toEqual({
      status: 200,
      body: {
        ...{ user: 'nobody', org: 'acme', known: false, stage: 'v1', leads: 'v1' },
        ...{ applied: [], ahead: null, forged: [], open: [], openCount: 0, failed: [] },
        next: expect.objectContaining({ problem: 'never_seen' }),
      },
    });
  });

  it.each(['acme', 'globex'] as const)(
    '%s: says what was applied last, when, by whom and by which job',
    async (org) => {
      const user = randomUUID();
      await pf.addUser(org, user);
      const leads = org === 'acme' ? 'v1' : 'v2';
      await pf.set(org, user, newPassword());
      const { headers } = await pf.set(org, user, newPassword());
      const job = headers.get('passferry-job') as string;
      const { finishedAt = '' } = (await pf.get(`/jobs/${job}`)).body;
      const seen = await why(org, user);
      expect(seen).toMatchObject({
        ...{ known: true, stage: leads, leads, ahead: leads, openCount: 0, failed: [] },
        applied: [{ backend: leads, leads: true, job, by: 'full' }],
        latest: { id: job, by: 'full', ended: 'set', finishedAt },
        next: { problem: 'in_order' },
      });
      expect(Math.abs(Date.parse(seen.applied[0]?.at ?? '') - Date.parse(finishedAt))).toBeLessThan(5_000);
      expect(seen.latest?.sequence).toBe(seen.applied[0]?.sequence);
      expect(seen.lease).toBeUndefined();
    },
  );

  it('says what an open job waits for: v2 is down', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    await pf.v2Proxy?.stop();
    const { body } = await pf.set('globex', user, newPassword(), later);
    const seen = await until('it to wait', 'globex', user, ({ next }) => next.problem === 'backend_down');
    expect(seen).toMatchObject({
      ...{ openCount: 1, applied: [], ahead: null },
      open: [{ id: body.id, by: 'full', waitingFor: 'backend_down' }],
    });
    await pf.v2Proxy?.restore();
    await pf.done(body.id);
    await until('it to be over', 'globex', user, ({ next }) => next.problem === 'in_order');
  });

  it('says that a person holds the backend, and what to do', async () => {
    const user = randomUUID();
    await pf.addUser('acme', user);
    await hold('PUT', 'v1');
    const { body } = await pf.set('acme', user, newPassword(), later);
    const seen = await until('the hold', 'acme', user, ({ open }) => open[0]?.waitingFor === 'held');
    expect(seen.next).toMatchObject({ problem: 'held', todo: expect.stringContaining('passferry release v1') });
    await hold('DELETE', 'v1');
    await pf.done(body.id);
  });

  it('says which request failed, why, and until when it can be retried', async () => {
    const user = randomUUID();
    const { headers } = await pf.set('acme', user, newPassword());
    const job = headers.get('passferry-job') as string;
    const seen = await why('acme', user);
    expect(seen).toMatchObject({
      failed: [{ id: job, ended: 'failed_precondition', retryUntil: expect.any(String) }],
      next: { problem: 'failed', todo: `Repair the cause, then \`passferry retry ${job}\`.` },
    });
    await pf.post(`/jobs/${job}:drop`, { reason: 'gone' }, { headers: { 'content-type': 'application/json' } });
    expect((await why('acme', user)).next.problem).toBe('failed_for_good');
  });

  it('says that the backend which leads is behind, after a step to it', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    await pf.set('globex', user, newPassword());
    const [applied] = (await why('globex', user)).applied;
    // As the ledger would have it from the time in which v1 led.
    const later = { seq: `${BigInt(applied?.sequence ?? 0) + 5n}`, jobId: 'j0-another', changedAt: 0 };
    const value = writeApplied(readJobKey(pf.keysDir), { org: 'globex', user }, 'v1', later);
    await redis.hset(keys.user('globex', user), 'v1', value);
    const seen = await why('globex', user);
    expect(seen).toMatchObject({ ahead: 'v1', leads: 'v2', next: { problem: 'leader_behind' } });
    expect(seen.applied[0]).toEqual({ backend: 'v1', leads: false, job: 'j0-another', sequence: later.seq, at: null });
    expect(linesOf(seen).join('\n')).toContain('v2 is behind v1');

    // A record of another user is no record.
    const other = randomUUID();
    await redis.hset(keys.user('globex', other), 'v1', value);
    expect(await why('globex', other)).toMatchObject({ applied: [], forged: ['v1'], ahead: null });
  });

  it('says who is at work, what was sent and is not settled, and that a repair is pending', async () => {
    const [user, now] = [randomUUID(), Date.now()];
    const lease = { leaseJob: 'j0-one', leaseToken: 't', leaseUntil: now + 60_000 };
    await redis.hset(keys.user('globex', user), { ...lease, openJob: 'repair', openUntil: now + 30_000 });
    await redis.zadd(keys.inverted, now, JSON.stringify(['globex', user, 'v2']));
    // The worker may not have told yet that v2 answers again.
    const seen = await until('the repair to be first', 'globex', user, ({ next }) => next.problem === 'repair_pending');
    expect(seen).toMatchObject({
      lease: { by: 'j0-one', until: new Date(now + 60_000).toISOString() },
      attempt: { by: 'repair', until: new Date(now + 30_000).toISOString() },
      repair: { backend: 'v2', since: new Date(now).toISOString() },
      next: { problem: 'repair_pending' },
    });
    await redis.zrem(keys.inverted, JSON.stringify(['globex', user, 'v2']));
    expect((await why('globex', user)).next.problem).toBe('attempt_open');
    await redis.del(keys.user('globex', user));
  });

  it('needs read, and what is not granted looks like what does not exist', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    await pf.set('globex', user, newPassword());
    const strange = await ask('globex', user, 'reader');
    expect(strange).toEqual(await ask('nowhere', user, 'reader'));
    expect(strange).toMatchObject({ status: 404, body: { reason: 'AUTHZ-cdgFk' } });
    // A user of another organization was never seen in one's own.
    expect((await ask('acme', user, 'reader')).body).toMatchObject({ known: false, next: { problem: 'never_seen' } });
    expect((await pf.get('/why')).body).toMatchObject({ reason: 'user_id_missing', fields: [{ field: 'user' }] });
    expect((await pf.get('/why?user=a&user=b')).body).toMatchObject({ reason: 'field_type' });
    expect((await pf.get('/why?user=a', { as: null })).status).toBe(401);
  });
});

describe('passferry why', () => {
  const run = (...args: string[]) =>
    spawnNode(['src/cli/main.ts', 'why', ...args, '--url', pf.url], { PASSFERRY_TOKEN: tokens.full });

  it('says it on one screen, what to do last', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    await pf.set('globex', user, newPassword());
    const told = run(user, '--org', 'globex');
    expect((await told.exited).code, told.lines().join()).toBe(0);
    expect(told.lines()[0]).toBe(`${user} in globex: stage v2, led by v2`);
    expect(told.lines().some((line) => /^applied in v2 \(leads\): .* by full, job j0-/.test(line))).toBe(true);
    expect(told.lines().slice(-2)).toEqual(['Nothing is open: the newest request is in effect.', '→ Nothing.']);
    const json = run(user, '--org', 'globex', '--json');
    expect((await json.exited).code).toBe(0);
    expect(JSON.parse(json.lines().join(''))).toMatchObject({ user, known: true });
    const refused = run(user, '--org', 'nowhere');
    expect((await refused.exited).code).toBe(1);
  });
});

// The last: it has no worker any more.
it('without a worker says so where something is open, and that nobody tells the stage', async () => {
  const user = randomUUID();
  await pf.addUser('acme', user);
  await hold('PUT', 'v1');
  await pf.set('acme', user, newPassword(), later);
  await pf.close();
  const jobKey = readJobKey(pf.keysDir);
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
  const ask = createWhy({ redis, keys, jobKey, ledger, status: createStatus(redis, keys, jobKey, 60_000) });
  expect(await ask('acme', user)).toMatchObject({
    stage: null,
    leads: null,
    openCount: 1,
    next: { problem: 'no_worker' },
  });
});
