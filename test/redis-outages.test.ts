import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createProducer } from '../src/index.ts';
import { newPassword } from './kit/conformance.ts';
import type { Passferry } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';
import type { FaultProxy } from './kit/proxy.ts';
import { startProxy } from './kit/proxy.ts';
import { queueWorld } from './kit/queue-world.ts';
import type { TestRedis } from './kit/redis.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const stable = await startRedis();
const unavailable = { code: 'unavailable', reason: 'accept_unknown' };
const set = { result: 'set', inEffect: true };

async function proxied(redis: TestRedis = stable): Promise<{ proxy: FaultProxy; url: string }> {
  const proxy = await startProxy({ targetHost: '127.0.0.1', targetPort: redis.port });
  return { proxy, url: `redis://127.0.0.1:${proxy.port}` };
}

/** Time that passes is the fact here. */
const outageOf = (seconds: number) => {
  const end = performance.now() + seconds * 1_000;
  return waitFor(() => performance.now() > end, { what: 'the outage to last' });
};

// Everything slow starts at once, each in a world of its own; the tests below await what came out.
const seconds = [1, 5, 9, 30];
const servers = await Promise.all(seconds.map(() => startRedis()));
const outages = seconds.flatMap((length, i) =>
  (['cut', 'killed'] as const).map((fault) => {
    const server = fault === 'cut' ? stable : (servers[i] as TestRedis);
    return { fault, length, came: outage(server, fault, length) };
  }),
);
const anew = stranded();
anew.catch(() => {});
for (const { came } of outages) came.catch(() => {});

/** An idle and a busy installation through one outage of Redis. */
async function outage(server: TestRedis, fault: 'cut' | 'killed', length: number) {
  const { proxy, url } = await proxied(server);
  const [idle, busy] = [await queueWorld(server.url), await queueWorld(server.url)];
  const workers = [idle.worker(url), busy.worker(url)];
  await Promise.all(workers.map((worker) => worker.ready));
  const producers = { idle: idle.producer(server.url), busy: busy.producer(server.url) };
  const warm = await waitFor(() => producers.idle.ask(), { what: 'the producer to be connected' });
  await idle.outcome(warm);
  busy.holdBack();
  await waitFor(() => producers.busy.ask(), { what: 'the producer to be connected' });
  const jobs = await Promise.all(Array.from({ length: 30 }, () => producers.busy.ask()));
  await waitFor(() => busy.inHand() > 0, { what: 'jobs in hand' });

  if (fault === 'cut') proxy.cut();
  else await server.kill9();
  // What was in hand ends in the backend while Redis is away.
  busy.letGo();
  await outageOf(length);
  if (fault === 'cut') await proxy.restore();
  else await server.restart();

  const again = {
    idle: await waitFor(() => producers.idle.ask(), { what: 'the idle one to accept' }),
    busy: await waitFor(() => producers.busy.ask(), { what: 'the busy one to accept' }),
  };
  return {
    before: await Promise.all(jobs.map((job) => busy.outcome(job))),
    idle: await idle.outcome(again.idle),
    busy: await busy.outcome(again.busy),
    lines: Math.max(idle.lines.length, busy.lines.length),
  };
}

/** Connections that never answer again, as after a fail-over without a word. */
async function stranded() {
  const { proxy, url } = await proxied();
  const world = await queueWorld(stable.url);
  await world.worker(url).ready;
  const producer = world.producer(url);
  await world.outcome(await waitFor(() => producer.ask(), { what: 'the first job' }));
  proxy.strand();
  await expect(producer.ask()).rejects.toMatchObject(unavailable);
  const job = await waitFor(() => producer.ask(), { what: 'the producer on a new connection' });
  return world.outcome(job);
}

describe('a worker takes jobs again by itself, and nothing is lost (F20)', () => {
  it.each(outages)('Redis is $fault for $length s', async ({ came }) => {
    const { before, idle, busy, lines } = await came;
    for (const outcome of [...before, idle, busy]) expect(outcome).toMatchObject(set);
    expect(lines).toBeLessThan(60);
  });
});

/**
 * Who holds a connection × what happens to it (F64). A cell ends its fault only after the call has failed: failing fast
 * is then no matter of a clock. `undefined`: the cell does not apply.
 */
type Cell = ((proxy: FaultProxy, url: string) => Promise<void>) | undefined;
const faults = ['is up, then Redis is away', 'is made while Redis is away', 'goes silent (half-open)'] as const;

async function failsThenRecovers(proxy: FaultProxy, url: string, order: 'down' | 'start' | 'silent'): Promise<void> {
  const world = await queueWorld(stable.url);
  if (order === 'start') proxy.cut();
  const producer = world.producer(url);
  if (order !== 'start') await waitFor(() => producer.ask(), { what: 'the first job' });
  if (order === 'down') proxy.cut();
  if (order === 'silent') proxy.blackhole();
  const key = randomUUID();
  await expect(producer.ask(key)).rejects.toMatchObject(unavailable);
  await expect(producer.ask(key)).rejects.toMatchObject(unavailable);
  await proxy.restore();
  const job = await waitFor(() => producer.ask(key), { what: 'the same key to be accepted' });
  world.worker(stable.url);
  expect(await world.outcome(job)).toMatchObject(set);
}

