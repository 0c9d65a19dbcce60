/** Makes sure that a Redis and a PostgreSQL can be had, for `npm run demo` and `npm test`. Never passes by doing without. */
import { createInterface } from 'node:readline/promises';
import { findRedisBinary } from '../src/embedded/redis.ts';
import { aptAvailable, aptInstall } from './apt.ts';
import { findPostgresFolder } from './find-postgres.ts';

export interface Ensured {
  /** Where the server is. Absent: the machine has the binaries, start a private one. */
  url?: string;
  /** Ends what was started for this. */
  stop(): Promise<void>;
}

interface Kind {
  name: string;
  installed(): boolean;
  aptPackage: string;
  /** Starts one in a container engine. */
  contain(): Promise<{ url: string; stop(): Promise<unknown> }>;
  hints: string[];
}

const redis: Kind = {
  name: 'Redis',
  installed: () => findRedisBinary() !== undefined,
  aptPackage: 'redis-server',
  async contain() {
    const { RedisContainer } = await import('@testcontainers/redis');
    const container = await new RedisContainer('redis:7')
      .withCommand([
        'redis-server',
        '--appendonly',
        'yes',
        '--appendfsync',
        'always',
        '--maxmemory-policy',
        'noeviction',
      ])
      .start();
    return { url: container.getConnectionUrl(), stop: () => container.stop() };
  },
  hints: [
    'Debian, Ubuntu: apt-get install redis-server',
    'Fedora:         dnf install valkey',
    'Alpine:         apk add redis',
    'macOS:          brew install redis',
  ],
};

const postgres: Kind = {
  name: 'PostgreSQL',
  installed: () => findPostgresFolder() !== undefined,
  aptPackage: 'postgresql',
  async contain() {
    const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
    const container = await new PostgreSqlContainer('postgres:16').start();
    return { url: container.getConnectionUri(), stop: () => container.stop() };
  },
  hints: [
    'Debian, Ubuntu: apt-get install postgresql',
    'Fedora:         dnf install postgresql-server',
    'Alpine:         apk add postgresql',
    'macOS:          brew install postgresql@16',
  ],
};

/**
 * @param given A URL that spares the search (REDIS_URL for tests).
 * Ends the process with code 3, after saying what to install, when there is no way.
 */
export function ensureRedis(given?: string): Promise<Ensured> {
  return ensure(redis, given);
}

/** Like {@link ensureRedis}, for PostgreSQL (DATABASE_URL for tests). */
export function ensurePostgres(given?: string): Promise<Ensured> {
  return ensure(postgres, given);
}

async function ensure(kind: Kind, given: string | undefined): Promise<Ensured> {
  const nothingToStop = async () => {};
  if (given) return { url: given, stop: nothingToStop };
  if (kind.installed()) return { stop: nothingToStop };
  if (aptAvailable() && (await agreed(`Install ${kind.name} with apt-get (package ${kind.aptPackage})?`))) {
    say(`Installing ${kind.name}: apt-get install ${kind.aptPackage}.`);
    if (aptInstall(kind.aptPackage) && kind.installed()) return { stop: nothingToStop };
    say(`Installing ${kind.aptPackage} failed.`);
  }
  if (await containerEngineRuns()) {
    say(`Using ${kind.name} in a container.`);
    const { url, stop } = await kind.contain();
    return {
      url,
      async stop() {
        await stop();
      },
    };
  }
  say([`${kind.name} is needed and was not found on this machine:`, ...kind.hints].join('\n  '));
  process.exit(3);
}

/** Asks a person; where nobody can answer, the answer is yes. */
async function agreed(question: string): Promise<boolean> {
  if (process.env.CI || !process.stdin.isTTY || !process.stderr.isTTY) return true;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`${question} [y/N] `);
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}

async function containerEngineRuns(): Promise<boolean> {
  try {
    const { getContainerRuntimeClient } = await import('testcontainers');
    await getContainerRuntimeClient();
    return true;
  } catch {
    return false;
  }
}

/** stderr, so that what a script prints stays its own. */
function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
