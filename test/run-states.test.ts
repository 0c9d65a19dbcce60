import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { failure, type Outcome, type SetPasswordData } from '../src/job.ts';
import { redisKeys } from '../src/keys.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { connectRedis } from '../src/redis.ts';
import type { RunState } from '../src/run.ts';
import { atEnd } from './kit/files.ts';
import { csv, people, runScene } from './kit/import-scene.ts';
import { pageScene, runOptions } from './kit/pages.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const server = await startRedis({ appendonly: false });
const redis = connectRedis({ url: server.url }, 'worker');
atEnd(() => redis.disconnect());
const jobKey = { current: randomBytes(32) };
const set: Outcome = { result: 'set', inEffect: true, backend: 'v1', at: 0 };

/** A run of four rows, of which one was refused, and one may be at work; no worker. */
async function ledgerRun(more: { expiresInMs?: number; maxFailures?: number } = {}) {
  const keys = redisKeys(`s${randomBytes(6).toString('hex')}`);
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
  await ledger.raiseFloor(0n);
  const { runs, store, job } = pageScene(redis, keys, jobKey);
  const id = `r0-${randomBytes(13).toString('hex')}`;
  const { maxFailures, ...rest } = more;
  const options = { ...runOptions, ...(maxFailures !== undefined && { maxFailures }) };
  const rows = ['a', 'b', 'c'].map((user, i) => ({ line: i + 1, user }));
  await store({ id, org: 'o', options, ...rest }, [...rows, { line: 4, refused: 'user_id_missing' }]);
  const begin = (data: SetPasswordData, token = data.jobId) =>
    ledger.begin(data, { token, leaseMs: 60_000, backend: 'v1', exact: true });
  return {
    ...{ keys, ledger, runs, id, begin },
    row: (row: number) => job(id, row),
    /** One row goes to work. */
    async start(row = 1): Promise<SetPasswordData> {
      const data = await job(id, row);
      expect(await begin(data)).toMatchObject({ kind: 'go' });
      return data;
    },
    commit: (data: SetPasswordData, outcome: Outcome = set) => ledger.commit(data, outcome, { token: data.jobId }),
    close: () => runs.closeInput(id, 1),
    state: async () => (await runs.view(id))?.state,
    events: async () => (await redis.xrange(keys.events, '-', '+')).filter(([, fields]) => fields[0] === 'r').length,
  };
}
type LedgerRun = Awaited<ReturnType<typeof ledgerRun>>;

const steps = ['pause', 'resume', 'cancel', 'expire', 'hold', 'unhold', 'unhold another', 'settle', 'close'] as const;
type Step = (typeof steps)[number];

/** How to come there; then, step by step in the order above, where it leads. `-`: refused, and nothing changes. */
const table: [from: string, reach: (run: LedgerRun) => Promise<unknown>, to: (RunState | '-')[]][] = [
  [
    'receiving',
    async () => {},
    ['paused', 'receiving', 'cancelled', 'completed', 'holding', 'receiving', 'receiving', 'receiving', 'running'],
  ],
  [
    'receiving, a row at work',
    (run) => run.start(),
    ['pausing', 'receiving', 'cancelling', 'cancelling', 'holding', 'receiving', 'receiving', 'receiving', 'running'],
  ],
  [
    'running',
    (run) => run.close(),
    ['paused', 'running', 'cancelled', 'completed', 'holding', 'running', 'running', 'running', 'running'],
  ],
  [
    'running, a row at work',
    async (run) => [await run.close(), await run.start()],
    ['pausing', 'running', 'cancelling', 'cancelling', 'holding', 'running', 'running', 'running', 'running'],
  ],
  [
    'pausing',
    async (run) => [await run.close(), await run.start(), await run.runs.order(run.id, 'pause')],
    ['pausing', 'running', 'cancelling', 'cancelling', 'pausing', 'pausing', 'pausing', 'pausing', 'pausing'],
  ],
  [
    'paused',
    async (run) => [await run.close(), await run.runs.order(run.id, 'pause')],
    ['paused', 'running', 'cancelled', 'completed', 'paused', 'paused', 'paused', 'paused', 'paused'],
  ],
  [
    'holding',
    async (run) => [await run.close(), await run.runs.hold(run.id, 'backend_down')],
    ['paused', 'running', 'cancelled', 'completed', 'holding', 'running', 'holding', 'holding', 'holding'],
  ],
  [
    'holding, a row at work',
    async (run) => [await run.close(), await run.start(), await run.runs.hold(run.id, 'backend_down')],
    ['pausing', 'running', 'cancelling', 'cancelling', 'holding', 'running', 'holding', 'holding', 'holding'],
  ],
  [
    'cancelling',
    async (run) => [await run.close(), await run.start(), await run.runs.order(run.id, 'cancel')],
    ['-', '-', 'cancelling', '-', 'cancelling', 'cancelling', 'cancelling', 'cancelling', 'cancelling'],
  ],
  [
    'cancelled',
    async (run) => [await run.close(), await run.runs.order(run.id, 'cancel')],
    ['-', '-', 'cancelled', '-', 'cancelled', 'cancelled', 'cancelled', 'cancelled', 'cancelled'],
  ],
  [
    'completed',
    async (run) => {
      await run.close();
      for (const row of [1, 2, 3]) await run.commit(await run.start(row));
    },
    ['-', '-', '-', '-', 'completed', 'completed', 'completed', 'completed', 'completed'],
  ],
];

