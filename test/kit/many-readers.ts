import { writeFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { hashToken } from '../../src/producer/callers.ts';
import { startProcessWorld } from './process-world.ts';
import { spawnNode } from './processes.ts';
import { waitFor } from './wait.ts';

const token = 'pf_many';

export interface Held {
  /** Bytes, after a collection. */
  heapUsed: number;
  /** Sockets, timers and the like that keep the process busy. */
  held: number;
  /** Connections of the process to Redis. */
  redis: number;
}

/** One `serve` process without a worker, so that jobs stay open, and clients that wait on it. */
export async function startManyReaders() {
  const world = await startProcessWorld();
  const namespace = 'many';
  const installation = await world.installation(namespace);
  const worker = await installation.work();
  worker.term();
  await worker.exited;
  const callersFile = join(world.keysDir, 'callers.json');
  const caller = { name: 'many', home: 'acme', tokenSha256: hashToken(token), grants: { acme: ['set', 'read'] } };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  const redis = new Redis(world.redis.url);
  const others = await clients();
  const child = spawnNode(['--expose-gc', 'test/kit/serve-child.ts'], {
    PASSFERRY_REDIS_URL: world.redis.url,
    PASSFERRY_KEYS_DIR: world.keysDir,
    PASSFERRY_NAMESPACE: namespace,
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callersFile,
    PASSFERRY_WAIT: '10m',
    PASSFERRY_STREAMS_PER_CALLER: '1000',
    PASSFERRY_CALLER_CONCURRENCY: '10000',
    PASSFERRY_CALLER_RATE: '1000000/1m',
  });
  const { url, look } = JSON.parse(await child.waitForLine(/"look"/)) as { url: string; look: string };
  const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY });

  async function clients(): Promise<number> {
    return ((await redis.client('LIST')) as string).trim().split('\n').length;
  }

  function get(path: string, headers: Record<string, string>, onAnswer: (answer: IncomingMessage) => void) {
    const asked = request(
      `${url}${path}`,
      { agent, headers: { authorization: `Bearer ${token}`, ...headers } },
      onAnswer,
    );
    asked.on('error', () => {});
    asked.end();
    return asked;
  }

  const many = {
    world,
    installation,
    url,
    token,
    child,

    async look(): Promise<Held> {
      const told = (await (await fetch(look)).json()) as Omit<Held, 'redis'>;
      return { ...told, redis: (await clients()) - others };
    },

    /** Opens polls of jobs and streams of events; resolves when all of them are open. */
    async open(jobs: string[], polls: number, streams: number) {
      const before = (await many.look()).held;
      let begun = 0;
      let answered = 0;
      const told: number[] = Array.from({ length: streams }, () => 0);
      const asked = [
        ...Array.from({ length: polls }, (_, i) =>
          get(`/jobs/${jobs[i % jobs.length]}`, { prefer: 'wait=300' }, (answer) => {
            answer.on('error', () => {}).resume();
            answered += 1;
          }),
        ),
        ...told.map((_, i) =>
          get('/events', {}, (answer) => {
            answer
              .on('error', () => {})
              .on('data', (bytes: Buffer) => {
                const text = bytes.toString();
                if (text.includes('event: start')) begun += 1;
                told[i] = (told[i] ?? 0) + text.split('event: job.').length - 1;
              });
          }),
        ),
      ];
      const sockets = () => Object.values(agent.sockets).flat().length;
      // Each has a socket and a timer at least.
      const isHeld = async () => (await many.look()).held - before >= 2 * asked.length;
      await waitFor(async () => begun === streams && sockets() === asked.length && (await isHeld()), {
        what: 'all to be open',
      });
      return {
        answered: () => answered,
        /** Events that each stream has told. */
        told,
        async close(): Promise<void> {
          for (const each of asked) each.destroy();
          await waitFor(() => sockets() === 0, { what: 'all to be closed' });
        },
      };
    },

    async close(): Promise<void> {
      child.kill9();
      await child.exited;
      redis.disconnect();
      await world.close();
    },
  };
  return many;
}
