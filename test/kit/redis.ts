import { createInterface } from 'node:readline';
import { freePort } from '../../src/embedded/free-port.ts';
import { findRedisBinary } from '../../src/embedded/redis.ts';
import type { Guarded } from '../../src/embedded/spawn-guarded.ts';
import { spawnGuarded } from '../../src/embedded/spawn-guarded.ts';
import { atEnd, tempDir } from './files.ts';
import { waitFor } from './wait.ts';

export interface TestRedis {
  url: string;
  port: number;
  dir: string;
  /** Ends it in an orderly way; does nothing when it is down. */
  stop(): Promise<void>;
  /** SIGKILL, and waits until it is gone. */
  kill9(): Promise<void>;
  /** Starts it again on the same port and folder (stops it first when it runs); resolves when it has loaded its data. */
  restart(): Promise<void>;
}

export interface TestRedisOptions {
  /** Append-only file with `appendfsync always`. Default true. */
  appendonly?: boolean;
  /** Default: a fresh one, removed after the test file. */
  dir?: string;
  /** More arguments of redis-server, such as `['--maxmemory', '10mb']`. */
  extra?: string[];
}

/**
 * A private Redis without password on a loopback port of its own; ended after the test file. Where the machine has no
 * binary it is the shared one of PASSFERRY_TEST_REDIS_URL: use a namespace of your own; kill9 and restart throw there.
 */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const binary = findRedisBinary();
  if (!binary) return sharedRedis();
  const { appendonly = true, dir = tempDir(), extra = [] } = options;
  const args = (port: number) => [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
    ...['--appendonly', appendonly ? 'yes' : 'no', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction'],
    ...extra,
  ];
  let server: Guarded | undefined;

  async function start(port: number): Promise<boolean> {
    const started = spawnGuarded(binary as string, args(port), { signal: 'KILL', cwd: dir });
    if (!(await isReady(started))) return false;
    server = started;
    return true;
  }

  async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    server?.child.kill(signal);
    await server?.exited;
    server = undefined;
  }

  const port = await waitFor(
    async () => {
      const candidate = await freePort();
      return (await start(candidate)) ? candidate : undefined;
    },
    { what: 'a private Redis that starts' },
  );
  const redis: TestRedis = {
    url: `redis://127.0.0.1:${port}`,
    port,
    dir,
    stop: () => end('SIGTERM'),
    kill9: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM');
      await waitFor(() => start(port), { what: 'Redis to start again on its port' });
    },
  };
  atEnd(redis.kill9);
  return redis;
}

function isReady({ child, stdout, stderr }: Guarded): Promise<boolean> {
  return new Promise((resolve) => {
    stderr.resume();
    createInterface({ input: stdout }).on('line', (line) => {
      if (/ready to accept connections/i.test(line)) resolve(true);
    });
    child.once('close', () => resolve(false));
    child.once('error', () => resolve(false));
  });
}

function sharedRedis(): TestRedis {
  const url = process.env.PASSFERRY_TEST_REDIS_URL;
  if (!url) throw new Error('no redis-server or valkey-server was found: run the tests by `npm test`');
  const impossible = () => Promise.reject(new Error('this test needs a redis-server or valkey-server on this machine'));
  return {
    url,
    port: Number(new URL(url).port || 6379),
    dir: '',
    stop: () => Promise.resolve(),
    kill9: impossible,
    restart: impossible,
  };
}