async function take(step: Step, { runs, id, close }: LedgerRun): Promise<unknown> {
  switch (step) {
    case 'hold':
      return runs.hold(id, 'backend_limited');
    case 'unhold':
      return runs.unhold(id, 'backend_down');
    case 'unhold another':
      return runs.unhold(id, 'backend_held');
    case 'settle':
      return runs.settle(id);
    case 'close':
      return close();
    default:
      return runs.order(id, step);
  }
}

const cases = table.flatMap(([from, reach, to]) =>
  steps.map((step, i) => [from, step, to[i] as RunState | '-', reach] as const),
);

describe('every step from every state', () => {
  it.each(cases)('%s, %s: %s', async (from, step, to, reach) => {
    const run = await ledgerRun();
    await reach(run);
    const before = await run.runs.view(run.id);
    expect(before?.state).toBe(from.split(',')[0]);
    const told = await take(step, run).then(
      () => 'taken',
      (error: PassferryError) => error.reason,
    );
    expect(told).toBe(to === '-' ? 'run_ended' : 'taken');
    const after = await run.runs.view(run.id);
    expect(after?.state).toBe(to === '-' ? before?.state : to);
    if (to === '-') expect(after).toEqual(before);
    // The first reason stays; out of it there is none.
    expect(after?.reason).toBe(to !== 'holding' ? undefined : (before?.reason ?? 'backend_limited'));
    // Over: told once, with counts that add up, and not looked at by the feeder any more.
    const isOver = after?.state === 'cancelled' || after?.state === 'completed';
    expect(await run.events()).toBe(isOver ? 1 : 0);
    expect(await redis.zcard(run.keys.activeRuns)).toBe(isOver ? 0 : 1);
    if (isOver) expect(after).toMatchObject({ finished: 3, inflight: 0, finishedAt: expect.any(String) });
    // Once more changes nothing.
    await take(step, run).catch(() => {});
    expect(await run.runs.view(run.id)).toEqual(after);
    expect(await run.events()).toBe(isOver ? 1 : 0);
  });

  it('a run that nobody knows is not told anything', async () => {
    const { runs } = await ledgerRun();
    const unknown = `r0-${'z'.repeat(26)}`;
    await expect(runs.order(unknown, 'pause')).rejects.toMatchObject({ reason: 'run_unknown' });
    for (const step of [
      runs.settle(unknown),
      runs.hold(unknown, 'backend_down'),
      runs.unhold(unknown, 'backend_down'),
    ]) {
      await step;
    }
    expect(await runs.view(unknown)).toBeUndefined();
  });
});

