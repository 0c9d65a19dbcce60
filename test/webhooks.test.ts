import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import { exportJWK, generateKeyPair } from 'jose';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { readPrivateKeys, readPublicKeys } from '../src/key-files.ts';
import { createDeliveries, deliveryId } from '../src/ledger/deliveries.ts';
import { sealWebhookSecret } from '../src/ledger/webhook-secret.ts';
import { createWebhooks } from '../src/ledger/webhooks.ts';
import { createOutgoingCheck } from '../src/outgoing.ts';
import { pairNamedBy } from '../src/seal.ts';
import { type Received, startReceiver } from './kit/receiver.ts';
import { startRedis, type TestRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';
import { verified, type WebhookScene, webhookScene } from './kit/webhook-scene.ts';

let redis: TestRedis;
let receiver: Awaited<ReturnType<typeof startReceiver>>;
let scene: WebhookScene;
let paths = 0;

beforeAll(async () => {
  redis = await startRedis();
  receiver = await startReceiver();
  scene = await webhookScene(redis);
  scene.start();
});

/** A webhook on a path of its own. */
async function hook(of = scene) {
  const path = `/in/${++paths}`;
  const added = await of.add(`${receiver.url}${path}`);
  const { id } = added.webhook;
  return { ...added, id, path, remove: async () => of.desk.remove((await of.desk.read(id)) as never) };
}

async function received(path: string, count: number): Promise<Received[]> {
  await waitFor(() => receiver.at(path).length >= count, { what: `${count} requests at ${path}` });
  return receiver.at(path);
}

describe('a delivery', () => {
  it('is what the official library verifies: type, time and the whole event', async () => {
    const { path, secret, id, remove } = await hook();
    const event = await scene.tell({ type: 'job.failed', user: 'u1', code: 'not_found', reason: 'x', inEffect: false });
    const [one] = await received(path, 1);
    const payload = verified(secret, one as never);
    expect(payload).toMatchObject({ type: 'job.failed', data: { id: event, org: 'acme', user: 'u1', attempts: 1 } });
    expect(one?.headers).toMatchObject({ 'content-type': 'application/json' });
    const delivered = await scene.delivery(id, event, ({ state }) => state === 'delivered');
    expect(delivered).toMatchObject({ id: one?.headers['webhook-id'], attempts: 1, status: 204 });
    expect(() => verified(`whsec_${Buffer.alloc(32).toString('base64')}`, one as never)).toThrow();
    await remove();
  });

  it('goes to the webhooks of its organization that want its type, since they were made', async () => {
    const before = await scene.tell();
    const mine = await hook();
    const picky = await scene.desk.add({
      org: 'acme',
      url: `${receiver.url}/picky`,
      events: ['job.failed'],
      by: 'test',
    });
    const other = await scene.add(`${receiver.url}/other`, 'globex');
    await scene.tell();
    await scene.tell({ org: 'globex' });
    const failed = await scene.tell({ type: 'job.failed' });
    const all = await received(mine.path, 2);
    await received('/picky', 1);
    await received('/other', 1);
    expect(all.map((each) => verified(mine.secret, each).data.id)).not.toContain(before);
    expect(receiver.at('/picky').map((each) => verified(picky.secret, each).data.id)).toEqual([failed]);
    expect(receiver.at('/other').map((each) => verified(other.secret, each).data)).toMatchObject([{ org: 'globex' }]);
    for (const { id } of [mine.webhook, picky.webhook, other.webhook]) {
      await scene.desk.remove((await scene.desk.read(id)) as never);
    }
  });

  it('is not made of an event that nobody of ours signed', async () => {
    const { path, secret, remove } = await hook();
    const forged = await scene.tell({}, { current: Buffer.alloc(32, 7) });
    const real = await scene.tell();
    const all = await received(path, 1);
    expect(all.map((each) => verified(secret, each).data.id)).toEqual([real]);
    expect(forged).not.toBe(real);
    await remove();
  });

  test.each<[string, Parameters<typeof receiver.answer>[1], object]>([
    ['500', 500, { status: 500, reason: 'answered' }],
    ['404', 404, { status: 404, reason: 'answered' }],
    [
      'a redirect',
      (reply) => void reply.writeHead(302, { location: `${receiver.url}/trap` }).end(),
      { reason: 'redirect' },
    ],
    ['a reset', (reply) => void reply.socket?.resetAndDestroy(), { reason: 'connection' }],
    ['no answer at all', () => {}, { reason: 'timeout' }],
    [
      'headers without an end',
      (reply) => void reply.socket?.write(`HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(20_000)}`),
      { reason: 'connection' },
    ],
    ['no HTTP', (reply) => void reply.socket?.end('hello\r\n\r\n'), { reason: 'connection' }],
  ])('is tried again after %s, under the same id, and taken then', async (_what, fault, expected) => {
    const own = await webhookScene(redis, { timeoutMs: 300, ladder: [600, 20, 20] });
    own.start();
    const { path, id } = await hook(own);
    receiver.answer(path, fault, 200);
    const event = await own.tell();
    const waiting = await own.delivery(id, event, ({ reason }) => reason !== undefined);
    expect(waiting).toMatchObject({ state: 'waiting', attempts: 1, nextAt: expect.any(String), ...expected });
    const done = await own.delivery(id, event, ({ state }) => state === 'delivered');
    expect(done).toMatchObject({ attempts: 2, status: 200 });
    const ids = receiver.at(path).map(({ headers }) => headers['webhook-id']);
    expect(ids).toEqual([done.id, done.id]);
    expect(receiver.at('/trap')).toEqual([]);
  });

  test.each<[string, (reply: ServerResponse) => void]>([
    ['huge', (reply) => void reply.writeHead(200).end(Buffer.alloc(64 * 1024 * 1024, 'x'))],
    [
      'endless',
      (reply) => {
        reply.writeHead(200);
        const timer = setInterval(() => reply.write('x'), 10);
        reply.once('close', () => clearInterval(timer));
      },
    ],
  ])('whose answer is %s is taken by its status, and the connection is ended', async (_what, answer) => {
    const { path, id, remove } = await hook();
    let ended = false;
    receiver.answer(path, (reply) => {
      reply.once('close', () => {
        ended = true;
      });
      answer(reply);
    });
    const event = await scene.tell();
    expect(await scene.delivery(id, event, ({ state }) => state === 'delivered')).toMatchObject({ status: 200 });
    await waitFor(() => ended, { what: 'the connection to end' });
    await remove();
  });

  it('fails after its last try, stays visible, and can be sent again under the same id', async () => {
    const { path, id, remove } = await hook();
    receiver.answer(path, 503);
    const event = await scene.tell();
    const failed = await scene.delivery(id, event, ({ state }) => state === 'failed');
    expect(failed).toMatchObject({ attempts: 4, status: 503, reason: 'answered' });
    expect(receiver.at(path)).toHaveLength(4);
    receiver.answer(path, 200);
    const webhook = (await scene.desk.read(id)) as never;
    expect(await scene.desk.replay(webhook, { event })).toEqual({ replayed: 1 });
    expect(await scene.delivery(id, event, ({ state }) => state === 'delivered')).toMatchObject({
      id: failed.id,
      attempts: 1,
    });
    expect(new Set(receiver.at(path).map(({ headers }) => headers['webhook-id']))).toEqual(new Set([failed.id]));
    await remove();
  });

  it('waits as long as the receiver asks, and so do the others to it; nobody else does', async () => {
    const own = await webhookScene(redis, { ladder: [10, 10] });
    own.start();
    const asked = await hook(own);
    const other = await hook(own);
    receiver.answer(asked.path, (reply) => void reply.writeHead(429, { 'retry-after': '600' }).end(), 200);
    const first = await own.tell();
    const waiting = await own.delivery(asked.id, first, ({ reason }) => reason !== undefined);
    const nextMs = Date.parse(waiting.nextAt ?? '') - Date.parse(waiting.lastAt ?? '');
    expect(nextMs).toBeGreaterThanOrEqual(600_000);
    const second = await own.tell();
    await own.delivery(other.id, second, ({ state }) => state === 'delivered');
    expect(await own.delivery(asked.id, second, () => true)).toMatchObject({ state: 'waiting', attempts: 0 });
    expect(receiver.at(asked.path)).toHaveLength(1);
  });

  it('is asked to wait for at most six hours', async () => {
    const own = await webhookScene(redis, { ladder: [10] });
    own.start();
    const { id, path } = await hook(own);
    const inTwoDays = new Date(Date.now() + 172_800_000).toUTCString();
    receiver.answer(path, (reply) => void reply.writeHead(503, { 'retry-after': inTwoDays }).end());
    const event = await own.tell();
    const waiting = await own.delivery(id, event, ({ reason }) => reason !== undefined);
    const nextMs = Date.parse(waiting.nextAt ?? '') - Date.parse(waiting.createdAt);
    expect(nextMs).toBeGreaterThan(5.9 * 3_600_000);
    expect(nextMs).toBeLessThan(6.1 * 3_600_000);
  });

  it('that is answered 410 disables the webhook, and nothing more is sent until somebody enables it', async () => {
    const { path, id, remove } = await hook();
    receiver.answer(path, 410, 200);
    const event = await scene.tell();
    expect(await scene.delivery(id, event, ({ state }) => state === 'failed')).toMatchObject({
      status: 410,
      reason: 'gone',
    });
    const webhook = (await scene.desk.read(id)) as never;
    expect(await scene.desk.view(webhook)).toMatchObject({
      state: 'disabled',
      disabled: { reason: expect.stringContaining('410') },
    });
    await expect(scene.desk.replay(webhook, { event })).rejects.toMatchObject({ reason: 'webhook_disabled' });
    const next = await scene.tell();
    expect(await scene.desk.enable(id)).toMatchObject({ state: 'enabled' });
    const later = await scene.tell();
    await scene.delivery(id, later, ({ state }) => state === 'delivered');
    const bodies = receiver.at(path).map(({ body }) => JSON.parse(body).data.id);
    expect(bodies.filter((each) => each !== next)).toEqual([event, later]);
    await remove();
  });

  it('to a place that is no longer allowed is not sent', async () => {
    const own = await webhookScene(redis, { ladder: [] });
    const { id, path } = await hook(own);
    own.start({ check: createOutgoingCheck([]) });
    const event = await own.tell();
    expect(await own.delivery(id, event, ({ state }) => state === 'failed')).toMatchObject({
      reason: 'webhook_url_forbidden',
    });
    expect(receiver.at(path)).toEqual([]);
  });

  it('connects to the address that was checked, whatever the name says a moment later', async () => {
    // Nobody else knows this name: only the checked address can be meant.
    const check = createOutgoingCheck(['127.0.0.1'], async () => ['127.0.0.1']);
    const own = await webhookScene(redis, { check });
    own.start();
    const added = await own.add(`${receiver.url}/rebind`);
    const webhooks = createWebhooks(own.look, own.keys, own.jobKey);
    const named = await webhooks.add(
      { org: 'acme', url: `http://hooks.invalid:${receiver.port}/named`, events: ['job.*'], by: 'test' },
      (id) => sealWebhookSecret(readPublicKeys(own.keysDir), id, added.secret),
    );
    const event = await own.tell();
    await own.delivery(named.id, event, ({ state }) => state === 'delivered');
    expect(receiver.at('/named')[0]?.headers.host).toBe(`hooks.invalid:${receiver.port}`);
  });
});

describe('slow receivers', () => {
  it('do not hold up others, nor get more than a few requests at once', async () => {
    const own = await webhookScene(redis, { timeoutMs: 60_000, atOnce: 8 });
    const open: Socket[] = [];
    let most = 0;
    const silent = createServer((socket) => {
      open.push(socket);
      most = Math.max(most, open.length);
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => silent.once('listening', resolve));
    const slow = await own.add(`http://127.0.0.1:${(silent.address() as AddressInfo).port}/`);
    const fast = await hook(own);
    const deliver = own.start();
    for (let i = 0; i < 30; i++) await own.tell();
    const all = await received(fast.path, 30);
    expect(new Set(all.map(({ headers }) => headers['webhook-id'])).size).toBe(30);
    expect(most).toBe(4);
    expect((await own.desk.deliveries((await own.desk.read(slow.webhook.id)) as never, 100)).length).toBe(30);
    for (const socket of open) socket.destroy();
    silent.close();
    await deliver.close();
  });

  it('that miss too much are told so, and can be sent what the log has', async () => {
    const own = await webhookScene(redis);
    const { id, path } = await hook(own);
    const events = [await own.tell(), await own.tell()];
    const deliveries = createDeliveries(own.look, own.keys);
    for (const event of events) {
      const what = { id: deliveryId(id, event), event, type: 'job.completed' };
      expect(await deliveries.open(id, what, { most: 0 })).toBeUndefined();
    }
    const webhook = (await own.desk.read(id)) as never;
    expect(await own.desk.view(webhook)).toMatchObject({ missed: { count: 2, first: events[0] } });
    const sinceMs = Number(events[0]?.split('-')[0]);
    expect(await own.desk.replay(webhook, { sinceMs, untilMs: Date.now() + 1_000 })).toEqual({ replayed: 2 });
    expect(await own.desk.view(webhook)).not.toHaveProperty('missed');
    own.start();
    await received(path, 2);
  });
});

describe('secrets', () => {
  it('are told once and never stand in Redis', async () => {
    const { secret, id, path } = await hook();
    await scene.tell();
    await received(path, 1);
    const rotated = await scene.desk.rotate(id);
    expect(rotated.secret).not.toBe(secret);
    expect(JSON.stringify(await scene.desk.view((await scene.desk.read(id)) as never))).not.toContain('whsec_');
    const dump = await dumpOf(scene);
    for (const one of [secret, rotated.secret]) {
      const bytes = Buffer.from(one.slice(6), 'base64');
      for (const form of [
        one,
        one.slice(6),
        bytes.toString('base64url'),
        bytes.toString('hex'),
        bytes.toString('latin1'),
      ]) {
        expect(dump.includes(form)).toBe(false);
      }
    }
    expect(dump).not.toContain('whsec_');
  });

  it('sign both while they rotate, the old one for a day; a lost answer does no harm', async () => {
    const { secret, id, path } = await hook();
    const second = await scene.desk.rotate(id);
    const third = await scene.desk.rotate(id);
    const day = Date.parse(third.webhook.oldSecretUntil ?? '') - Date.now();
    expect(day).toBeGreaterThan(86_300_000);
    expect(day).toBeLessThan(86_500_000);
    await scene.tell();
    const [one] = await received(path, 1);
    for (const each of [secret, second.secret, third.secret])
      expect(verified(each, one as never).type).toBe('job.completed');
    expect(`${one?.headers['webhook-signature']}`.split(' ')).toHaveLength(3);
  });

  it('are sealed anew when the active pair changes, so that the old one can be destroyed', async () => {
    const own = await webhookScene(redis);
    const { id, secret, path } = await hook(own);
    const { privateKey } = await generateKeyPair('ECDH-ES+A256KW', { extractable: true, crv: 'P-256' });
    const next = { kid: 'next', state: 'active' as const, jwk: await exportJWK(privateKey) };
    const old = readPrivateKeys(own.keysDir).map((each) => ({ ...each, state: 'accept' as const })) as never[];
    own.start({ privateKeys: [next, ...old] });
    await waitFor(async () => pairNamedBy((await own.desk.read(id))?.secrets[0]?.sealed ?? '') === 'next', {
      what: 'the secret to be sealed to the new pair',
    });
    await own.tell();
    const [one] = await received(path, 1);
    expect(verified(secret, one as never).type).toBe('job.completed');
    expect(await own.look.get(own.keys.webhook(id))).not.toContain('"d"');
  });

  it('that cannot be opened are a reason of the delivery', async () => {
    const own = await webhookScene(redis, { ladder: [] });
    const { id } = await hook(own);
    own.start({ privateKeys: [] });
    const event = await own.tell();
    expect(await own.delivery(id, event, ({ state }) => state === 'failed')).toMatchObject({
      reason: 'secret_unreadable',
    });
  });
});

describe('a webhook', () => {
  it('counts as absent when it is forged or copied', async () => {
    const { id } = await hook();
    const { keys, look } = scene;
    const stored = JSON.parse((await look.get(keys.webhook(id))) ?? '');
    const other = 'w0-00000000000000000000000000';
    await look.set(keys.webhook(other), JSON.stringify(stored));
    expect(await scene.desk.read(other)).toBeUndefined();
    for (const change of [
      { url: 'https://evil.example.com/' },
      { org: 'globex' },
      { secrets: [] },
      { disabled: undefined, events: ['run.*'] },
    ]) {
      await look.set(keys.webhook(id), JSON.stringify({ ...stored, ...change }));
      expect(await scene.desk.read(id)).toBeUndefined();
    }
    await look.set(keys.webhook(id), JSON.stringify(stored));
    expect(await scene.desk.read(id)).toMatchObject({ id });
  });

  it('that is removed gets nothing more, and leaves nothing behind', async () => {
    const own = await webhookScene(redis);
    own.start();
    const { id, path, remove } = await hook(own);
    receiver.answer(path, 500);
    await own.tell();
    await received(path, 1);
    await remove();
    expect(await own.desk.list('acme')).toEqual([]);
    expect(await own.look.exists(own.keys.webhookCursor, own.keys.deliveries(id), own.keys.deliveriesOpen(id))).toBe(0);
    await waitFor(async () => (await own.queued()) === 0, { what: 'its jobs to go' });
  });

  it('can be tried: one event that only says hello, also while it is disabled', async () => {
    const { id, path, secret } = await hook();
    await scene.desk.disable(id, 'maintenance', 'somebody');
    receiver.answer(path, 500);
    const delivery = await scene.desk.test((await scene.desk.read(id)) as never);
    const [one] = await received(path, 1);
    expect(verified(secret, one as never)).toMatchObject({ type: 'webhook.test', data: { webhook: id, org: 'acme' } });
    const webhook = (await scene.desk.read(id)) as never;
    const failed = await waitFor(async () => (await scene.desk.deliveries(webhook, 1, 'failed'))[0], {
      what: 'its end',
    });
    expect(failed).toMatchObject({ id: delivery, type: 'webhook.test', attempts: 1, status: 500 });
  });

  it('is one of at most twenty of its organization', async () => {
    const own = await webhookScene(redis);
    const all = await Promise.allSettled(Array.from({ length: 25 }, (_, i) => own.add(`${receiver.url}/many/${i}`)));
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(20);
    const refused = all.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
    expect(refused.reason).toMatchObject({ reason: 'webhook_limit' });
  });
});

/** Every key and value that Redis holds for a scene, as one text. */
async function dumpOf({ look, keys }: WebhookScene): Promise<string> {
  const names = await look.keys(`{${keys.namespace}:0}*`);
  const parts: string[] = [];
  for (const name of names) {
    const type = await look.type(name);
    if (type === 'string') parts.push((await look.get(name)) ?? '');
    if (type === 'hash') parts.push(JSON.stringify(await look.hgetall(name)));
    if (type === 'zset') parts.push((await look.zrange(name, 0, -1)).join());
    if (type === 'set') parts.push((await look.smembers(name)).join());
    if (type === 'list') parts.push((await look.lrange(name, 0, -1)).join());
    if (type === 'stream') parts.push(JSON.stringify(await look.xrange(name, '-', '+')));
  }
  return parts.join('\n');
}
