import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hash } from '@node-rs/bcrypt';
import pg from 'pg';
import { createV1Postgres, pgClient } from '../src/adapters/v1-postgres/index.ts';
import type { JobView } from '../src/job.ts';
import { createKeyFiles } from '../src/key-files.ts';
import { hashToken } from '../src/producer/callers.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { tempDir } from '../test/kit/files.ts';
import { startPostgres } from '../test/kit/postgres.ts';
import { spawnNode, type TestProcess } from '../test/kit/processes.ts';
import { startProxy } from '../test/kit/proxy.ts';
import { startRedis } from '../test/kit/redis.ts';
import { waitFor } from '../test/kit/wait.ts';

const token = 'pf_rehearsal';
export const org = 'acme';
/** So many people share a hash in v1 at the start: computing one for each would take longer than the rehearsal. */
const sharers = 100;

export interface Person {
  id: string;
  /** The last one that was accepted and is in effect. */
  password: string;
}

/** People in v1 with hashes that v2 takes, and in v2 without a password; real processes between them that can be harmed. */
export async function startRehearsal({ users, workers, seed }: { users: number; workers: number; seed: number }) {
  const dir = tempDir();
  const keysDir = join(dir, 'keys');
  mkdirSync(keysDir);
  await createKeyFiles(keysDir);
  const redis = await startRedis({ extra: ['--appendfsync', 'always'] });
  const postgres = await startPostgres();
  const v1 = await createV1Postgres({ sql: pgClient(postgres.url), bcryptCost: 10 });
  await v1.migrate();
  const people: Person[] = Array.from({ length: users }, (_, i) => ({
    id: `9${String(i).padStart(17, '0')}`,
    password: `Old-${seed}-${Math.floor(i / sharers)}!a`,
  }));
  await v1.addUsers(people.map(({ id }) => ({ id, org, userName: `person-${id}` })));
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  client.on('error', () => {});
  for (const password of new Set(people.map((person) => person.password))) {
    const ids = people.filter((person) => person.password === password).map(({ id }) => id);
    await client.query(
      `update users set password_hash = $1, password_changed_at = now() - interval '30 days' where id = any($2)`,
      [await hash(password, 10), ids],
    );
  }
  const sandbox = await startSandbox({
    ...{ bcryptCost: 4, lagMs: 100, seed },
    tokens: { t: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
    ...{ orgs: [org], silentOrgs: [org] },
    users: people.map(({ id }) => ({ id, org, userName: `person-${id}` })),
  });
  const v2 = await startProxy({ targetHost: '127.0.0.1', targetPort: sandbox.port });
  const callers = join(dir, 'callers.json');
  const grants = { [org]: ['admin'], '*': ['operate'] };
  writeFileSync(
    callers,
    JSON.stringify({ callers: [{ name: 'rehearsal', tokenSha256: hashToken(token), home: org, grants }] }),
  );

  const shared = {
    PASSFERRY_REDIS_URL: redis.url,
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_STAGES: 'v1',
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
      PASSFERRY_V1_URL: postgres.url,
      PASSFERRY_V1_BCRYPT_COST: '10',
      PASSFERRY_V2_URL: `http://127.0.0.1:${v2.port}`,
      PASSFERRY_V2_TOKEN: 't',
      PASSFERRY_V2_DEADLINE: '3s',
      PASSFERRY_V2_SETTLE: '1s',
      PASSFERRY_PROTECTED_USERS: 'nobody',
    });
  const running = Array.from({ length: workers }, work);
  const serve = spawn('serve', {
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callers,
    PASSFERRY_CALLER_RATE: 'off',
  });
  const url = JSON.parse(await serve.waitForLine(/"serving"/)).url as string;
  await waitFor(async () => (await fetch(`${url}/readyz`)).ok || undefined, { what: 'readyz' });
  const harm = { kills: 0, redisRestarts: 0, v2Outages: 0 };

  async function ask(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        'x-zitadel-orgid': org,
        ...(body && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(20_000),
    });
    const text = await answer.text();
    // biome-ignore lint/suspicious/noExplicitAny: looked into by whoever asks
    return { status: answer.status, headers: answer.headers, body: (text ? JSON.parse(text) : undefined) as any };
  }

  return {
    ...{ people, sandbox, postgresUrl: postgres.url, harm, ask, url, token },
    logs: () => all.flatMap((child) => child.lines()).join('\n'),

    /** Accepted and ended: is it in effect? Undefined: it was not accepted. */
    async set(user: string, password: string, key: string): Promise<boolean | undefined> {
      const asked = await ask(
        'POST',
        `/users/${user}/password`,
        { password },
        {
          'idempotency-key': key,
          prefer: 'respond-async',
        },
      ).catch(() => undefined);
      if (asked?.status !== 202) return undefined;
      const job = asked.headers.get('passferry-job');
      const view = await waitFor(
        async () => {
          const { body } = await ask('GET', `/jobs/${job}`);
          return (body as JobView)?.done ? (body as JobView) : undefined;
        },
        { what: `job ${job} to end`, timeoutMs: 600_000 },
      );
      return view.outcome?.inEffect;
    },

    async killWorker(at: number): Promise<void> {
      const i = Math.floor(at * running.length);
      running[i]?.kill9();
      await running[i]?.exited;
      harm.kills++;
      running[i] = work();
    },
    async restartRedis(): Promise<void> {
      await redis.kill9();
      await redis.restart();
      harm.redisRestarts++;
    },
    /** v2 is gone for as long as it takes. */
    async withoutV2(until: () => Promise<unknown>): Promise<void> {
      v2.cut();
      harm.v2Outages++;
      try {
        await until();
      } finally {
        await v2.restore();
      }
    },

    /** What each store has: by its own hash. */
    async hashes(): Promise<Map<string, { v1: string | null; v2: string | undefined }>> {
      const { rows } = await client.query('select id, password_hash as hash from users');
      return new Map(rows.map((row) => [row.id, { v1: row.hash, v2: sandbox.users.get(row.id)?.hash }]));
    },

    async close(): Promise<void> {
      await client.end().catch(() => {});
      for (const child of [...running, serve]) child.term();
      const late = setTimeout(() => [...running, serve].forEach((child) => void child.kill9()), 40_000);
      await Promise.all([...running, serve].map((child) => child.exited));
      clearTimeout(late);
      await v1.close();
      await v2.stop();
      await sandbox.close();
      await postgres.stop();
      await redis.stop();
    },
  };
}
