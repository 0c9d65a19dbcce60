import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { beforeAll, describe, expect, test } from 'vitest';
import { createV1Postgres, pgClient } from '../src/adapters/v1-postgres/index.ts';
import { loadServeConfig, loadWorkConfig } from '../src/config.ts';
import { createKeyFiles } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { asData } from '../src/ledger/records.ts';
import { hashToken } from '../src/producer/callers.ts';
import { Secret } from '../src/secret.ts';
import { serve } from '../src/serve.ts';
import type { JobKey } from '../src/signature.ts';
import { work as workHere } from '../src/work.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { createDatabase, startPostgres, type TestPostgres } from './kit/postgres.ts';
import { spawnNode, type TestProcess } from './kit/processes.ts';
import { startRedis, type TestRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

/** P11: real workers that die by what they do, and the process in which what did it runs alone. F48, F49, F50. */

const slow = 400_000;
const hook = pathToFileURL(fileURLToPath(new URL('./kit/poison.mjs', import.meta.url))).href;
const tokens = { admin: 'pf_admin', setter: 'pf_setter' };
const password = 'New-password-1';

let redis: TestRedis;
let postgres: TestPostgres;
beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
}, slow);

/** An installation: a producer here, workers in processes that are started again when they die, and poison. */
async function world(namespace: string, bcryptCost: number) {
  const dir = tempDir();
  const [keysDir, poisonFile, poisonLog] = ['keys', 'poison', 'log'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  for (const file of [poisonFile, poisonLog]) writeFileSync(file, '');
  await createKeyFiles(keysDir);
  const callersFile = join(dir, 'callers.json');
  const caller = (name: keyof typeof tokens, ...grants: string[]) => ({
    ...{ name, home: 'acme', tokenSha256: hashToken(tokens[name]), grants: { acme: grants } },
  });
  writeFileSync(callersFile, JSON.stringify({ callers: [caller('admin', 'admin'), caller('setter', 'set', 'read')] }));
  const url = await createDatabase(postgres.url);
  const v1 = await createV1Postgres({ sql: pgClient(url), bcryptCost: 4 });
  atEnd(() => v1.close());
  await v1.migrate();
  const direct = new Redis(redis.url);
  atEnd(() => direct.disconnect());
  const keys = redisKeys(namespace);
  const shared = {
    PASSFERRY_REDIS_URL: redis.url,
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_NAMESPACE: namespace,
    PASSFERRY_STAGES: JSON.stringify({ default: 'v1' }),
  };
  const config = loadServeConfig({ ...shared, PASSFERRY_LISTEN: '127.0.0.1:0', PASSFERRY_CALLERS_FILE: callersFile });
  const serving = await serve(config, pino({ level: 'silent' }));
  atEnd(() => serving.close());
  // The order of a fresh Redis is confirmed by a worker; none runs yet.
  await direct.set(keys.sequence, '1');

  const workers = new Set<TestProcess>();
  let crashes = 0;
  let stopped = false;
  /** What a worker said that ended otherwise than by poison. */
  let broken = '';
  function work(): void {
    const child = spawnNode(['src/cli/main.ts', 'work'], {
      ...shared,
      PASSFERRY_V1_URL: url,
      PASSFERRY_V1_BCRYPT_COST: String(bcryptCost),
      NODE_OPTIONS: `--import=${hook}`,
      UV_THREADPOOL_SIZE: '4',
      POISON_FILE: poisonFile,
      POISON_LOG: poisonLog,
    });
    workers.add(child);
    void child.exited.then(({ signal }) => {
      workers.delete(child);
      if (stopped) return;
      if (signal === 'SIGKILL') crashes++;
      else broken = child.lines().slice(-5).join('\n');
      work();
    });
  }

  /** What the processes told: starts and ends of jobs, in order. */
  const events = () =>
    readFileSync(poisonLog, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [what, pid, jobId, queue] = line.split(' ') as [string, string, string, string];
        return { what, pid: Number(pid), jobId, queue };
      });

  /** The locks of a process that is gone end by themselves in 10 s; here at once, all together, and only once: they are taken anew. */
  const forgotten = new Set<number>();
  async function forgetTheDead(): Promise<void> {
    const dead = events().filter(({ pid }) => !forgotten.has(pid) && !isAlive(pid));
    for (const { pid } of dead) forgotten.add(pid);
    const locks = dead.map(({ queue, jobId }) => `${keys.bullPrefix}:${queue}:${jobId}:lock`);
    if (locks.length > 0) await direct.del(...locks);
  }

  async function send(method: string, path: string, body?: unknown, as: keyof typeof tokens = 'admin') {
    const json = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await fetch(`${serving.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${tokens[as]}`, prefer: 'respond-async', ...json },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it by expectations
    return { status: response.status, body: (await response.json()) as any };
  }
  const view = async (id: string) => (await send('GET', `/jobs/${id}`)).body;
  async function until<T>(what: string, fn: () => Promise<T>) {
    const look = async () => {
      await forgetTheDead();
      return broken ? { broken } : fn();
    };
    try {
      const found = await waitFor(look, { what });
      if (broken) throw new Error(`a worker could not run: ${broken}`);
      return found;
    } catch (cause) {
      throw new Error(`${what}; ${crashes} crashes; last: ${JSON.stringify(events().slice(-12))}`, { cause });
    }
  }

  return {
    keys,
    direct,
    events,
    send,
    view,
    until,
    /** A worker in this process, as `up` has it. */
    async startInside() {
      const worker = await workHere(
        loadWorkConfig({ ...shared, PASSFERRY_V1_URL: url }),
        { v1: await createV1Postgres({ sql: pgClient(url), bcryptCost: 4 }) },
        pino({ level: 'silent' }),
      );
      atEnd(() => worker.close());
      await worker.ready;
      return worker;
    },
    startWorkers: (count: number) => Array.from({ length: count }, work),
    crashes: () => crashes,
    /** Jobs that kill their process while all of one line run in it. */
    poison: (lines: string[]) => writeFileSync(poisonFile, lines.map((line) => `${line}\n`).join('')),
    async accept(users: string[]): Promise<string[]> {
      await v1.addUsers(users.map((id) => ({ id, org: 'acme', password: 'Old-password-1' })));
      const jobs: string[] = [];
      for (const user of users) {
        const { body } = await send('POST', `/users/${user}/password`, { password }, 'setter');
        jobs.push(body.id);
      }
      return jobs;
    },
    allSet: (jobs: string[]) =>
      until('all jobs to be set', async () => {
        for (const job of jobs) if ((await view(job)).outcome?.result !== 'set') return false;
        return true;
      }),
    held: (job: string) =>
      until('the job to be held', async () => {
        const { body } = await send('GET', '/jobs?state=quarantined&org=acme');
        return body.jobs?.some((each: { id: string }) => each.id === job);
      }),
    works: (user: string) => v1.prove('acme', user, Secret.fromString(password), AbortSignal.timeout(5_000)),
    async stop(): Promise<void> {
      stopped = true;
      for (const worker of workers) worker.term();
      await Promise.all([...workers].map((worker) => worker.exited));
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('a job that ends its process', () => {
  test('F48 F49 F50: after three crashes it runs alone, after three more a person decides; its neighbours are set', {
    timeout: slow,
  }, async () => {
    const { accept, poison, startWorkers, allSet, held, send, ...here } = await world('poison', 4);
    const users = Array.from({ length: 52 }, (_, i) => `u${i}`);
    const [first = '', second = '', ...neighbours] = await accept(users);
    poison([first]);
    startWorkers(1);

    await allSet([second, ...neighbours]);
    await held(first);
    const begun = () => here.events().filter(({ what, jobId }) => what === 'begun' && jobId === first);
    expect(new Set(begun().map(({ pid }) => pid)).size).toBe(6);
    expect(here.crashes()).toBe(3);
    expect(await here.view(first)).toMatchObject({ done: false, waitingFor: 'quarantined' });
    const { body } = await send('GET', '/jobs?state=quarantined&org=acme');
    expect(body.jobs).toMatchObject([{ id: first, user: 'u0', org: 'acme', starts: 6 }]);
    expect((await send('POST', `/jobs/${first}:release`, { reason: 'try' }, 'setter')).status).toBe(403);
    expect((await send('POST', `/jobs/${second}:release`, { reason: 'try' })).body.reason).toBe('job_not_quarantined');

    poison([]);
    expect((await send('POST', `/jobs/${first}:release`, { reason: 'fixed' })).status).toBe(200);
    await allSet([first]);
    expect(await here.works('u0')).toBe(true);
    expect((await send('GET', '/jobs?state=quarantined&org=acme')).body.jobs).toEqual([]);
    expect(await here.direct.hmget(here.keys.job(first), 'releasedBy', 'releaseReason')).toEqual(['admin', 'fixed']);
    await here.stop();
  });

  test('jobs that were only there when it happened run one at a time in quarantine, and are set', {
    timeout: slow,
  }, async () => {
    const { accept, poison, startWorkers, allSet, ...here } = await world('innocent', 12);
    const jobs = await accept(['i1', 'i2']);
    poison([jobs.join('+')]);
    startWorkers(1);

    await here.until('three crashes', async () => here.crashes() === 3);
    // Another worker, and with it another quarantine process.
    startWorkers(1);
    await allSet(jobs);
    expect(here.crashes()).toBe(3);
    const ended = () => here.events().filter(({ what }) => what === 'committed');
    await here.until('both ends to be told', async () => ended().length === 2);
    const survivors = new Set(ended().map(({ pid }) => pid));
    const alone = here.events().filter(({ pid }) => survivors.has(pid));
    expect(alone.map(({ what }) => what)).toEqual(['begun', 'committed', 'begun', 'committed']);
    expect(alone[0]?.jobId).toBe(alone[1]?.jobId);
    await here.stop();
  });
});

describe('without a quarantine process', () => {
  test('a job is held after three crashes; dropped by a person, it ends and its secret is gone', async () => {
    const { accept, send, keys, direct, until, stop, startInside, held } = await world('drop', 4);
    const [job = ''] = await accept(['d1']);
    await direct.hset(keys.job(job), 'starts', '3');
    const worker = await startInside();
    await held(job);
    await until('the queue to have it as failed', () => direct.zscore(`${keys.bullPrefix}:interactive:failed`, job));

    expect((await send('POST', `/jobs/${job}:drop`, { reason: 'no' }, 'setter')).status).toBe(403);
    expect((await send('POST', `/jobs/${job}:drop`, {})).body.reason).toBe('reason_invalid');
    const { status, body } = await send('POST', `/jobs/${job}:drop`, { reason: 'a broken import' });
    expect({ status, outcome: body.outcome }).toMatchObject({
      status: 200,
      outcome: { code: 'canceled', reason: 'dropped' },
    });
    expect(await direct.exists(`${keys.bullPrefix}:interactive:${job}`)).toBe(0);
    expect((await send('GET', '/jobs?state=quarantined&org=acme')).body.jobs).toEqual([]);
    expect(await direct.hmget(keys.job(job), 'droppedBy', 'dropReason')).toEqual(['admin', 'a broken import']);
    await worker.close();
    await stop();
  });

  test('released, it starts from nothing and is set', async () => {
    const { accept, send, keys, direct, allSet, startInside, held } = await world('release', 4);
    const [job = ''] = await accept(['r1']);
    await direct.hset(keys.job(job), 'starts', '3');
    const worker = await startInside();
    await held(job);
    expect((await send('POST', `/jobs/${job}:release`, { reason: 'again' })).status).toBe(200);
    await allSet([job]);
    await worker.close();
  });
});

test('F50: a start that is busy, put off or given back does not count; one that is cut short does', async () => {
  const keys = redisKeys('starts');
  const direct = new Redis(redis.url);
  atEnd(() => direct.disconnect());
  const key = Buffer.alloc(32, 1);
  const ledger = createLedger({ redis: direct, keys, jobKey: { current: key } as JobKey, retentionMs: 60_000 });
  const data = (jobId: string, seq: string) =>
    asData({
      ...{ jobId, seq, caller: 'c', org: 'acme', user: 'u', acceptedAt: Date.now(), expiresAt: Date.now() + 60_000 },
      ...{ attempts: 0, starts: 0 },
    });
  const [one, two] = [data('one', '1'), data('two', '2')];
  const begin = (job: typeof one, token: string) =>
    ledger.begin(job, { token, leaseMs: 20_000, backend: 'v1', exact: true, startLimit: 3 });
  const starts = async (jobId: string) => Number(await direct.hget(keys.job(jobId), 'starts'));

  for (let i = 0; i < 5; i++) {
    expect((await begin(one, `given-back-${i}`)).kind).toBe('go');
    expect((await begin(two, 'busy')).kind).toBe('busy');
    await ledger.release(one, `given-back-${i}`, 'backend_down');
  }
  expect([await starts('one'), await starts('two')]).toEqual([0, 0]);

  for (let i = 0; i < 3; i++) expect((await begin(one, `cut-short-${i}`)).kind).toBe('go');
  await ledger.release(one, 'cut-short-0', 'late');
  expect(await begin(one, 'never')).toEqual({ kind: 'poison', starts: 3 });
});
