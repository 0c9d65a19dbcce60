import { randomUUID } from 'node:crypto';
import net from 'node:net';
import Fastify from 'fastify';
import { afterEach, expect, test } from 'vitest';
import type { Event } from '../src/event.ts';
import { createProducer } from '../src/index.ts';
import { createEventLog } from '../src/ledger/event-log.ts';
import { entryOf } from '../src/ledger/tell.ts';
import { createEventHub, type Told } from '../src/producer/event-hub.ts';
import { createStreams, eventBlock } from '../src/producer/http/event-stream.ts';
import { jobKey, keysDir, scene, server } from './kit/ledger-scene.ts';
import { waitFor } from './kit/wait.ts';

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

/** A hub over a log of its own, and events that are written as the scripts write them. */
async function readers() {
  const { keys, redis, connect } = await scene();
  const log = createEventLog(redis, keys, jobKey);
  const hub = createEventHub({ log, connect });
  endings.push(() => hub.close());
  let told = 0;
  return {
    ...{ keys, redis, log, hub },
    /** Adds events; returns their ids. */
    async tell(count: number, { org = 'one', user = 'ann' } = {}): Promise<string[]> {
      const ids: string[] = [];
      for (let left = count; left > 0; left -= 1_000) {
        const pipeline = redis.pipeline();
        for (let i = 0; i < Math.min(left, 1_000); i += 1) {
          const job = { jobId: `j${told++}`, org, user };
          const [event, mac] = entryOf(jobKey, job, { result: 'set', inEffect: true, at: 0 });
          pipeline.xadd(keys.events, '*', 'e', event, 'm', mac, 'n', '1');
        }
        for (const [, id] of (await pipeline.exec()) ?? []) ids.push(id as string);
      }
      return ids;
    },
    async follow(after?: string, wants: (event: Event) => boolean = () => true) {
      const ending = new AbortController();
      endings.push(() => ending.abort());
      return { ...(await hub.follow({ after, wants, signal: ending.signal })), end: () => ending.abort() };
    },
  };
}

const idOf = (told: Told | undefined) => (told?.kind === 'event' ? told.event.id : told?.from);

async function take(told: AsyncGenerator<Told, void>, count: number): Promise<(string | undefined)[]> {
  const ids: (string | undefined)[] = [];
  while (ids.length < count) ids.push(idOf((await told.next()).value ?? undefined));
  return ids;
}

test('a reader that stands still while thousands are told misses none of them', async () => {
  const { follow, tell } = await readers();
  const { told } = await follow();
  await told.next();
  const [first] = await tell(1);
  expect(await take(told, 1)).toEqual([first]);

  const ids = await tell(3_000);

  expect(await take(told, 3_000)).toEqual(ids);
});

test('events that come while a reader catches up are told once, in their place', async () => {
  const { follow, tell } = await readers();
  const [first, ...ids] = await tell(1_500);
  const { told } = await follow(first);
  const seen: (string | undefined)[] = [];

  for (let i = 0; i < 15; i += 1) {
    seen.push(...(await take(told, 100)).slice(0, 100));
    ids.push(...(await tell(i % 3)));
  }
  seen.push(...(await take(told, ids.length - seen.length)));

  expect(seen).toEqual(ids);
});

test('a reader to whom nothing belongs moves on all the same', async () => {
  const { follow, tell, hub } = await readers();
  const [mine, theirs] = [await follow(), await follow(undefined, ({ org }) => org === 'two')];
  await mine.told.next();
  await theirs.told.next();
  const next = theirs.told.next();
  await waitFor(() => hub.size() === 2, { what: 'both to read' });

  const ids = await tell(3);

  await waitFor(() => theirs.position() === ids[2], { what: 'its place to move' });
  const [last] = await tell(1, { org: 'two' });
  expect(idOf((await next).value ?? undefined)).toBe(last);
});

test('a Redis that has lost what was told is noticed by everybody who reads', async () => {
  const { follow, tell, keys, redis } = await readers();
  const { told } = await follow();
  await told.next();
  await tell(2);
  await take(told, 2);
  const next = told.next();
  await redis.del(keys.events);

  await server.restart();

  expect((await next).value).toMatchObject({ kind: 'reset' });
  const [id] = await tell(1);
  expect(await take(told, 1)).toEqual([id]);
});

