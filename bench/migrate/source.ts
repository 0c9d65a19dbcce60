import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { hash } from '@node-rs/bcrypt';
import pg from 'pg';
import { createV1Postgres, pgClient } from '../../src/adapters/v1-postgres/index.ts';
import { freePort } from '../../src/embedded/free-port.ts';
import { createKeyFiles, readFingerprintKey, readJobKey, readPublicKeys } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import type { MigrationMode } from '../../src/migration.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import { tempDir } from '../../test/kit/files.ts';
import { startPostgres } from '../../test/kit/postgres.ts';
import { spawnNode } from '../../test/kit/processes.ts';
import { startRedis } from '../../test/kit/redis.ts';
import { waitFor } from '../../test/kit/wait.ts';
import { idOf, type Target } from './target.ts';

export type Source = Awaited<ReturnType<typeof startSource>>;

/** v1 with users, and a Redis that writes to disk with each command, as `up` runs it. */
export async function startSource(fsync: 'always' | 'everysec') {
  const keysDir = join(tempDir(), 'keys');
  await createKeyFiles(keysDir);
  const [server, postgres] = await Promise.all([startRedis({ extra: ['--appendfsync', fsync] }), startPostgres()]);
  const v1 = await createV1Postgres({ sql: pgClient(postgres.url), bcryptCost: 10 });
  await v1.migrate();
  const sql = new pg.Client({ connectionString: postgres.url });
  await sql.connect();
  sql.on('error', () => {});
  // One for all: what is in it says nothing about the way.
  const stored = await hash('Old-password-1!', 10);

  return {
    hash: stored,

    async addUsers(org: string, users: number): Promise<void> {
      const ids = Array.from({ length: users }, (_, n) => idOf(org, n));
      for (let at = 0; at < users; at += 1_000) {
        await v1.addUsers(ids.slice(at, at + 1_000).map((id) => ({ id, org, userName: id })));
      }
      await sql.query(
        `update users set password_hash = $1, password_changed_at = now() - interval '30 days' where organization = $2`,
        [stored, org],
      );
      await sql.query('analyze');
    },

    /** A worker between v1 and this target. */
    async worker(target: Target, atOnce: number) {
      const namespace = `b${randomBytes(4).toString('hex')}`;
      const keys = redisKeys(namespace);
      const health = `127.0.0.1:${await freePort()}`;
      const worker = spawnNode(['src/cli/main.ts', 'work'], {
        PASSFERRY_REDIS_URL: server.url,
        PASSFERRY_KEYS_DIR: keysDir,
        PASSFERRY_NAMESPACE: namespace,
        PASSFERRY_STAGES: JSON.stringify({ default: 'dual-v1', organizations: {} }),
        PASSFERRY_V1_URL: postgres.url,
        PASSFERRY_V1_BCRYPT_COST: '10',
        PASSFERRY_V2_URL: target.url,
        PASSFERRY_V2_TOKEN: 't',
        PASSFERRY_V2_CONCURRENCY: String(atOnce),
        PASSFERRY_HEALTH_LISTEN: health,
        PASSFERRY_LOG_LEVEL: 'warn',
        UV_THREADPOOL_SIZE: '4',
      });
      await waitFor(async () => (await fetch(`http://${health}/`)).status === 200, { what: 'a worker that is ready' });
      const redis = connectRedis({ url: server.url }, 'worker');
      const producer = createProducer({
        redis: connectRedis({ url: server.url }, 'producer'),
        connectEvents: () => connectRedis({ url: server.url }, 'worker'),
        ...{ keys, jobKey: readJobKey(keysDir), retentionMs: 3_600_000 },
        ...{ publicKeys: readPublicKeys(keysDir), fingerprintKey: readFingerprintKey(keysDir) },
      });
      await waitFor(() => producer.isReady(), { what: 'a producer that is connected' });

      return {
        /** Users a second, from the first that is fed to the last that has ended; no rate is set. `cpuMs`: of the worker, for each. */
        async run(mode: MigrationMode, org: string, users: number): Promise<{ rate: number; cpuMs: number }> {
          const opened = await producer.migrations.open({
            ...{ id: await producer.runId('bench', org, mode), caller: 'bench', org, expiresInMs: 3_600_000 },
            options: {
              ...{ format: 'migration', changeRequired: false, overwriteNewer: false },
              migration: { mode, orgs: [org] },
            },
          });
          if ('busy' in opened) throw new Error('another migration is open');
          const run = keys.run(opened.view.id);
          while (Number(await redis.hget(run, 'fed')) === 0) await pause(2);
          const [start, cpu] = [performance.now(), cpuMsOf(worker.pid)];
          while (Number(await redis.hget(run, 'finished')) < users) await pause(5);
          const [ms, cpuMs] = [performance.now() - start, cpuMsOf(worker.pid) - cpu];
          const { wouldMirror = '0', mirrored = '0' } = await redis.hgetall(run);
          if (Number(mode === 'plan' ? wouldMirror : mirrored) !== users) {
            throw new Error(`not everybody was mirrored: ${JSON.stringify(await redis.hgetall(run))}`);
          }
          await waitFor(async () => (await redis.hget(run, 'state')) === 'completed', { what: 'the run to end' });
          return { rate: users / (ms / 1_000), cpuMs: cpuMs / users };
        },

        async end(): Promise<void> {
          await producer.close();
          redis.disconnect();
          worker.kill9();
          await worker.exited;
        },
      };
    },

    async close(): Promise<void> {
      await sql.end().catch(() => {});
      await v1.close();
      await postgres.stop();
      await server.stop();
    },
  };
}

/** What a process had of all cores, ms. Linux only. */
function cpuMsOf(pid: number): number {
  const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ').slice(11, 13) ?? [];
  return (Number(user) + Number(system)) * 10;
}