describe('what has begun', () => {
  const endings: [string, (run: LedgerRun, data: SetPasswordData) => Promise<unknown>, object][] = [
    ['was set', (run, data) => run.commit(data), { set: 1, finished: 1 }],
    ['failed', (run, data) => run.commit(data, failure(new PassferryError('refused'), 0, 'v1')), { failed: 1 }],
    [
      'was put off before it was sent',
      (run, data) => run.ledger.release(data, data.jobId, 'x', 'none'),
      { finished: 0 },
    ],
  ];
  it.each(endings)('%s, and the run that was pausing is paused', async (_, end, counts) => {
    const run = await ledgerRun();
    const data = await run.start();
    expect(await run.runs.order(run.id, 'pause')).toBe('pausing');
    await end(run, data);
    expect(await run.runs.view(run.id)).toMatchObject({ state: 'paused', inflight: 0, ...counts });
    expect(await redis.exists(run.keys.job(data.jobId))).toBe(0);
    expect(await redis.zcard(run.keys.open)).toBe(0);
  });

  it('and may have been made goes on to its end while the run is paused or cancelled', async () => {
    for (const order of ['pause', 'cancel'] as const) {
      const run = await ledgerRun();
      const data = await run.start();
      await run.runs.order(run.id, order);
      // The answer was lost, or the process.
      await run.ledger.release(data, data.jobId, 'backend_timeout', 'unknown');
      expect(await run.state()).toBe(`${order === 'pause' ? 'paus' : 'cancell'}ing`);
      expect(await run.begin(data, 'again')).toMatchObject({ kind: 'go' });
      await run.ledger.commit(data, set, { token: 'again' });
      expect(await run.runs.view(run.id)).toMatchObject(
        order === 'pause' ? { state: 'paused', set: 1, canceled: 0 } : { state: 'cancelled', set: 1, canceled: 2 },
      );
    }
  });

  it.each(['pause', 'hold'] as const)('not yet leaves the queue: %s', async (how) => {
    const run = await ledgerRun();
    if (how === 'pause') await run.runs.order(run.id, 'pause');
    else await run.runs.hold(run.id, 'backend_down');
    expect(await run.begin(await run.row(2))).toEqual({ kind: 'run_waits' });
    expect(await run.runs.view(run.id)).toMatchObject({ inflight: 0, finished: 0 });
  });

  it('not yet and waits for another job of its user is not in the way of a pause', async () => {
    const run = await ledgerRun();
    const data = await run.row(1);
    await redis.hset(run.keys.user('o', 'a'), { leaseJob: 'another', leaseUntil: String(Date.now() + 60_000) });
    expect(await run.begin(data)).toMatchObject({ kind: 'busy' });
    await run.runs.order(run.id, 'pause');
    expect(await run.begin(data)).toEqual({ kind: 'run_waits' });
    expect(await run.runs.view(run.id)).toMatchObject({ state: 'paused', inflight: 0 });
  });

  it('not before the cancellation never will', async () => {
    const run = await ledgerRun();
    const data = await run.start();
    await run.runs.order(run.id, 'cancel');
    expect(await run.begin(await run.row(2))).toEqual({ kind: 'run_over' });
    await run.commit(data);
    expect(await run.begin(await run.row(3))).toEqual({ kind: 'run_over' });
    expect(await run.runs.view(run.id)).toMatchObject({ state: 'cancelled', set: 1, canceled: 2, finished: 3 });
  });
});

describe('a run ends', () => {
  it('cancelled, with the rest counted exactly, and each of it told', async () => {
    const s = await runScene(server);
    const id = await s.upload(csv([...people(1_100), { user: 'bad', password: '' }]));
    s.holdBack();
    s.work(4);
    await waitFor(() => s.inHand() === 4, { what: 'rows to be at work' });
    expect(await s.producer.runs.order(id, 'cancel')).toBe('cancelling');
    s.letGo();
    const view = await s.until(id, 'cancelled');
    expect(view).toMatchObject({ accepted: 1_100, finished: 1_100, inflight: 0, rejected: 1, failed: 0 });
    expect(view.set).toBe(s.held.size);
    expect(view.canceled).toBe(1_100 - s.held.size);
    expect(view.notInEffect).toBe(view.canceled + 1);
    const rejects = await s.rejects(id);
    expect(rejects.filter(({ reason }) => reason === 'run_canceled').length).toBe(view.canceled);
    expect(rejects.filter(({ reason }) => reason !== 'run_canceled').map(({ row }) => row)).toEqual([1_101]);
    expect(rejects.every(({ userId }) => !s.held.has(userId as string))).toBe(true);
  });

  it('completed when its time is over, with the rest counted expired', async () => {
    const s = await runScene(server);
    const id = await s.upload(csv(people(700)));
    await s.redis.hset(s.keys.run(id), 'expiresAt', String(Date.now() - 1_000));
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ expired: 700, set: 0, finished: 700, notInEffect: 700 });
    expect((await s.rejects(id)).map(({ reason }) => reason)).toEqual(Array(700).fill('job_expired'));
    expect(s.held.size).toBe(0);
  });

  it.each(['pause', 'hold'] as const)('also one that stands still when its time is over: %s', async (how) => {
    const s = await runScene(server);
    const id = await s.upload(csv(people(3)));
    if (how === 'pause') await s.producer.runs.order(id, 'pause');
    else await s.producer.runs.hold(id, 'too_many_failures');
    await s.redis.hset(s.keys.run(id), 'expiresAt', String(Date.now() - 1_000));
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ expired: 3 });
  });
});