async function waiterHears(proxy: FaultProxy, url: string, order: 'down' | 'start' | 'silent'): Promise<void> {
  const world = await queueWorld(stable.url);
  const asker = world.producer(stable.url);
  const job = await waitFor(() => asker.ask(), { what: 'a job' });
  if (order === 'start') proxy.cut();
  const producer = world.producer(url);
  const waited = producer.wait(job, 20_000);
  waited.catch(() => {});
  if (order === 'down') proxy.cut();
  if (order === 'silent') proxy.blackhole();
  world.worker(stable.url);
  expect(await world.outcome(job)).toMatchObject(set);
  await proxy.restore();
  // Told now or, when the wait was given up meanwhile, to whoever asks again.
  const told = await waited.catch(() => undefined);
  expect(told ?? (await waitFor(() => producer.wait(job, 5_000), { what: 'the outcome' }))).toMatchObject(set);
}

async function workerGoesOn(proxy: FaultProxy, url: string, order: 'down' | 'start' | 'silent'): Promise<void> {
  const world = await queueWorld(stable.url);
  const producer = world.producer(stable.url);
  if (order === 'start') proxy.cut();
  const worker = world.worker(url);
  if (order !== 'start') await worker.ready;
  if (order === 'down') proxy.cut();
  if (order === 'silent') proxy.blackhole();
  const job = await waitFor(() => producer.ask(), { what: 'a job' });
  expect(world.applied).not.toContain(job);
  await proxy.restore();
  expect(await world.outcome(job)).toMatchObject(set);
}

async function libraryGivesUp(proxy: FaultProxy, url: string): Promise<void> {
  const { keysDir } = await passferry();
  proxy.cut();
  await expect(createProducer({ redisUrl: url, keysDir })).rejects.toMatchObject({ reason: 'redis_down' });
}

let started: Promise<Passferry> | undefined;
function passferry(): Promise<Passferry> {
  started ??= startPassferry();
  return started;
}

const each = (run: typeof workerGoesOn): Cell[] =>
  (['down', 'start', 'silent'] as const).map((order) => (proxy, url) => run(proxy, url, order));
const table: [who: string, cells: Cell[], otherwise?: string][] = [
  ['a producer fails fast and recovers', each(failsThenRecovers)],
  ['a library producer says `redis_down`', [undefined, libraryGivesUp, undefined], 'once made it is a producer'],
  ['a caller who waits hears the outcome', each(waiterHears)],
  ['a worker waits and goes on', each(workerGoesOn)],
];

describe.each(table)('%s', (who, cells, otherwise) => {
  faults.forEach((fault, i) => {
    const cell = cells[i];
    if (!cell) process.stdout.write(`does not apply: ${who}: ${fault}: ${otherwise}\n`);
    else
      it.concurrent(`when the connection ${fault}`, async () => {
        const { proxy, url } = await proxied();
        await cell(proxy, url);
      });
  });
});

it('connections that stay dead are made anew, by a producer and by a worker', async () => {
  expect(await anew).toMatchObject(set);
});

describe('Redis is out of memory', () => {
  it('a producer answers 503 with a reason, and the same key finds its job later', async () => {
    const pf = await passferry();
    const world = await queueWorld(pf.redis.url);
    const [user, password, key] = [randomUUID(), newPassword(), randomUUID()];
    await pf.addUser('acme', user);
    await world.redis.config('SET', 'maxmemory', '1');
    const answer = await pf.set('acme', user, password, { headers: { 'idempotency-key': key } });
    expect(answer.status).toBe(503);
    expect(answer.headers.get('passferry-reason')).toBe('accept_unknown');
    await world.redis.config('SET', 'maxmemory', '0');
    expect((await pf.set('acme', user, password, { headers: { 'idempotency-key': key } })).status).toBe(200);
    expect(await pf.works('acme', user, password)).toBe(true);
  });

  it('a worker neither spins nor floods the log, and goes on (F41)', async () => {
    const server = await startRedis();
    const world = await queueWorld(server.url);
    const producer = world.producer(server.url);
    world.holdBack();
    await world.worker(server.url, { limit: 2 }).ready;
    await waitFor(() => producer.ask(), { what: 'the first job' });
    const jobs = await Promise.all(Array.from({ length: 100 }, () => producer.ask()));
    await waitFor(() => world.inHand() === 2, { what: 'jobs in hand' });
    await world.redis.config('SET', 'maxmemory', '1');
    const linesBefore = world.lines.length;
    world.letGo();
    await outageOf(8);
    const refusals = Number(/errorstat_OOM:count=(\d+)/.exec(await world.redis.info('errorstats'))?.[1] ?? 0);
    // A few for each job in hand, and two takers that ask once a second.
    expect(refusals).toBeGreaterThan(0);
    expect(refusals).toBeLessThan(200);
    expect(world.lines.length - linesBefore).toBeLessThan(50);
    await world.redis.config('SET', 'maxmemory', '0');
    for (const job of jobs) expect(await world.outcome(job)).toMatchObject(set);
  });
});
