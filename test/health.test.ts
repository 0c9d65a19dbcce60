import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createV1Postgres, pgliteClient } from '../src/adapters/v1-postgres/index.ts';
import { loadServeConfig, loadWorkConfig } from '../src/config.ts';
import { freePort } from '../src/embedded/free-port.ts';
import { PassferryError } from '../src/errors.ts';
import { createKeyFiles } from '../src/key-files.ts';
import { createLog } from '../src/log.ts';
import { hashToken } from '../src/producer/callers.ts';
import { connectRedis } from '../src/redis.ts';
import { checkDurability } from '../src/redis-check.ts';
import { serve } from '../src/serve.ts';
import { work } from '../src/work.ts';
import { seldom } from '../src/worker/seldom.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { startProxy } from './kit/proxy.ts';
import { queueWorld } from './kit/queue-world.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

/** What a start refuses, and what the health port says: progress, not `isRunning`. */

const safe = await startRedis();
const log = createLog('silent', 'test');
const keysDir = tempDir();
await createKeyFiles(keysDir);
const unsafe = { code: 'invalid_argument', reason: 'config_invalid' };

async function check(url: string, allowed = false): Promise<void> {
  const redis = connectRedis({ url }, 'worker');
  try {
    await checkDurability(redis, allowed);
  } finally {
    redis.disconnect();
  }
}

/** A user of Redis who may do everything but what is listed. */
async function urlWithout(server: { url: string; port: number }, ...forbidden: string[]): Promise<string> {
  const redis = connectRedis({ url: server.url }, 'worker');
  await redis.call('ACL', 'SETUSER', 'app', 'reset', 'on', '>pw', '~*', '&*', '+@all', ...forbidden);
  redis.disconnect();
  return `redis://app:pw@127.0.0.1:${server.port}`;
}

const lossy = { appendonly: false, extra: ['--maxmemory-policy', 'allkeys-lru'] };

it('takes a Redis that keeps what it has, also where CONFIG is forbidden', async () => {
  await check(safe.url);
  await check(await urlWithout(safe, '-config'));
});

it('refuses one that may forget, says why, and takes it when told to', async () => {
  const server = await startRedis(lossy);
  await expect(check(server.url)).rejects.toMatchObject(unsafe);
  await expect(check(server.url)).rejects.toThrow(/append-only file is off.*may be evicted/s);
  const limited = await urlWithout(server, '-config');
  await expect(check(limited)).rejects.toThrow(/append-only file is off.*may be evicted/s);
  await check(server.url, true);

  const evicting = await startRedis({ extra: ['--maxmemory-policy', 'volatile-ttl'] });
  await expect(check(evicting.url)).rejects.toThrow(/: keys may be evicted/);
  const forgetful = await startRedis({ appendonly: false });
  await expect(check(forgetful.url)).rejects.toThrow(/: the append-only file is off \(/);

  const shared = { PASSFERRY_REDIS_URL: server.url, PASSFERRY_KEYS_DIR: keysDir };
  const callersFile = `${keysDir}/callers.json`;
  const caller = { name: 'c', home: 'o', tokenSha256: hashToken('t'), grants: { o: ['set'] } };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  const serveConfig = loadServeConfig({ ...shared, PASSFERRY_CALLERS_FILE: callersFile });
  await expect(serve(serveConfig, log)).rejects.toMatchObject(unsafe);
  const config = loadWorkConfig({ ...shared, PASSFERRY_V1_URL: 'postgres://127.0.0.1/v1' });
  await expect(work(config, {}, log)).rejects.toMatchObject(unsafe);
});

it('refuses one whose user may not look (INFO forbidden), unless told to', async () => {
  const blind = await urlWithout(safe, '-info');
  await expect(check(blind)).rejects.toMatchObject(unsafe);
  await expect(check(blind)).rejects.toThrow(/INFO/);
  await check(blind, true);
});

it('an idle worker is healthy; one that cannot reach Redis is not, until it can again', async () => {
  const proxy = await startProxy({ targetHost: '127.0.0.1', targetPort: safe.port });
  const backend = await createV1Postgres({ sql: await pgliteClient(), bcryptCost: 4 });
  await backend.migrate();
  const port = await freePort();
  const config = loadWorkConfig({
    PASSFERRY_REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_NAMESPACE: 'health',
    PASSFERRY_V1_URL: 'postgres://127.0.0.1/embedded',
    // The longest time of one job, and with it what counts as stuck: 10.4 s.
    PASSFERRY_V2_DEADLINE: '100ms',
    PASSFERRY_V2_SETTLE: '200ms',
    PASSFERRY_HEALTH_LISTEN: `127.0.0.1:${port}`,
  });
  const worker = await work(config, { v1: backend }, log);
  atEnd(() => worker.close());
  const health = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    return { status: answer.status, ...((await answer.json()) as { stuckForMs: number; healthy: boolean }) };
  };
  await waitFor(async () => (await health()).status === 200, { what: 'the worker to be ready' });
  const looks = async () => {
    const redis = connectRedis({ url: safe.url }, 'worker');
    const stats = await redis.info('commandstats');
    redis.disconnect();
    return Number(/cmdstat_llen:calls=(\d+)/.exec(stats)?.[1] ?? 0);
  };
  const before = await looks();
  await waitFor(async () => (await looks()) >= before + 4, { what: 'the pulse to be felt twice' });
  expect(await health()).toMatchObject({ status: 200, healthy: true });

  proxy.blackhole();
  await waitFor(async () => (await health()).status === 503, { what: 'the worker to be unhealthy' });
  expect(await health()).toMatchObject({ ready: true, healthy: false });
  await proxy.restore();
  await waitFor(async () => (await health()).status === 200, { what: 'the worker to be healthy again' });
});

it('jobs wait and none ends: not healthy; a backend that is known to be away: healthy', async () => {
  const [stuck, known] = [await queueWorld(safe.url), await queueWorld(safe.url)];
  stuck.holdBack();
  known.answers(() => {
    throw new PassferryError('backend_down', { scope: 'backend' });
  });
  const workers = [stuck, known].map((world) => world.worker(safe.url, { limit: 1, stuckMs: 3_000 }));
  for (const world of [stuck, known]) {
    const producer = world.producer(safe.url);
    await waitFor(() => producer.ask(), { what: 'the first job' });
    for (let i = 0; i < 20; i++) await producer.ask();
  }
  const [first, second] = workers.map((worker) => worker.progress);
  await waitFor(() => first?.().healthy === false, { what: 'the stuck one to say so' });
  expect(second?.()).toMatchObject({ healthy: true, waitingFor: { v1: 'backend_down' } });
  stuck.letGo();
  await waitFor(() => first?.().healthy === true, { what: 'progress' });
});

it('tells one error in a while and counts the others', () => {
  const told: [string, number][] = [];
  const tell = seldom<string>(60_000, (value, more) => told.push([value, more]));
  for (let i = 0; i < 1_000; i++) tell('the same');
  expect(told).toEqual([['the same', 0]]);
  const always = seldom<string>(0, (value, more) => told.push([value, more]));
  always('each');
  always('each');
  expect(told.slice(1)).toEqual([
    ['each', 0],
    ['each', 0],
  ]);
});
