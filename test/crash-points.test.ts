import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, test } from 'vitest';
import { loadServeConfig } from '../src/config.ts';
import { createProducer, createWorker } from '../src/index.ts';
import type { BackendName, JobView } from '../src/job.ts';
import { redisKeys } from '../src/keys.ts';
import { createLog } from '../src/log.ts';
import { hashToken } from '../src/producer/callers.ts';
import { serve } from '../src/serve.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

/** A process dies before and after the effect of each row of a request's way; what is left is carried on by another. */

const world = await startProcessWorld();
const dir = tempDir();
const hook = new URL('kit/die-at.mjs', import.meta.url).href;
const dieAt = (point: string) => ({
  NODE_OPTIONS: `--import ${hook}`,
  DIE_AT: point,
  DIE_ONCE: join(dir, randomUUID()),
});
const ends: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  await Promise.all(ends.map((end) => end()));
  await world.close();
});

const common = (namespace: string) => ({
  PASSFERRY_REDIS_URL: world.redis.url,
  PASSFERRY_KEYS_DIR: world.keysDir,
  PASSFERRY_NAMESPACE: namespace,
  PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { globex: 'v2' } }),
  PASSFERRY_LOG_LEVEL: 'silent',
});
const quick = { PASSFERRY_V2_DEADLINE: '5s', PASSFERRY_V2_SETTLE: '1s' };

/** A worker in this process. */
async function work(namespace: string): Promise<void> {
  const worker = await createWorker({
    ...common(namespace),
    ...quick,
    PASSFERRY_V1_URL: world.postgresUrl,
    PASSFERRY_V1_BCRYPT_COST: '4',
    PASSFERRY_V2_URL: world.sandbox.url,
    PASSFERRY_V2_TOKEN: 't',
  });
  ends.push(() => worker.close());
  await worker.ready;
}

/** Recovery is a wait for locks to end, so the first test starts all cases of its group; each then tells its own ending. */
function together<Case extends readonly unknown[]>(cases: readonly Case[], work: (each: Case) => Promise<void>) {
  let running: Map<string, Promise<void>> | undefined;
  return (each: readonly unknown[]): Promise<void> => {
    running ??= new Map(
      cases.map((one) => {
        const ending = work(one);
        ending.catch(() => {});
        return [JSON.stringify(one), ending];
      }),
    );
    return running.get(JSON.stringify(each)) ?? Promise.reject(new Error('no such case'));
  };
}

const organizations = { v1: 'acme', v2: 'globex' } as const;

/** Point → what the process has done by then, and in which backends the row has something to do. */
const workerPoints: [string, string, BackendName[]][] = [
  ['job:taken', 'before the job is decoded', ['v1', 'v2']],
  ['job:decoded', 'after the job is decoded, before it begins', ['v1', 'v2']],
  ['job:begun', 'after the lease, before the password is opened', ['v1', 'v2']],
  ['job:opened', 'after the password is opened, before anything is recorded or sent', ['v1', 'v2']],
  ['job:attempted', 'after the attempt is recorded, before it is sent', ['v2']],
  ['job:applied', 'after the change, before it is committed', ['v1', 'v2']],
  ['job:committed', 'after the commit, before the queue is told', ['v1', 'v2']],
  ['job:settled', 'after the queue is told', ['v1', 'v2']],
];
const workerCases = workerPoints.flatMap(([point, done, backends]) =>
  backends.map((backend) => [backend, done, point] as const),
);

describe('a worker dies, another finishes: one effect, the right outcome', () => {
  const run = together(workerCases, async ([backend, _, point]) => {
    const org = organizations[backend];
    const namespace = `w${randomUUID().slice(0, 8)}`;
    const user = await world.addUser(org);
    const place = await world.installation(namespace);
    const child = await place.work({ ...quick, ...dieAt(point) });
    const jobId = await place.ask(org, user);
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    await work(namespace);
    const outcome = await place.outcome(jobId);
    // A lost answer is found by reading, and says so.
    const assumed = backend === 'v2' && point === 'job:applied';
    expect(outcome).toMatchObject({ result: 'set', inEffect: true, backend, ...(assumed && { assumed }) });
    if (!assumed) expect(outcome).not.toHaveProperty('assumed');
    expect(await world.changes(org, user)).toBe(1);
  });
  test.each(workerCases)('%s: killed %s', (...each) => run(each));
});

