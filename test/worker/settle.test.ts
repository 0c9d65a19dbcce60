import { randomBytes, randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { expect, test } from 'vitest';
import type { Applied, Backend, Change } from '../../src/adapters/port.ts';
import { PassferryError } from '../../src/errors.ts';
import {
  createKeyFiles,
  readFingerprintKey,
  readJobKey,
  readPrivateKeys,
  readPublicKeys,
} from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { createLog } from '../../src/log.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import { Secret } from '../../src/secret.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from '../kit/files.ts';
import { startRedis } from '../kit/redis.ts';
import { waitFor } from '../kit/wait.ts';

/** Every way a start can end, and what becomes of the job in the queue. */

const server = await startRedis({ appendonly: false });
const connect = () => connectRedis({ url: server.url }, 'worker');
const redis = connect();
atEnd(() => redis.disconnect());
const dir = tempDir();
await createKeyFiles(dir);
const jobKey = readJobKey(dir);
const retentionMs = 60_000;

type Answer = (change: Change, changes: { at(user: string): void }, signal: AbortSignal) => Promise<Applied> | Applied;

/** Producer, worker and a v2-like backend whose answers are given one by one; the last one stays. */
async function scene(...answers: Answer[]) {
  const keys = redisKeys(`s${randomBytes(6).toString('hex')}`);
  const ledger = createLedger({ redis, keys, jobKey, retentionMs });
  const changed = new Map<string, number>();
  const sent: string[] = [];
  const at = (user: string) => void changed.set(user, Date.now());
  const backend: Backend = {
    name: 'v2',
    exact: false,
    async setPassword(change, signal) {
      const answer = answers[Math.min(sent.length, answers.length - 1)] as Answer;
      sent.push(change.user);
      return answer(change, { at }, signal);
    },
    async readUser(org, user) {
      const passwordChangedAt = changed.get(user);
      return { user, org, state: 'active', ...(passwordChangedAt !== undefined && { passwordChangedAt }) };
    },
    ping: async () => {},
    close: async () => {},
  };
  const producer = createProducer({
    ...{ redis: connect(), connectEvents: connect, keys, jobKey, retentionMs },
    ...{ publicKeys: readPublicKeys(dir), fingerprintKey: readFingerprintKey(dir) },
  });
  atEnd(() => producer.close());
  const queue = new Queue('interactive', { connection: redis, prefix: keys.bullPrefix });
  atEnd(() => queue.close());
  await ledger.raiseFloor(0n);

  return {
    ...{ sent, ledger, queue, producer },
    work(closeMs = 5_000) {
      const worker = createWorker({
        ...{ connect, keys, dataKeys: dataKeyStore(redis, keys), privateKeys: readPrivateKeys(dir), jobKey },
        ...{ retentionMs, backends: { v2: { backend, limit: 4 } }, stages: { default: 'v2', organizations: {} } },
        ...{ log: createLog('silent', 'test'), deadlineMs: 300, settleMs: 200, closeMs },
      });
      atEnd(() => worker.close());
      return worker;
    },
    async ask(user: string = randomUUID(), expiresInMs = 60_000, org = 'o'): Promise<string> {
      const request = { org, user, password: Secret.fromString('new password'), changeRequired: false };
      return (await producer.setPassword({ caller: 'c', admin: true }, request, { expiresInMs })).jobId;
    },
    waitingFor: (jobId: string, reason: string) =>
      waitFor(async () => (await ledger.job(jobId))?.waitingFor === reason, { what: `the job to wait for ${reason}` }),
  };
}

const fine: Answer = () => ({ result: 'set' });
const fail =
  (...of: ConstructorParameters<typeof PassferryError>): Answer =>
  () =>
    Promise.reject(new PassferryError(...of));

test('well: the outcome is recorded and the queue keeps nothing', async () => {
  const { ask, work, producer, queue } = await scene(fine);
  work();
  const jobId = await ask();
  expect(await producer.wait(jobId, 10_000)).toMatchObject({ result: 'set', inEffect: true });
  await waitFor(async () => (await queue.getJob(jobId)) === undefined, { what: 'the queue to forget the job' });
  expect(await producer.view(jobId)).toMatchObject({ state: 'completed', done: true, attempts: 1 });
});

test('an answer about the user: failed for good, with the reason as its whole text', async () => {
  const { ask, work, producer, queue, sent } = await scene(fail('COMMAND-M9dse', { message: 'new password' }));
  work();
  const jobId = await ask();
  expect(await producer.wait(jobId, 10_000)).toMatchObject({ reason: 'COMMAND-M9dse', inEffect: false });
  await waitFor(async () => (await queue.getJobState(jobId)) === 'failed', { what: 'the queue to fail the job' });
  const job = await queue.getJob(jobId);
  expect(job?.failedReason).toBe('COMMAND-M9dse');
  expect(job?.stacktrace ?? []).toEqual([]);
  expect(sent).toHaveLength(1);
});

test('a fault of the backend: put off with its reason, tried again, done', async () => {
  const { ask, work, producer, waitingFor, sent } = await scene(fail('backend_down', { scope: 'backend' }), fine);
  const worker = work();
  const jobId = await ask();
  await waitingFor(jobId, 'backend_down');
  expect(worker.progress().waitingFor).toEqual({ v2: 'backend_down' });
  expect(await producer.wait(jobId, 10_000)).toMatchObject({ result: 'set' });
  expect(sent).toHaveLength(2);
  await waitFor(() => worker.progress().waitingFor.v2 === undefined, { what: 'the first success to end the backoff' });
});

test('a fault of one organization: its job waits, the jobs of others go on', async () => {
  const { ask, work, producer, queue, waitingFor } = await scene(
    fail('backend_forbidden', { scope: 'organization' }),
    fine,
  );
  const worker = work();
  const jobId = await ask();
  await waitingFor(jobId, 'backend_forbidden');
  expect(worker.progress().waitingFor).toEqual({});
  expect(await producer.wait(await ask(undefined, undefined, 'other'), 10_000)).toMatchObject({ result: 'set' });
  expect(await queue.getJobState(jobId)).toBe('delayed');
});

test('a lost answer to a change that was made is settled by reading, and sent once', async () => {
  const { ask, work, producer, sent } = await scene((change, { at }) => {
    at(change.user);
    throw new PassferryError('backend_timeout', { scope: 'backend', effect: 'unknown' });
  }, fine);
  work();
  const outcome = await producer.wait(await ask(), 10_000);
  expect(outcome).toMatchObject({ result: 'set', inEffect: true, assumed: true });
  expect(sent).toHaveLength(1);
});

test('a lost answer to a change that was not made is sent again after its deadline', async () => {
  const { ask, work, producer, sent } = await scene(
    fail('backend_timeout', { scope: 'backend', effect: 'unknown' }),
    fine,
  );
  work();
  const outcome = await producer.wait(await ask(), 15_000);
  expect(outcome).toMatchObject({ result: 'set' });
  expect(outcome).not.toHaveProperty('assumed');
  expect(sent).toHaveLength(2);
});

test('an expired job ends so, and nothing is sent', async () => {
  const { ask, work, producer, sent } = await scene(fine);
  const jobId = await ask(undefined, 1);
  const expiresAt = Date.parse((await producer.view(jobId))?.expiresAt ?? '');
  await waitFor(() => Date.now() > expiresAt + 5, { what: 'the expiry to pass' });
  work();
  expect(await producer.wait(jobId, 10_000)).toMatchObject({ code: 'expired', reason: 'job_expired' });
  expect(sent).toEqual([]);
});

// Known fault: any ending counts as an answer of the backend, also one that came from the ledger alone.
test('an expiry during an outage does not end the backoff', async () => {
  const { ask, work, waitingFor } = await scene(fail('backend_down', { scope: 'backend', retryAfterMs: 1_500 }));
  const worker = work();
  await worker.ready;
  await waitingFor(await ask(undefined, 1_000), 'backend_down');
  await waitFor(() => worker.progress().finished === 1, { what: 'the job to expire' });
  expect(worker.progress().waitingFor).toEqual({ v2: 'backend_down' });
});

test('two jobs of one user that wait together: the newer one is in force, whoever starts first', async () => {
  const { ask, work, producer } = await scene(fine);
  const ids = [await ask('u'), await ask('u')];
  work();
  const [older, newer] = await Promise.all(ids.map((id) => producer.wait(id, 15_000)));
  expect(newer).toMatchObject({ result: 'set' });
  expect(['set', 'superseded']).toContain(older && 'result' in older && older.result);
});

test('a worker that closes puts back what does not end in time, and the next one settles it', async () => {
  const hang: Answer = (_change, _at, signal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () =>
        reject(new PassferryError('aborted', { scope: 'backend', effect: 'unknown' })),
      );
    });
  const { ask, work, producer, queue, sent, ledger } = await scene(hang, fine);
  const first = work(10);
  const jobId = await ask();
  await waitFor(() => sent.length === 1, { what: 'the call to be on its way' });
  await first.close();
  expect((await ledger.job(jobId))?.outcome).toBeUndefined();
  expect(['delayed', 'waiting', 'prioritized']).toContain(await queue.getJobState(jobId));
  work();
  expect(await producer.wait(jobId, 15_000)).toMatchObject({ result: 'set' });
  expect(sent).toHaveLength(2);
});
