import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ProcessWorld } from './kit/process-world.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { startProxy } from './kit/proxy.ts';
import type { Standing } from './kit/recovery.ts';
import { recover, standings } from './kit/recovery.ts';
import { waitFor } from './kit/wait.ts';

/** Workers as processes of their own, stopped and killed (F66). */

let world: ProcessWorld;
beforeAll(async () => {
  world = await startProcessWorld({ bcryptCost: 8 });
});
afterAll(() => world?.close());

const set = { result: 'set', inEffect: true };

/** Jobs of `count` users in turn of both organizations: who and which job. */
async function load(place: Awaited<ReturnType<ProcessWorld['installation']>>, count: number) {
  const people = await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const org = i % 2 ? ('globex' as const) : ('acme' as const);
      return { org, user: await world.addUser(org) };
    }),
  );
  return Promise.all(people.map(async (each) => ({ ...each, jobId: await place.ask(each.org, each.user) })));
}

it('SIGTERM under load: exits 0, nothing is lost, done twice or left to the stall check', async () => {
  const place = await world.installation();
  const remove = world.sandbox.faults.add({ call: 'SetPassword', fault: { kind: 'latency', ms: 150 } });
  const first = await place.work({ PASSFERRY_V2_CONCURRENCY: '2' });
  const jobs = await load(place, 300);
  const ended = async () => {
    const views = await Promise.all(jobs.map(({ jobId }) => place.job(jobId)));
    return views.filter((view) => view?.done).length;
  };
  await waitFor(async () => (await ended()) >= 10, { what: 'some jobs to end' });
  first.term();
  expect(await first.exited).toEqual({ code: 0, signal: null });
  expect(await ended()).toBeLessThan(jobs.length);

  const second = await place.work();
  for (const { jobId, org, user } of jobs) {
    expect(await place.outcome(jobId)).toMatchObject(set);
    expect(await world.changes(org, user)).toBe(1);
  }
  expect(await place.stalled()).toBe(0);
  remove();
  second.term();
  expect(await second.exited).toEqual({ code: 0, signal: null });
});

/** A worker with one job that v2 does not answer. */
async function held() {
  const place = await world.installation();
  const worker = await place.work({ PASSFERRY_V2_DEADLINE: '8s', PASSFERRY_V2_SETTLE: '1s' });
  const user = await world.addUser('globex');
  const fault = { kind: 'latency', ms: 60_000 } as const;
  world.sandbox.faults.add({ call: 'SetPassword', user, times: 1, fault });
  const jobId = await place.ask('globex', user);
  const arrived = () => world.sandbox.calls.some((each) => each.call === 'SetPassword' && each.user === user);
  await waitFor(arrived, { what: 'the change to be sent' });
  const closing = () =>
    waitFor(
      () =>
        fetch(worker.url).then(
          () => false,
          () => true,
        ),
      { what: 'the worker to begin to close' },
    );
  return { place, worker, user, jobId, closing };
}

it.concurrent('a second SIGTERM exits at once; another worker finishes the job', async () => {
  const { place, worker, user, jobId, closing } = await held();
  worker.term();
  await closing();
  const again = setInterval(() => worker.term(), 50);
  expect(await worker.exited).toEqual({ code: 130, signal: null });
  clearInterval(again);
  expect(await place.job(jobId)).toMatchObject({ done: false });
  const next = await place.work({ PASSFERRY_V2_DEADLINE: '8s', PASSFERRY_V2_SETTLE: '1s' });
  expect(await place.outcome(jobId)).toMatchObject(set);
  expect(await world.changes('globex', user)).toBe(1);
  next.kill9();
});

it.concurrent('one Ctrl-C that arrives twice is one: it closes in order', async () => {
  const place = await world.installation();
  const worker = await place.work();
  process.kill(worker.pid, 'SIGINT');
  process.kill(worker.pid, 'SIGTERM');
  expect(await worker.exited).toEqual({ code: 0, signal: null });
});

it.concurrent('Redis is away for good: SIGTERM ends the worker all the same', async () => {
  const place = await world.installation();
  const proxy = await startProxy({ targetHost: '127.0.0.1', targetPort: world.redis.port });
  const worker = await place.work({ PASSFERRY_REDIS_URL: `redis://127.0.0.1:${proxy.port}` });
  proxy.cut();
  worker.term();
  // 0, or 1 when it had to be cut short; never by somebody's SIGKILL.
  expect(await worker.exited).toMatchObject({ signal: null });
});

describe('kill -9: the job in hand is finished by another worker', () => {
  it.concurrent.each(standings)('%s', async (standing: Standing) => {
    const { outcome, changes } = await recover(world, standing);
    expect(outcome).toMatchObject(set);
    expect(changes).toBe(1);
  });
});