describe('with workers', () => {
  const untouched = (s: Awaited<ReturnType<typeof runScene>>) =>
    [...s.held.values()].every(({ effects }) => effects === 1);

  it('a pause stops it where it is, and after the resumption every row is set once', async () => {
    const s = await runScene(server);
    const id = await s.upload(csv(people(3_000)));
    s.work();
    await waitFor(() => s.held.size > 100, { what: 'some rows' });
    await s.producer.runs.order(id, 'pause');
    const paused = await s.until(id, 'paused');
    expect(paused.inflight).toBe(0);
    expect(paused.set).toBe(s.held.size);
    // What stood in the queue leaves it untouched.
    await waitFor(async () => (await s.redis.zcard(s.keys.line('rows'))) === 0, { what: 'the queue to be empty' });
    expect(s.held.size).toBe(paused.set);
    expect((await s.view(id)).set).toBe(paused.set);
    await s.producer.runs.order(id, 'resume');
    expect(await s.until(id, 'completed')).toMatchObject({ set: 3_000, finished: 3_000 });
    expect(s.held.size).toBe(3_000);
    expect(untouched(s)).toBe(true);
  });

  it('told to pause and go on again and again it loses no row and sets none twice', { timeout: 120_000 }, async () => {
    const s = await runScene(server);
    const id = await s.upload(csv(people(4_000)));
    s.work();
    s.work();
    for (let i = 0; (await s.view(id)).finished < 3_000; i++) {
      const before = (await s.view(id)).finished;
      await s.producer.runs.order(id, 'pause');
      if (i % 2) await s.until(id, 'paused');
      await s.producer.runs.order(id, 'resume');
      await waitFor(async () => (await s.view(id)).finished >= Math.min(4_000, before + 40), {
        what: 'more rows',
        timeoutMs: 30_000,
      });
    }
    expect(await s.until(id, 'completed', 30_000)).toMatchObject({ set: 4_000, finished: 4_000, inflight: 0 });
    expect(s.held.size).toBe(4_000);
    expect(untouched(s)).toBe(true);
  });

  it('rows that the backend puts off are not in the way of a pause', async () => {
    const s = await runScene(server);
    s.fails(() => new PassferryError('backend_down', { scope: 'backend', effect: 'none' }));
    const id = await s.upload(csv(people(50)));
    s.work();
    await waitFor(() => s.lines.some((line) => line.includes('put off')), { what: 'a row to be put off' });
    await s.producer.runs.order(id, 'pause');
    expect(await s.until(id, 'paused')).toMatchObject({ inflight: 0, finished: 0 });
    s.fails(() => undefined);
    await s.producer.runs.order(id, 'resume');
    expect(await s.until(id, 'completed')).toMatchObject({ set: 50 });
  });

  it('too many failures hold it with the reason; told to go on it forgives those', async () => {
    const s = await runScene(server);
    for (const { user } of people(5)) s.refused.add(user);
    const id = await s.upload(csv(people(1_200)), { choices: { maxFailures: 3 } });
    s.work(1);
    const held = await s.until(id, 'holding');
    expect(held).toMatchObject({ reason: 'too_many_failures', advice: expect.stringContaining('resume or cancel') });
    expect(held.failed).toBeGreaterThanOrEqual(3);
    await s.producer.runs.order(id, 'resume');
    expect(await s.until(id, 'completed')).toMatchObject({ failed: 5, set: 1_195 });
  });

  it('a hold that ends by itself lets it end, also when its last row had ended meanwhile', async () => {
    const run = await ledgerRun();
    await run.close();
    for (const row of [1, 2]) await run.commit(await run.start(row));
    const last = await run.start(3);
    await run.runs.hold(run.id, 'backend_down');
    await run.commit(last);
    await run.runs.unhold(run.id, 'backend_down');
    expect(await run.runs.view(run.id)).toMatchObject({ state: 'completed', set: 3 });
    expect(await run.events()).toBe(1);
  });

  it('the last row of all holds nothing, though it is one failure too many', async () => {
    const run = await ledgerRun({ maxFailures: 1 });
    await run.close();
    for (const row of [1, 2]) await run.commit(await run.start(row));
    await run.commit(await run.start(3), failure(new PassferryError('refused'), 0, 'v1'));
    expect(await run.runs.view(run.id)).toMatchObject({ state: 'completed', failed: 1 });
  });
});
