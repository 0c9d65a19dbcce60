import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { failure } from '../src/job.ts';
import { csv, people, runScene } from './kit/import-scene.ts';
import { ledgerRuns } from './kit/ledger-run.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const server = await startRedis({ appendonly: false });
const { ledgerRun } = ledgerRuns(server);

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

  it('told to pause and go on again and again it loses no row and sets none twice', async () => {
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
      });
    }
    expect(await s.until(id, 'completed')).toMatchObject({ set: 4_000, finished: 4_000, inflight: 0 });
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
