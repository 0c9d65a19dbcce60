import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { findPostgresFolder } from '../../scripts/find-postgres.ts';
import { freePort } from '../../src/embedded/free-port.ts';
import type { Guarded } from '../../src/embedded/spawn-guarded.ts';
import { spawnGuarded } from '../../src/embedded/spawn-guarded.ts';
import { atEnd, tempDir } from './files.ts';
import { waitFor } from './wait.ts';

export interface TestPostgres {
  /** Superuser, database `postgres`; see {@link createDatabase}. */
  url: string;
  /** Its own log so far; empty for a shared one. */
  log(): string;
  /** Fast shutdown: open sessions are ended. Does nothing when it is down. */
  stop(): Promise<void>;
  /** SIGKILL to the server and all its sessions, and waits until it is gone. */
  kill9(): Promise<void>;
  /** Starts it again on the same port and data (stops it first when it runs); resolves after recovery. */
  restart(): Promise<void>;
}

/**
 * A private cluster on a loopback port of its own, without passwords, removed after the test file. Where the machine has
 * no PostgreSQL it is the shared one of PASSFERRY_TEST_DATABASE_URL; kill9 and restart throw there.
 */
export async function startPostgres(): Promise<TestPostgres> {
  const folder = findPostgresFolder();
  if (!folder) return sharedPostgres();
  const data = tempDir();
  const owner = serverUser();
  if (owner.uid !== undefined) chownSync(data, owner.uid, owner.gid as number);
  const made = spawnSync(
    join(folder, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    { ...owner, cwd: data, encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  let server: Guarded | undefined;
  const lines: string[] = [];

  async function start(port: number): Promise<boolean> {
    // Without fsync, since only processes die here, never the machine.
    const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off', 'lc_messages=C'];
    const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
    const started = spawnGuarded(join(folder as string, 'postgres'), args, { signal: 'QUIT', cwd: data, ...owner });
    createInterface({ input: started.stderr }).on('line', (line) => lines.push(line));
    if (!(await isReady(started))) return false;
    server = started;
    return true;
  }

  const port = await waitFor(
    async () => {
      const candidate = await freePort();
      return (await start(candidate)) ? candidate : undefined;
    },
    { what: 'a private PostgreSQL that starts' },
  );

  async function stop(): Promise<void> {
    server?.child.kill('SIGINT');
    await server?.exited;
    server = undefined;
  }

  async function kill9(): Promise<void> {
    const pid = server?.child.pid;
    if (pid === undefined) return;
    // Stopped first, so that it starts no new session between the look and the kill.
    process.kill(pid, 'SIGSTOP');
    for (const each of [pid, ...childrenOf(pid)]) process.kill(each, 'SIGKILL');
    await server?.exited;
    server = undefined;
  }

  atEnd(kill9);
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    log: () => lines.join('\n'),
    stop,
    kill9,
    async restart() {
      await stop();
      await waitFor(() => start(port), { what: 'PostgreSQL to start again on its port' });
    },
  };
}

/** A fresh, empty database on that server: its URL. */
export async function createDatabase(url: string): Promise<string> {
  const name = `t_${randomBytes(8).toString('hex')}`;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`CREATE DATABASE ${name}`);
  } finally {
    await client.end();
  }
  const fresh = new URL(url);
  fresh.pathname = `/${name}`;
  return fresh.href;
}

/** PostgreSQL refuses to run as root. */
function serverUser(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, name], { encoding: 'utf8' }));
    if (uid?.status === 0 && gid?.status === 0) return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  }
  throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody');
}

function childrenOf(pid: number): number[] {
  const listed = `/proc/${pid}/task/${pid}/children`;
  if (existsSync(listed)) return readFileSync(listed, 'utf8').split(' ').filter(Boolean).map(Number);
  const all = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).stdout.split('\n');
  return all.map((line) => line.trim().split(/\s+/).map(Number)).flatMap(([id, of]) => (of === pid && id ? [id] : []));
}

function isReady({ child, stdout, stderr }: Guarded): Promise<boolean> {
  return new Promise((resolve) => {
    stdout.resume();
    createInterface({ input: stderr }).on('line', (line) => {
      if (line.includes('database system is ready to accept connections')) resolve(true);
    });
    child.once('close', () => resolve(false));
    child.once('error', () => resolve(false));
  });
}

function sharedPostgres(): TestPostgres {
  const url = process.env.PASSFERRY_TEST_DATABASE_URL;
  if (!url) throw new Error('no PostgreSQL was found: run the tests by `npm test`');
  const impossible = () => Promise.reject(new Error('this test needs a PostgreSQL on this machine'));
  return { url, log: () => '', stop: () => Promise.resolve(), kill9: impossible, restart: impossible };
}
