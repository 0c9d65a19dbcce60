import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { tempDir } from './kit/files.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { startReceiver } from './kit/receiver.ts';
import { waitFor } from './kit/wait.ts';
import { verified, webhookScene } from './kit/webhook-scene.ts';

/** A worker process dies around the sending of a delivery; the next one goes on. */

const world = await startProcessWorld();
const receiver = await startReceiver();
const dir = tempDir();
const hook = new URL('kit/die-at.mjs', import.meta.url).href;
const allow = { PASSFERRY_WEBHOOK_ALLOW: '127.0.0.1' };
afterAll(() => world.close());

test.each([
  ['after it is stored, before the place in the log moves on', 'delivery:stored', undefined],
  ['before it is sent', 'delivery:begun', 1],
  ['after it is sent, before that is recorded', 'delivery:sent', 2],
  ['after that is recorded, before the queue is told', 'delivery:recorded', 1],
] as const)('a worker is killed %s: nothing is lost, and a repeat has the same webhook-id', async (_, point, times) => {
  const namespace = `k${randomUUID().slice(0, 8)}`;
  const place = await world.installation(namespace);
  const scene = await webhookScene(world.redis, {}, { keysDir: world.keysDir, namespace });
  const path = `/${point}`;
  const { webhook, secret } = await scene.add(`${receiver.url}${path}`);
  const child = await place.work({
    ...allow,
    NODE_OPTIONS: `--import ${hook}`,
    DIE_AT: point,
    DIE_ONCE: join(dir, randomUUID()),
  });
  const event = await scene.tell();
  expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
  // What happens while nobody works is told too.
  const later = await scene.tell();
  const { kill9, exited } = await place.work(allow);
  const done = async (id: string) => {
    const all = await scene.desk.deliveries((await scene.desk.read(webhook.id)) as never, 10);
    return all.some((each) => each.event === id && each.state === 'delivered');
  };
  for (const each of [event, later]) {
    await waitFor(() => done(each), { what: `the delivery of ${each}` });
  }
  await waitFor(async () => (await scene.queued()) === 0, { what: 'an empty queue' });
  const received = receiver
    .at(path)
    .map((each) => ({ event: verified(secret, each).data.id, id: each.headers['webhook-id'] }));
  const first = received.filter((each) => each.event === event);
  // The process that dies may have begun to send.
  expect(first.length).toBeGreaterThan(0);
  expect(first.length).toBeLessThanOrEqual(times ?? 2);
  if (times !== undefined) expect(first).toHaveLength(times);
  expect(new Set(first.map(({ id }) => id)).size).toBe(1);
  expect(received.filter((each) => each.event === later)).toHaveLength(1);
  kill9();
  await exited;
});
