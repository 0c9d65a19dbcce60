import { randomUUID } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { pino } from 'pino';
import { afterEach } from 'vitest';
import { createV1Postgres, pgliteClient } from '../../src/adapters/v1-postgres/index.ts';
import { createV2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import { credential } from '../../src/credential.ts';
import { createProducer } from '../../src/index.ts';
import { type BackendName, queueNames } from '../../src/job.ts';
import { createKeyFiles, readJobKey, readPrivateKeys } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import { createEpoch } from '../../src/ledger/epoch.ts';
import { createHolds } from '../../src/ledger/holds.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { connectRedis } from '../../src/redis.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import type { WorkerOptions } from '../../src/worker/options.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { newPassword } from './conformance.ts';
import { tempDir } from './files.ts';
import { startRedis } from './redis.ts';
import { waitFor } from './wait.ts';

/** What tests of a lost or altered Redis need; one Redis, v1 store and sandbox a test file, a namespace for each scene. */

export const keysDir = join(tempDir(), 'keys');
await createKeyFiles(keysDir);
export const jobKey = readJobKey(keysDir);
export const never = 3_600_000;
export const v2Token = 'token';
/** v2 tells what came later only beyond the tolerance for clocks that differ. */
export const toleranceMs = 2_100;

export const server = await startRedis();
export const sandbox = await startSandbox({
  bcryptCost: 4,
  tokens: { [v2Token]: { userId: 'worker', roles: { instance: ['IAM_OWNER'] } } },
  orgs: ['one', 'two'],
  silentOrgs: ['one', 'two'],
});
const sql = await pgliteClient();
const v1 = await createV1Postgres({ sql, bcryptCost: 4 });
await v1.migrate();

/** Ends what a test has started: the next one wipes the Redis that all share. */
const endings: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const ending of endings.splice(0)) await ending();
});

/** A Redis, both backends with one user each, a producer, and workers to start: organization `one` is on v1, `two` on v2. */
export async function scene() {
  const namespace = `lost-${randomUUID().slice(0, 8)}`;
  const keys = redisKeys(namespace);
  const connect = () => connectRedis({ url: server.url }, 'worker');
  const redis = connect();
  const v2 = createV2Zitadel({ url: sandbox.url, credential: credential({ value: v2Token }), deadlineMs: 2_000 });
  const producer = await createProducer({ redisUrl: server.url, keysDir, namespace });
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
  await ledger.raiseFloor(0n);
  const holds = createHolds(redis, keys, jobKey);
  const epoch = createEpoch(redis, keys, jobKey);
  const logged: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(JSON.parse(line)) });
  const queue = new Queue(queueNames.interactive, { connection: connect(), prefix: keys.bullPrefix });
  const workers: { close(): Promise<void> }[] = [];
  // Redis goes away under it; it is only looked into.
  queue.on('error', () => {});
  endings.push(async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    await Promise.all([queue.close(), producer.close(), v2.close()]);
    redis.disconnect();
  });

  async function work(over: Partial<WorkerOptions> = {}) {
    const worker = createWorker({
      ...{ connect, keys, dataKeys: dataKeyStore(redis, keys), privateKeys: readPrivateKeys(keysDir), jobKey },
      ...{ retentionMs: 60_000, deadlineMs: 2_000, settleMs: 200, epochMs: 100, log },
      backends: { v1: { backend: v1, limit: 2 }, v2: { backend: v2, limit: 2 } },
      stages: { default: 'v2', organizations: { one: 'v1' } },
      ...over,
    });
    let closing: Promise<void> | undefined;
    const once = { ...worker, close: () => (closing ??= worker.close()) };
    workers.push(once);
    await worker.ready;
    return once;
  }
  const on = (backend: BackendName) => (backend === 'v1' ? 'one' : 'two');
  async function addUser(backend: BackendName): Promise<string> {
    const [id, org, password] = [randomUUID(), on(backend), 'Old-password-1'];
    if (backend === 'v1') await v1.addUsers([{ id, org, password }]);
    else await sandbox.addUser({ id, org, userName: id, password });
    return id;
  }
  return {
    ...{ keys, connect, redis, sandbox, sql, v1, producer, ledger, holds, epoch, logged, queue, work, addUser },
    ask: async (backend: BackendName, user: string, password = newPassword()) => {
      const request = { org: on(backend), user, password, idempotencyKey: randomUUID() };
      // After a loss the order is confirmed first.
      return waitFor(async () => (await producer.setPassword(request)).jobId, { what: 'the job to be accepted' });
    },
    waits: (job: string) =>
      waitFor(async () => (await producer.job(job))?.waitingFor === 'held', { what: `${job} to be held` }),
    works: (backend: BackendName, user: string, password: string): Promise<boolean> =>
      backend === 'v2'
        ? sandbox.verify(user, password)
        : v1.prove('one', user, Secret.fromString(password), AbortSignal.timeout(5_000)),
    async effects(backend: BackendName, user: string): Promise<number> {
      if (backend === 'v2') return sandbox.users.get(user)?.changes.length ?? 0;
      return (await sql.query('select 1 from "passferry_events" where "user_id" = $1', [user])).length;
    },
    isLost: () =>
      waitFor(
        async () => {
          const found = (await holds.all()).holds.filter(({ reason }) => reason.startsWith('ledger_lost'));
          return found.length === 2 ? found : undefined;
        },
        { what: 'both backends to be held' },
      ),
    async release() {
      for (const backend of ['v1', 'v2'] as const) await holds.lift(backend);
    },
    reached: async () => {
      const found = await epoch.read();
      return found.kind === 'epoch' ? found.epoch : found.kind;
    },
    copied: () => v1.epoch.read(namespace, AbortSignal.timeout(5_000)),
    /** Copy of the append-only files; returns what puts it in place of the present ones. */
    async backup() {
      const [live, copy] = [join(server.dir, 'appendonlydir'), join(tempDir(), 'copy')];
      await server.stop();
      cpSync(live, copy, { recursive: true });
      await server.restart();
      return async () => {
        await server.kill9();
        rmSync(live, { recursive: true });
        cpSync(copy, live, { recursive: true });
        await server.restart();
      };
    },
  };
}

export type Scene = Awaited<ReturnType<typeof scene>>;
