import { randomBytes, randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { queueNames } from '../src/job.ts';
import { Secret } from '../src/secret.ts';
import { createGate } from '../src/worker/gate.ts';
import { runOptions } from './kit/pages.ts';
import { queueWorld } from './kit/queue-world.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const server = await startRedis({ appendonly: false });
const asker = { caller: 'c', admin: true };

/** An installation without a worker yet, and how its callers ask. */
async function world() {
  const made = await queueWorld(server.url);
  const producer = made.producer(server.url);
  await waitFor(() => producer.ping().catch(() => undefined), { what: 'the producer to be connected' });
  const request = (org: string, user: string) => {
    return { org, user, password: Secret.fromString('A-password-1'), changeRequired: false };
  };
  const ask = async (org: string, user: string = randomUUID()): Promise<string> =>
    (await producer.setPassword(asker, request(org, user))).jobId;
  async function askMany(org: string, number: number): Promise<string[]> {
    const ids: string[] = [];
    for (let i = 0; i < number; i++) ids.push(await ask(org));
    return ids;
  }
  /** A file with so many rows. */
  async function file(org: string, number: number): Promise<string> {
    const id = `r0-${randomBytes(13).toString('hex')}`;
    const run = await producer.openRun({ id, caller: 'c', org, expiresInMs: 60_000, options: runOptions });
    for (let i = 0; i < number; i++) {
      await run.add({ line: i + 1, user: randomUUID() }, Secret.fromString('A-password-1'));
    }
    await run.flush();
    await producer.runs.closeInput(id, run.pages());
    return id;
  }
  return {
    ...made,
    ...{ producer, request, ask, askMany, file },
    waiting: (queue: keyof typeof queueNames = 'interactive') =>
      made.redis.zrange(made.keys.line(queueNames[queue]), 0, -1),
    /** How many were applied before this one. */
    before: async (jobId: string): Promise<number> => {
      await made.outcome(jobId);
      return [...made.applied].indexOf(jobId);
    },
  };
}

test('an organization with a thousand waiting jobs does not make another wait', async () => {
  const { askMany, ask, worker, before } = await world();
  await askMany('many', 1_000);
  const [one, other] = [await ask('few'), await ask('few')];
  worker(server.url, { limit: 1 });
  expect(await before(one)).toBeLessThan(5);
  expect(await before(other)).toBeLessThan(8);
});

test('nor do the jobs of it that are at the backend already', async () => {
  const { askMany, ask, worker, before, holdBack, letGo, inHand, waiting } = await world();
  holdBack();
  await askMany('many', 300);
  worker(server.url, { limit: 1 });
  await waitFor(() => inHand() === 1, { what: 'the backend to be asked' });
  await waitFor(async () => (await waiting()).length === 296, { what: 'as many as may to be taken' });
  const one = await ask('few');
  letGo();
  expect(await before(one)).toBeLessThan(8);
});

test('three organizations are taken in turn, whatever they have waiting', async () => {
  const { askMany, waiting } = await world();
  const a = await askMany('a', 20);
  const b = await askMany('b', 3);
  const c = await askMany('c', 2);
  const line = await waiting();
  // Whoever comes while the first round is served stands in the second.
  expect(line.slice(0, 9)).toEqual([a[0], a[1], b[0], c[0], a[2], b[1], c[1], a[3], b[2]]);
  expect(line.slice(9)).toEqual(a.slice(4));
});

test('the jobs of one organization keep their order, also those that come while what waits gets less', async () => {
  const { ask, askMany, worker, holdBack, letGo, applied, waiting } = await world();
  const ids = await askMany('one', 300);
  holdBack();
  worker(server.url, { limit: 2 });
  for (let i = 0; i < 10; i++) {
    const left = (await waiting()).length;
    letGo();
    await waitFor(async () => left === 0 || (await waiting()).length < left, { what: 'some to be taken' });
    holdBack();
    ids.push(await ask('one'));
    const line = await waiting();
    expect(line).toEqual(ids.filter((id) => line.includes(id)));
  }
  letGo();
  await waitFor(() => applied.size === ids.length, { what: 'all to end' });
});

test('two jobs of one user end in the order of their acceptance however many waited between them', async () => {
  const { ask, askMany, worker, outcome, applied } = await world();
  await askMany('many', 50);
  const older = await ask('many', 'ann');
  await askMany('many', 20);
  const newer = await ask('many', 'ann');
  worker(server.url, { limit: 1 });
  expect(await outcome(older)).toMatchObject({ result: 'set' });
  expect(await outcome(newer)).toMatchObject({ result: 'set' });
  const order = [...applied];
  expect(order.indexOf(older)).toBeLessThan(order.indexOf(newer));
});

test('a job that stays open does not keep the later ones of its organization back', async () => {
  const { ask, askMany, waiting, redis, keys } = await world();
  await askMany('one', 40);
  // Taken and put off for long: the queue is empty, the jobs are open.
  await redis.del(keys.line(queueNames.interactive));
  await redis.hset(keys.load, 'jobs:one', '1');
  const others = await askMany('other', 4);
  const next = await ask('one');
  expect((await waiting()).indexOf(next)).toBeLessThan(others.length);
});

test('a file of one organization does not make the file of another wait', async () => {
  const { file, worker, applied, holdBack, letGo, inHand, waiting, keys, redis } = await world();
  holdBack();
  const many = await file('many', 1_500);
  worker(server.url, { limit: 1 });
  await waitFor(() => inHand() === 1, { what: 'the first row to be at the backend' });
  const few = await file('few', 16);
  const isFed = async () => (await waiting('rows')).filter((id) => id.startsWith(few)).length === 16;
  await waitFor(isFed, { what: 'the other file to be fed' });
  letGo();
  await waitFor(async () => (await redis.hget(keys.run(few), 'finished')) === '16', {
    what: 'the rows of the other file',
  });
  expect([...applied].filter((id) => id.startsWith(many)).length).toBeLessThan(60);
});

test('what came with many others waits with the rows and is the same job everywhere', async () => {
  const { producer, request, waiting, redis, keys } = await world();
  const how = { queue: 'rows', idempotencyKey: 'k' } as const;
  const { jobId } = await producer.setPassword(asker, request('o', 'u'), how);
  expect(await waiting('rows')).toEqual([jobId]);
  // Lost by the queue, and sent again by itself: it goes where it was.
  await redis.del(keys.line(queueNames.rows), `${keys.bullPrefix}:${queueNames.rows}:${jobId}`);
  const again = await producer.setPassword(asker, request('o', 'u'), { idempotencyKey: 'k' });
  expect(again).toMatchObject({ jobId, replayed: true });
  expect([await waiting('rows'), await waiting()]).toEqual([[jobId], []]);
  expect(await producer.view(jobId)).toMatchObject({ state: 'waiting', done: false });
  expect(await producer.cancel(jobId)).toMatchObject({ done: true, ended: 'canceled' });
  expect(await waiting('rows')).toEqual([]);
});

test('organizations that wait at a gate are let in by turns, each in its own order', async () => {
  const gate = createGate(1);
  const open = new AbortController().signal;
  const order: string[] = [];
  const leave = await gate.enter('interactive', open, 'a');
  const waiting = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map(async (name) => {
    const done = await gate.enter('interactive', open, name.slice(0, 1));
    order.push(name);
    done();
  });
  leave();
  await Promise.all(waiting);
  expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
});
