import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createV1Postgres, pgClient } from '../src/adapters/v1-postgres/index.ts';
import type { JobView } from '../src/job.ts';
import { createKeyFiles } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { hashToken } from '../src/producer/callers.ts';
import { connectRedis } from '../src/redis.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { tempDir } from '../test/kit/files.ts';
import { startPostgres } from '../test/kit/postgres.ts';
import { spawnNode, type TestProcess } from '../test/kit/processes.ts';
import { startRedis } from '../test/kit/redis.ts';
import { waitFor } from '../test/kit/wait.ts';
import { startNetwork } from './network.ts';

const token = 'pf_chaos';
const namespace = 'passferry';

/** Redis, PostgreSQL, the sandbox with faults, one producer and some workers, and a network between them: all can be harmed. */
export async function startWorld({ users, seed, workers }: { users: number; seed: number; workers: number }) {
  const dir = tempDir();
  const keysDir = join(dir, 'keys');
  mkdirSync(keysDir);
  await createKeyFiles(keysDir);
  const redis = await startRedis({ extra: ['--appendfsync', 'always'] });
  const postgres = await startPostgres();
  const people = Array.from({ length: users }, (_, i) => ({
    id: `9${String(i).padStart(17, '0')}`,
    org: i % 2 ? 'globex' : 'acme',
    userName: `person-${i}`,
  }));

  const v1 = await createV1Postgres({ sql: pgClient(postgres.url), bcryptCost: 4 });
  await v1.migrate();
  await v1.addUsers(people.filter(({ org }) => org === 'acme'));
  await v1.close();
  const sandbox = await startSandbox({
    bcryptCost: 4,
    lagMs: 150,
    seed,
    tokens: { t: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
    orgs: ['acme', 'globex'],
    users: people.filter(({ org }) => org === 'globex'),
  });
  const call = 'SetPassword';
  sandbox.faults.add({ call, rate: 0.05, fault: { kind: 'latency', ms: 400 } });
  sandbox.faults.add({ call, rate: 0.05, fault: { kind: '503' } });
  sandbox.faults.add({ call, rate: 0.04, fault: { kind: 'cut-before' } });
  sandbox.faults.add({ call, rate: 0.04, fault: { kind: 'cut-after' } });
  sandbox.faults.add({ call, rate: 0.02, fault: { kind: '429', retryAfter: 1 } });

  const callers = join(dir, 'callers.json');
  const grants = { acme: ['set', 'read'], globex: ['set', 'read'] };
  writeFileSync(
    callers,
    JSON.stringify({ callers: [{ name: 'chaos', tokenSha256: hashToken(token), home: 'acme', grants }] }),
  );
  const network = await startNetwork({ redis: redis.url, postgres: postgres.url, v2: sandbox.url });
  const shared = {
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { globex: 'v2' } }),
    PASSFERRY_LOG_LEVEL: 'info',
    UV_THREADPOOL_SIZE: '4',
  };
  const all: TestProcess[] = [];
  const spawn = (command: string, env: Record<string, string>) => {
    const child = spawnNode(['src/cli/main.ts', command], { ...shared, ...env });
    all.push(child);
    return child;
  };
  const work = () =>
    spawn('work', {
      PASSFERRY_REDIS_URL: network.urls.workersRedis,
      PASSFERRY_V1_URL: network.urls.postgres,
      PASSFERRY_V1_BCRYPT_COST: '4',
      PASSFERRY_V2_URL: network.urls.v2,
      PASSFERRY_V2_TOKEN: 't',
      PASSFERRY_V2_DEADLINE: '3s',
      PASSFERRY_V2_SETTLE: '1s',
      PASSFERRY_PROTECTED_USERS: 'nobody',
    });
  const running = Array.from({ length: workers }, work);
  const serve = spawn('serve', {
    PASSFERRY_REDIS_URL: network.urls.producerRedis,
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callers,
    PASSFERRY_CALLER_RATE: 'off',
  });
  const served = JSON.parse(await serve.waitForLine(/"serving"/, 60_000)).url as string;
  const url = await network.callers(served);
  // Around all faults: only looks.
  const watcher = connectRedis({ url: redis.url }, 'worker');
  watcher.on('error', () => {});
  const keys = redisKeys(namespace);
  const headers = { authorization: `Bearer ${token}` };
  await waitFor(async () => (await fetch(`${url}/readyz`)).ok || undefined, { what: 'readyz' });
  let kills = 0;
  let freezes = 0;
  let restarts = 0;

  const logged = (text: RegExp) => all.flatMap((child) => child.lines()).filter((line) => text.test(line)).length;

  return {
    people,
    sandbox,
    postgresUrl: postgres.url,
    redisDir: redis.dir,
    network,
    /** What was done, and how many jobs lost three starts to it and went on alone. */
    harm: () => ({ kills, freezes, restarts, ...network.counts(), quarantined: logged(/the job was quarantined/) }),
    logs: () => all.flatMap((child) => child.lines()).join('\n'),

    /** The job id when the request was accepted. */
    async send(org: string, user: string, password: string, key: string): Promise<string | undefined> {
      const answer = await fetch(`${url}/users/${user}/password`, {
        method: 'POST',
        headers: { ...headers, 'x-zitadel-orgid': org, 'idempotency-key': key, prefer: 'respond-async' },
        body: JSON.stringify({ password }),
        signal: AbortSignal.timeout(10_000),
      });
      await answer.arrayBuffer();
      return answer.status === 202 ? (answer.headers.get('passferry-job') ?? undefined) : undefined;
    },

    async view(jobId: string): Promise<JobView | undefined> {
      const answer = await fetch(`${url}/jobs/${jobId}`, { headers, signal: AbortSignal.timeout(10_000) });
      return answer.ok ? ((await answer.json()) as JobView) : undefined;
    },

    /** kill -9 of one worker; another takes its place. */
    async killWorker(at: number): Promise<void> {
      const i = Math.floor(at * running.length);
      running[i]?.kill9();
      await running[i]?.exited;
      kills++;
      running[i] = work();
    },
    /** Frozen past its locks, then thawed: what it still has in hand is somebody else's by now (F30). */
    async freezeWorker(at: number, ms: number): Promise<void> {
      const child = running[Math.floor(at * running.length)];
      child?.stop();
      await sleep(ms);
      child?.cont();
      freezes++;
    },
    async restartRedis(): Promise<void> {
      await redis.kill9();
      await redis.restart();
      restarts++;
    },
    async restartPostgres(): Promise<void> {
      await postgres.kill9();
      await postgres.restart();
      restarts++;
    },
    /** No more faults: what is open must now end. */
    async calm(): Promise<void> {
      sandbox.faults.clear();
      await network.calm();
    },
    /** Accepted jobs without an outcome: one call, however many there are. */
    open: () => watcher.zcard(keys.open),

    async v1Events(): Promise<Map<string, number>> {
      const client = new pg.Client({ connectionString: postgres.url });
      await client.connect();
      const { rows } = await client.query('select job_id, count(*)::int as n from passferry_events group by job_id');
      await client.end();
      return new Map(rows.map((row) => [row.job_id, row.n]));
    },

    async close(): Promise<void> {
      watcher.disconnect();
      // A worker told to stop also ends the quarantine process that it started.
      for (const child of [...running, serve]) child.term();
      const late = setTimeout(() => [...running, serve].forEach((child) => void child.kill9()), 40_000);
      await Promise.all([...running, serve].map((child) => child.exited));
      clearTimeout(late);
      await sandbox.close();
      await postgres.stop();
      await redis.stop();
    },
  };
}