const token = 'pf_crash-points';
mkdirSync(join(dir, 'callers'));
const callersFile = join(dir, 'callers', 'callers.json');
const grants = { acme: ['set', 'read'], globex: ['set', 'read'] };
writeFileSync(
  callersFile,
  JSON.stringify({ callers: [{ name: 'crash', tokenSha256: hashToken(token), home: 'acme', grants }] }),
);
const serveNamespace = 'serves';
const serveSettings = {
  ...common(serveNamespace),
  PASSFERRY_LISTEN: '127.0.0.1:0',
  PASSFERRY_CALLERS_FILE: callersFile,
};
const post = (url: string, org: string, user: string, password: string, key: string) =>
  fetch(`${url}/users/${user}/password`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'x-zitadel-orgid': org,
      'idempotency-key': key,
      prefer: 'respond-async',
    },
    body: JSON.stringify({ password }),
  });

const producerPoints = [
  ['before the request is reserved', 'accept:received'],
  ['after the request is reserved, before it is sealed', 'accept:reserved'],
  ['after it is sealed, before it is added', 'accept:sealed'],
  ['after it is added, before the reply', 'accept:added'],
  ['after the reply', undefined],
] as const;
const producerCases = producerPoints.flatMap(([done, point]) =>
  (point === undefined || point === 'accept:added' ? (['v1', 'v2'] as const) : (['v2'] as const)).map(
    (backend) => [backend, done, point] as const,
  ),
);

describe('a producer dies, the caller repeats under the same key: one job, one effect', () => {
  const other = (async () => {
    await work(serveNamespace);
    const serving = await serve(loadServeConfig(serveSettings), createLog('silent', 'test'));
    ends.unshift(() => serving.close());
    return serving.url;
  })();
  other.catch(() => {});

  const run = together(producerCases, async ([backend, _, point]) => {
    const org = organizations[backend];
    const url = await other;
    const [user, password, key] = [await world.addUser(org), newPassword(), randomUUID()];
    const { child, url: first } = await world.starting(async () => {
      const child = spawnNode(['src/cli/main.ts', 'serve'], {
        ...serveSettings,
        PASSFERRY_LOG_LEVEL: 'info',
        ...(point && dieAt(point)),
      });
      return { child, url: JSON.parse(await child.waitForLine(/"serving"/)).url as string };
    });
    const reply = await post(first, org, user, password, key).catch(() => undefined);
    // Without a reply nobody was told that it is stored.
    expect(reply?.status).toBe(point === undefined ? 202 : undefined);
    if (point === undefined) child.kill9();
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });

    const again = await post(url, org, user, password, key);
    expect([200, 202]).toContain(again.status);
    const jobId = again.headers.get('passferry-job') as string;
    const look = await createProducer({
      redisUrl: world.redis.url,
      keysDir: world.keysDir,
      namespace: serveNamespace,
    });
    const job = await waitFor(
      async () => {
        const each = await look.job(jobId);
        return each?.done ? (each as JobView) : undefined;
      },
      { what: 'the job to end' },
    );
    await look.close();
    expect(job.outcome).toMatchObject({ result: 'set', inEffect: true, backend });
    expect(await jobsOf(user)).toEqual([jobId]);
    expect(await world.changes(org, user)).toBe(1);
    if (backend === 'v2') expect(await world.sandbox.verify(user, password)).toBe(true);
  });
  test.each(producerCases)('%s: killed %s', (...each) => run(each));
});

/** Ids of all jobs that the ledger has for a user. */
async function jobsOf(user: string): Promise<string[]> {
  const redis = new Redis(world.redis.url);
  const prefix = redisKeys(serveNamespace).job('');
  const names = await redis.keys(redisKeys(serveNamespace).job('*'));
  const users = await Promise.all(names.map((name) => redis.hget(name, 'user')));
  redis.disconnect();
  return names.filter((_, i) => users[i] === user).map((name) => name.slice(prefix.length));
}
