import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { findRedisBinary, startEmbeddedRedis } from '../src/embedded/redis.ts';
import { tempDir } from './kit/files.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

function client(url: string): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
  redis.on('error', () => {});
  onTestFinished(() => redis.disconnect());
  return redis;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** A process of its own that starts an embedded Redis and stays. */
function holder(dir: string) {
  const code = `
    const { startEmbeddedRedis } = await import('./src/embedded/redis.ts');
    const { port, pid } = await startEmbeddedRedis({ dir: process.env.DIR });
    console.log('up ' + port + ' ' + pid);
    setInterval(() => {}, 1000);`;
  return spawnNode(['--input-type=module', '--eval', code], { DIR: dir });
}

test('what was confirmed is there after a restart on the same folder', async () => {
  const dir = join(tempDir(), 'with "quotes" and spaces');
  const first = await startEmbeddedRedis({ dir });
  await client(first.url).set('key', 'kept');
  await first.stop();
  await first.stop();
  const second = await startEmbeddedRedis({ dir });
  expect(await client(second.url).get('key')).toBe('kept');
  await second.stop();
  expect(await isListening(second.port)).toBe(false);
});

test('it is private, durable and evicts nothing', async () => {
  const dir = join(tempDir(), 'data');
  const log: string[] = [];
  const { url, port, pid, stop } = await startEmbeddedRedis({ dir, log: (line) => log.push(line) });
  const password = new URL(url).password;
  const redis = client(url);
  const config = await redis.config('GET', 'append*', 'maxmemory-policy', 'bind', 'dir');
  expect(config).toEqual(
    expect.arrayContaining(['appendonly', 'yes', 'appendfsync', 'always', 'noeviction', '127.0.0.1']),
  );
  await expect(client(`redis://127.0.0.1:${port}`).ping()).rejects.toThrow(/NOAUTH/);
  expect(statSync(join(dir, 'redis.conf')).mode & 0o777).toBe(0o600);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  expect(password).toMatch(/^[0-9a-f]{64}$/);
  const line = `/proc/${pid}/cmdline`;
  const args = existsSync(line)
    ? readFileSync(line, 'utf8')
    : spawnSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).stdout;
  expect(args).toMatch(/redis|valkey/);
  expect(args).not.toContain(password);
  expect(log.join('\n')).not.toContain(password);
  await stop();
});

test('it dies with its process, also by SIGKILL, and a start after that finds the data', async () => {
  const dir = tempDir();
  const process = holder(dir);
  const [, port] = (await process.waitForLine(/^up \d+/)).split(' ');
  process.kill9();
  await waitFor(async () => !(await isListening(Number(port))), { what: 'the embedded Redis to end' });
  const next = await startEmbeddedRedis({ dir });
  expect(await client(next.url).ping()).toBe('PONG');
  await next.stop();
});

test('two processes never run on one folder', async () => {
  const dir = tempDir();
  const process = holder(dir);
  await process.waitForLine(/^up \d+/);
  await expect(startEmbeddedRedis({ dir })).rejects.toMatchObject({ reason: 'redis_down', message: /in use/ });
  process.kill9();
  await process.exited;
});

test('a server left behind by a process that is gone is ended before a new one opens the data', async () => {
  const dir = tempDir();
  const first = await startEmbeddedRedis({ dir });
  const conf = join(dir, 'redis.conf');
  // The pid of a process that has ended.
  const gone = spawnSync('true').pid;
  writeFileSync(conf, readFileSync(conf, 'utf8').replace(/^# owner \d+/, `# owner ${gone}`));
  await client(first.url).set('key', 'kept');
  const second = await startEmbeddedRedis({ dir });
  expect(await isListening(first.port)).toBe(false);
  expect(await client(second.url).get('key')).toBe('kept');
  await Promise.all([first.stop(), second.stop()]);
});

test('of two starts at once on one folder one wins, and a start that crashed blocks nobody', async () => {
  const dir = tempDir();
  writeFileSync(join(dir, 'starting.lock'), String(spawnSync('true').pid));
  const starts = await Promise.allSettled([startEmbeddedRedis({ dir }), startEmbeddedRedis({ dir })]);
  expect(starts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(existsSync(join(dir, 'starting.lock'))).toBe(false);
  for (const start of starts) if (start.status === 'fulfilled') await start.value.stop();
});

test('without a server program it says what to install, a line for each platform', async () => {
  process.env.PASSFERRY_REDIS_BINARY = join(tempDir(), 'no-such-server');
  onTestFinished(() => void delete process.env.PASSFERRY_REDIS_BINARY);
  expect(findRedisBinary()).toBeUndefined();
  const error = await startEmbeddedRedis({ dir: tempDir() }).catch((thrown: unknown) => thrown);
  for (const platform of ['Debian', 'Fedora', 'Alpine', 'macOS']) expect(String(error)).toContain(`\n  ${platform}`);
});
