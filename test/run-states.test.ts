import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { failure, type Outcome, type SetPasswordData } from '../src/job.ts';
import type { RunState } from '../src/run.ts';
import { type LedgerRun, ledgerRuns } from './kit/ledger-run.ts';
import { startRedis } from './kit/redis.ts';

const { redis, ledgerRun } = ledgerRuns(await startRedis({ appendonly: false }));
const set: Outcome = { result: 'set', inEffect: true, backend: 'v1', at: 0 };

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

  it('and has ended is not sent again by a start that thaws', async () => {
    const run = await ledgerRun();
    const data = await run.start();
    // Another start of it had its answer late, and without the lease.
    await run.ledger.commit(data, set, { changedAt: 5, token: 'other' });
    await expect(run.ledger.recordAttempt(data, data.jobId, 1_000, 0)).rejects.toMatchObject({ reason: 'lease_lost' });
    await run.ledger.closeAttempt(data, data.jobId, true);
    await run.ledger.release(data, data.jobId, 'aborted');
    expect(await redis.exists(run.keys.job(data.jobId))).toBe(0);
    expect(await run.runs.view(run.id)).toMatchObject({ set: 1, finished: 1, inflight: 0 });
  });
});
