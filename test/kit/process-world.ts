import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { createV1Postgres, pgClient } from '../../src/adapters/v1-postgres/index.ts';
import { freePort } from '../../src/embedded/free-port.ts';
import type { Outcome } from '../../src/index.ts';
import { createProducer } from '../../src/index.ts';
import { queueNames } from '../../src/job.ts';
import { createKeyFiles } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { tempDir } from './files.ts';
import { startPostgres } from './postgres.ts';
import type { TestProcess } from './processes.ts';
import { spawnNode } from './processes.ts';
import { startRedis } from './redis.ts';
import { takeTurns } from './turns.ts';
import { waitFor } from './wait.ts';

export type ProcessWorld = Awaited<ReturnType<typeof startProcessWorld>>;

/** Redis, PostgreSQL and the sandbox for workers that are processes of their own. Organizations: acme in v1, globex in v2. */
export async function startProcessWorld({ bcryptCost = 4 } = {}) {
  const keysDir = join(tempDir(), 'keys');
  await createKeyFiles(keysDir);
  const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  const v1 = await createV1Postgres({ sql: pgClient(postgres.url), bcryptCost: 4 });
  await v1.migrate();
  const sandbox = await startSandbox({
    bcryptCost: 4,
    tokens: { t: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
    orgs: ['acme', 'globex'],
    silentOrgs: ['acme', 'globex'],
  });
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  // The server may be ended before we are.
  client.on('error', () => {});
  const look = new Redis(redis.url);
  look.on('error', () => {});
  const closing: (() => unknown)[] = [];
  /** A dozen that start at once take minutes for what two do in seconds. */
  const starting = takeTurns(2);

  return {
    redis,
    postgres,
    sandbox,
    sql: client,
    keysDir,
    starting,
    postgresUrl: postgres.url,

    async addUser(org: 'acme' | 'globex'): Promise<string> {
      const id = randomUUID();
      if (org === 'acme') await v1.addUsers([{ id, org }]);
      else await sandbox.addUser({ id, org, userName: id });
      return id;
    },
    /** Many at once, with ids of the caller's own. */
    async addUsers(org: 'acme' | 'globex', ids: string[]): Promise<void> {
      for (let at = 0; at < ids.length; at += 1_000) {
        const some = ids.slice(at, at + 1_000);
        if (org === 'acme') await v1.addUsers(some.map((id) => ({ id, org })));
        else await Promise.all(some.map((id) => sandbox.addUser({ id, org, userName: id })));
      }
    },
    /** How often the password of a user was changed since it was added. */
    async changes(org: 'acme' | 'globex', user: string): Promise<number> {
      if (org === 'globex') return sandbox.users.get(user)?.changes.length ?? 0;
      const { rows } = await client.query('select 1 from passferry_events where user_id = $1', [user]);
      return rows.length;
    },

    /** Jobs and workers apart from all others on the same servers. */
    async installation(namespace = `n${randomUUID().slice(0, 8)}`) {
      const producer = await createProducer({ redisUrl: redis.url, keysDir, namespace });
      closing.push(() => producer.close());
      const keys = redisKeys(namespace);
      const names = Object.values(queueNames);
      return {
        /** Error `ledger_not_ready` before the first worker. */
        ask: async (org: string, user: string): Promise<string> =>
          (await producer.setPassword({ org, user, password: `A-${randomUUID()}`, idempotencyKey: user })).jobId,
        job: producer.job,
        outcome: (jobId: string, timeoutMs = 120_000): Promise<Outcome> =>
          waitFor(async () => (await producer.job(jobId))?.outcome as Outcome | undefined, {
            what: `job ${jobId} to end`,
            timeoutMs,
          }),
        /** Jobs that needed the stall check, by BullMQ's own account. */
        async stalled(): Promise<number> {
          const events = await Promise.all(
            names.map((name) => look.xrange(`${keys.bullPrefix}:${name}:events`, '-', '+')),
          );
          return events.flat().filter(([, fields]) => fields.includes('stalled')).length;
        },
        /** `passferry work`, once it takes jobs; `url` is its health port. */
        work: (env: Record<string, string> = {}): Promise<TestProcess & { url: string }> =>
          starting(async () => {
            const port = await freePort();
            const child = spawnNode(['src/cli/main.ts', 'work'], {
              UV_THREADPOOL_SIZE: '4',
              PASSFERRY_REDIS_URL: redis.url,
              PASSFERRY_KEYS_DIR: keysDir,
              PASSFERRY_NAMESPACE: namespace,
              PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { globex: 'v2' } }),
              PASSFERRY_V1_URL: postgres.url,
              PASSFERRY_V1_BCRYPT_COST: String(bcryptCost),
              PASSFERRY_V2_URL: sandbox.url,
              PASSFERRY_V2_TOKEN: 't',
              PASSFERRY_HEALTH_LISTEN: `127.0.0.1:${port}`,
              ...env,
            });
            closing.push(async () => {
              child.kill9();
              await child.exited;
            });
            const url = `http://127.0.0.1:${port}/`;
            const ended = child.exited.then(() => true);
            await waitFor(
              async () => {
                if (await Promise.race([ended, false])) return true;
                return (await fetch(url)).status === 200;
              },
              { what: 'a worker that is ready' },
            );
            return { ...child, url };
          }),
      };
    },

    async close(): Promise<void> {
      for (const each of closing.splice(0).reverse()) await each();
      look.disconnect();
      await client.end().catch(() => {});
      await v1.close();
      await sandbox.close();
      await postgres.stop();
      await redis.stop();
    },
  };
}
