import { Redis } from 'ioredis';
import pg from 'pg';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createDatabase, startPostgres } from './kit/postgres.ts';
import { spawnNode } from './kit/processes.ts';
import type { FaultProxy } from './kit/proxy.ts';
import { startProxy } from './kit/proxy.ts';
import type { TestRedis } from './kit/redis.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

/** A client that reports every fault at once and never connects again. */
function client(port: number, options: { commandTimeout?: number } = {}): Redis {
  const redis = new Redis(port, '127.0.0.1', {
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    enableReadyCheck: false,
    ...options,
  });
  redis.on('error', () => {});
  onTestFinished(() => redis.disconnect());
  return redis;
}

describe('redis', () => {
  test('a restart keeps port and data, also after kill -9', async () => {
    const redis = await startRedis();
    await client(redis.port).set('key', 'kept');
    await redis.kill9();
    await expect(client(redis.port).ping()).rejects.toThrow();
    await redis.restart();
    expect(await client(redis.port).get('key')).toBe('kept');
    await redis.restart();
    expect(await client(redis.port).get('key')).toBe('kept');
    await redis.stop();
  });

  test('without append-only file a kill forgets', async () => {
    const redis = await startRedis({ appendonly: false, extra: ['--databases', '2'] });
    await client(redis.port).set('key', 'lost');
    await redis.kill9();
    await redis.restart();
    expect(await client(redis.port).get('key')).toBeNull();
    expect(await client(redis.port).config('GET', 'databases')).toEqual(['databases', '2']);
  });
});

describe('proxy', () => {
  let redis: TestRedis;
  let proxy: FaultProxy;

  beforeAll(async () => {
    redis = await startRedis();
    proxy = await startProxy({ targetHost: '127.0.0.1', targetPort: redis.port });
    return () => proxy.stop();
  });

  test('forwards', async () => {
    const big = 'x'.repeat(300_000);
    await client(proxy.port).set('big', big);
    expect(await client(proxy.port).get('big')).toBe(big);
  });

  test('cut breaks and refuses, restore lets in again', async () => {
    const before = client(proxy.port);
    await before.ping();
    proxy.cut();
    await waitFor(() => before.status === 'end', { what: 'the connection to break' });
    await expect(client(proxy.port).ping()).rejects.toThrow();
    await proxy.restore();
    expect(await client(proxy.port).ping()).toBe('PONG');
  });

  test('a black hole keeps connections and moves nothing until it ends', async () => {
    const old = client(proxy.port);
    await old.ping();
    proxy.blackhole();
    const held = old.set('held', '1');
    const late = client(proxy.port).set('late', '1');
    await expect(client(proxy.port, { commandTimeout: 200 }).ping()).rejects.toThrow(/timed out/);
    expect(old.status).toBe('ready');
    expect(await client(redis.port).exists('held', 'late')).toBe(0);
    await proxy.restore();
    expect(await Promise.all([held, late])).toEqual(['OK', 'OK']);
  });

  test('delay holds replies back, in order', async () => {
    const slow = client(proxy.port);
    await slow.ping();
    proxy.delay(150);
    const begin = performance.now();
    const replies = [slow.incr('n'), slow.incr('n')];
    await waitFor(async () => (await client(redis.port).get('n')) === '2', { what: 'the requests to arrive' });
    proxy.delay(0);
    expect(await Promise.all([...replies, slow.incr('n')])).toEqual([1, 2, 3]);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(149);
    await proxy.restore();
  });

  test('a dropped reply: done by the server, unknown to the client', async () => {
    const [victim, other] = [client(proxy.port), client(proxy.port)];
    await Promise.all([victim.ping(), other.ping()]);
    const before = proxy.dropped();
    proxy.dropReplies(1, 'paid');
    expect(await other.ping()).toBe('PONG');
    await expect(victim.incr('paid')).rejects.toThrow();
    expect(await client(redis.port).get('paid')).toBe('1');
    expect(proxy.dropped() - before).toBe(1);
    expect(await client(proxy.port).incr('paid')).toBe(2);
  });

  test('an injected reply stands for the next request, which the server never sees', async () => {
    const victim = client(proxy.port);
    await victim.ping();
    proxy.injectReply(Buffer.from('-OOM out of memory\r\n'));
    await expect(victim.set('oom', '1')).rejects.toThrow('OOM');
    expect(await client(redis.port).exists('oom')).toBe(0);
    expect(await victim.set('oom', '1')).toBe('OK');
  });
});

test('postgres: fresh databases, restart after kill -9, orderly stop', async () => {
  const server = await startPostgres();
  const url = await createDatabase(server.url);
  expect(await createDatabase(server.url)).not.toBe(url);

  const query = async (sql: string) => {
    const session = new pg.Client({ connectionString: url });
    session.on('error', () => {});
    await session.connect();
    try {
      return (await session.query(sql)).rows;
    } finally {
      await session.end();
    }
  };
  await query('CREATE TABLE kept AS SELECT 1 AS one');
  await server.kill9();
  await expect(query('SELECT 1')).rejects.toThrow();
  await server.restart();
  expect(await query('SELECT one FROM kept')).toEqual([{ one: 1 }]);
  await server.restart();
  expect(await query('SELECT one FROM kept')).toEqual([{ one: 1 }]);
  await server.stop();
});

test('processes: lines, freezing, killing, an early end', async () => {
  const code = `let n = 0; setInterval(() => console.log('tick ' + ++n), 5); console.log('for ' + process.env.WHO);`;
  const child = spawnNode(['--eval', code], { WHO: 'kit' });
  expect(await child.waitForLine(/^for/)).toBe('for kit');
  await child.waitForLine(/^tick 3$/);
  child.stop();
  child.cont();
  const seen = child.lines().length;
  await waitFor(() => child.lines().length > seen, { what: 'ticks after SIGCONT' });
  child.kill9();
  expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
  const ended = spawnNode(['--eval', 'console.error("bye"); process.exit(7)']);
  await expect(ended.waitForLine(/never/)).rejects.toThrow(/ended without.*[\s\S]*bye/);
  expect(await ended.exited).toMatchObject({ code: 7 });
});

test('waitFor names what it waited for and keeps the last error as cause', async () => {
  const wait = waitFor(() => Promise.reject(new Error('not yet')), { timeoutMs: 50, what: 'a fact' });
  await expect(wait).rejects.toMatchObject({ message: /a fact/, cause: { message: 'not yet' } });
});
