import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { PassferryError } from '../errors.ts';
import { findProgram, isExecutable } from './find-program.ts';
import { freePort } from './free-port.ts';
import { endLeftover } from './leftover.ts';
import type { Guarded } from './spawn-guarded.ts';
import { spawnGuarded } from './spawn-guarded.ts';
import { takeStartLock } from './start-lock.ts';

export interface EmbeddedRedis {
  /** `redis://:password@127.0.0.1:port`: a secret, keep it out of logs. */
  url: string;
  port: number;
  pid: number;
  /** Asks the server to end and waits until it has; what was confirmed is on disk. May be called twice. */
  stop(): Promise<void>;
}

export interface EmbeddedRedisOptions {
  /** Data and configuration; created with mode 0700. A later start with the same folder finds everything again. */
  dir: string;
  /** Gets the server's log lines, without its password. */
  log?: (line: string) => void;
}

const portAttempts = 5;

const inUse = 'The embedded Redis of this data directory is in use by another process.';

const installHint = [
  'No Redis was found on this machine. Install one (or set PASSFERRY_REDIS_BINARY to a redis-server or valkey-server):',
  '  Debian, Ubuntu: apt-get install redis-server',
  '  Fedora:         dnf install valkey',
  '  Alpine:         apk add redis',
  '  macOS:          brew install redis',
].join('\n');

/** The Redis or Valkey server of this machine: PASSFERRY_REDIS_BINARY, else PATH, else the usual folders. */
export function findRedisBinary(): string | undefined {
  const named = process.env.PASSFERRY_REDIS_BINARY;
  if (named) return isExecutable(named) ? named : undefined;
  return findProgram(['redis-server', 'valkey-server']);
}

/**
 * Starts a private Redis on a free loopback port: random password, every write on disk before it is confirmed, nothing
 * evicted. It ends with this process, however that ends.
 *
 * Throws `redis_down` when there is no server program (the text says what to install), when another living process uses
 * the folder, or when the server does not start.
 */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const binary = findRedisBinary();
  if (!binary) throw down(installHint);
  const dir = resolve(options.dir);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const release = await takeStartLock(dir);
  if (!release) throw down(inUse);
  try {
    return await startIn(dir, binary, options.log);
  } finally {
    await release();
  }
}

async function startIn(dir: string, binary: string, log?: (line: string) => void): Promise<EmbeddedRedis> {
  const configFile = join(dir, 'redis.conf');
  const left = await readFile(configFile, 'utf8').catch(() => undefined);
  if (left !== undefined && !(await endLeftover(left))) {
    throw down(inUse);
  }
  for (let attempt = 1; attempt <= portAttempts; attempt++) {
    const port = await freePort();
    const password = randomBytes(32).toString('hex');
    await writePrivate(configFile, configuration(dir, port, password));
    const server = spawnGuarded(binary, [configFile], { cwd: dir });
    const state = await watchStart(server, (line) => log?.(line.replaceAll(password, '[secret]')));
    if (state === 'ready') return handle(server, port, password, configFile);
    if (state === 'failed') throw down('The embedded Redis did not start; its log lines say why.');
  }
  throw down('The embedded Redis found no free port.');
}

function down(message: string): PassferryError {
  return new PassferryError('redis_down', { scope: 'backend', message });
}

function configuration(dir: string, port: number, password: string): string {
  const quoted = dir.replace(/["\\]/g, '\\$&');
  return [
    `# owner ${process.pid}`,
    'bind 127.0.0.1',
    'protected-mode yes',
    `port ${port}`,
    `requirepass ${password}`,
    `dir "${quoted}"`,
    'daemonize no',
    'logfile ""',
    'save ""',
    'appendonly yes',
    'appendfsync always',
    'maxmemory-policy noeviction',
    '',
  ].join('\n');
}

/** Never readable by others, not for a moment: a new file takes the old one's place. */
async function writePrivate(file: string, text: string): Promise<void> {
  const fresh = `${file}.new`;
  await rm(fresh, { force: true });
  const handle = await open(fresh, 'wx', 0o600);
  await handle.writeFile(text);
  await handle.close();
  await rename(fresh, file);
}

function watchStart(server: Guarded, log: (line: string) => void): Promise<'ready' | 'port taken' | 'failed'> {
  return new Promise((settle) => {
    let portTaken = false;
    createInterface({ input: server.stdout }).on('line', (line) => {
      log(line);
      if (/ready to accept connections/i.test(line)) settle('ready');
      if (/address already in use/i.test(line)) portTaken = true;
    });
    createInterface({ input: server.stderr }).on('line', log);
    // Its last lines may still be in the pipe when it is gone.
    server.child.once('close', () => settle(portTaken ? 'port taken' : 'failed'));
    server.child.once('error', () => settle('failed'));
  });
}

function handle(server: Guarded, port: number, password: string, configFile: string): EmbeddedRedis {
  const { child, exited } = server;
  // It must not keep a process alive that has nothing else to do.
  child.unref();
  for (const stream of child.stdio) (stream as { unref?: () => void } | null)?.unref?.();
  return {
    url: `redis://:${password}@127.0.0.1:${port}`,
    port,
    pid: child.pid as number,
    async stop() {
      child.ref();
      child.kill('SIGTERM');
      await exited;
      // A later server on this folder has a file of its own there.
      const left = await readFile(configFile, 'utf8').catch(() => '');
      if (left.includes(password)) await rm(configFile, { force: true });
    },
  };
}