test('a hub that closes ends its readers', async () => {
  const { follow, hub } = await readers();
  const { told } = await follow();
  await told.next();
  const next = told.next();

  hub.close();

  expect(await next).toEqual({ done: true, value: undefined });
  expect(hub.size()).toBe(0);
});

test('a reader that takes nothing is dropped with little kept for it, and others go on', async () => {
  const { hub, tell } = await readers();
  const closing = new AbortController();
  const streams = createStreams({ perCaller: 9, closing: closing.signal, slowMs: 500 });
  const app = Fastify();
  endings.push(() => app.close());
  app.get('/', (request, reply) =>
    streams.answer(request, reply, 'c', async (signal) => {
      const { told, position } = await hub.follow({ wants: () => true, signal });
      async function* blocks() {
        for await (const each of told) yield each.kind === 'event' ? eventBlock(each.event) : ': start\n\n';
      }
      return { blocks: blocks(), position, isAllowed: async () => true };
    }),
  );
  const port = Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port);
  const open = (onData?: (bytes: Buffer) => void) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    if (onData) socket.on('data', onData);
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    endings.push(() => socket.destroy());
    return socket;
  };
  let told = 0;
  let tail = '';
  open((bytes) => {
    const text = tail + bytes.toString();
    told += text.split('\nevent: ').length - 1;
    tail = text.slice(-8);
  });
  open().pause();
  await waitFor(() => hub.size() === 2, { what: 'both to read' });

  // More than the system keeps for a connection.
  const count = 30_000;
  await tell(count, { user: 'u'.repeat(200) });

  await waitFor(() => hub.size() === 1 && streams.size() === 1, {
    what: 'the slow one to be dropped',
  });
  await waitFor(() => told >= count, { what: 'the other to be told everything' });
  closing.abort();
  await waitFor(() => hub.size() === 0 && streams.size() === 0, { what: 'the end' });
});

test('the library tells what ends from the call on, of one organization', async () => {
  const { work, ask, addUser, producer } = await scene();
  await work();
  const [ann, gil] = [await addUser('v1'), await addUser('v2')];
  const events = producer.events({ org: 'one' });

  await producer.wait(await ask('v2', gil), 20_000);
  const job = await ask('v1', ann);

  const { value } = await events.next();
  expect(value).toMatchObject({ type: 'job.completed', org: 'one', user: ann, job, result: 'set' });
  await events.return();
});

test('the library goes on after an event, ends by its signal, and says when events are lost', async () => {
  const { keys, producer, redis } = await scene();
  const ids: string[] = [];
  for (let i = 0; i < 3; i += 1) {
    const outcome = { result: 'set', inEffect: true, at: 0 } as const;
    const [event, mac] = entryOf(jobKey, { jobId: `j${i}`, org: 'one', user: 'ann' }, outcome);
    ids.push((await redis.xadd(keys.events, '*', 'e', event, 'm', mac, 'n', '1')) as string);
  }
  const ending = new AbortController();
  const seen: string[] = [];

  for await (const { id } of producer.events({ org: 'one', after: ids[0] as string, signal: ending.signal })) {
    seen.push(id);
    if (seen.length === 2) ending.abort();
  }

  expect(seen).toEqual(ids.slice(1));
  await expect(producer.events({ org: 'one', after: '5-0' }).next()).rejects.toMatchObject({ reason: 'events_lost' });
  expect(() => producer.events({ org: 'one', after: 'x' })).toThrow(
    expect.objectContaining({ reason: 'event_id_invalid' }),
  );
});

test('a job of the library waits for its own end', async () => {
  const { work, addUser, keys } = await scene();
  await work();
  const producer = await createProducer({ redisUrl: server.url, keysDir, namespace: keys.namespace });
  endings.push(() => producer.close());

  const job = await producer.setPassword({ org: 'one', user: await addUser('v1'), password: `A-${randomUUID()}` });

  expect(await job.wait(20_000)).toMatchObject({ result: 'set' });
  expect(job).toMatchObject({ jobId: expect.any(String), replayed: false });
});
