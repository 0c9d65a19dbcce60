import { randomBytes, randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { expect, test } from 'vitest';
import type { Applied, Backend, BackendUser, Change } from '../../src/adapters/port.ts';
import { PassferryError } from '../../src/errors.ts';
import { decodeJobData, type SetPasswordData } from '../../src/job.ts';
import { createKeyFiles, readJobKey, readPrivateKeys, readPublicKeys } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { createLog } from '../../src/log.ts';
import { connectRedis } from '../../src/redis.ts';
import { createOpener, createSealer } from '../../src/seal.ts';
import { Secret } from '../../src/secret.ts';
import { jobParts, sign } from '../../src/signature.ts';
import type { Protection } from '../../src/worker/protect.ts';
import { setPassword } from '../../src/worker/set-password.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from '../kit/files.ts';
import { startRedis } from '../kit/redis.ts';
import { waitFor } from '../kit/wait.ts';

const server = await startRedis({ appendonly: false });
const connect = () => connectRedis({ url: server.url }, 'worker');
const redis = connect();
atEnd(() => redis.disconnect());
const dir = tempDir();
await createKeyFiles(dir);
const jobKey = readJobKey(dir);
const keys = redisKeys('handler');
const store = dataKeyStore(redis, keys);
const seal = createSealer(readPublicKeys(dir), jobKey, store);
const open = createOpener(readPrivateKeys(dir), jobKey, store);
const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });

let seq = 1_000;
/** Signed job data of a user of its own, after the way through Redis: as JSON. */
async function job(over: Partial<SetPasswordData> = {}): Promise<SetPasswordData> {
  const identity = { jobId: `j0-${randomUUID()}`, org: 'o', user: randomUUID(), seq: String(seq++) };
  const acceptedAt = Date.now();
  const expiresAt = acceptedAt + 60_000;
  const sealed = await seal(Secret.fromString('new password'), identity, expiresAt);
  const unsigned = {
    ...{ v: 1 as const, name: 'set-password' as const, caller: 'c', ...identity, acceptedAt, expiresAt },
    ...{ changeRequired: true, admin: true, overwriteNewer: false, ...sealed, ...over },
  };
  return decodeJobData(JSON.parse(JSON.stringify({ ...unsigned, mac: sign(jobKey, 'job', jobParts(unsigned)) })));
}

/** A backend in memory that keeps what it was sent. */
function memory(over: Partial<Backend> = {}, answer: () => Applied = () => ({ result: 'set' })) {
  const sent: { password: string; change: Change }[] = [];
  const known: Omit<BackendUser, 'user'> = { org: 'o', state: 'active' };
  const backend: Backend = {
    name: 'v2',
    exact: false,
    async setPassword(change) {
      sent.push({ password: change.password.reveal(), change });
      return answer();
    },
    readUser: async (_org, user) => ({ ...known, user }),
    ping: async () => {},
    close: async () => {},
    ...over,
  };
  return { backend, sent, known };
}

async function handle(data: SetPasswordData, backend: Backend, protection: Protection = {}) {
  const token = randomUUID();
  const begun = await ledger.begin(data, { token, leaseMs: 60_000, backend: backend.name, exact: backend.exact });
  if (begun.kind !== 'go') throw new Error(`begun: ${begun.kind}`);
  const deps = { ledger, open, backend, protection, settleMs: 50, deadlineMs: 200 };
  return setPassword(data, begun, token, deps, new AbortController().signal);
}
const details = { sequence: '7', changeDate: new Date().toISOString(), resourceOwner: 'o' };
const fails = (reason: string) => expect.objectContaining({ reason });

test('what was sealed is what is sent, once, with all that the job says; then it is wiped', async () => {
  const { backend, sent } = memory({}, () => ({ result: 'set', details }));
  const data = await job({ changeRequired: false });
  expect(await handle(data, backend)).toMatchObject({ result: 'set', inEffect: true, backend: 'v2', details });
  expect(sent).toHaveLength(1);
  const { jobId, user, acceptedAt } = data;
  expect(sent[0]?.password).toBe('new password');
  expect(sent[0]?.change).toMatchObject({ jobId, org: 'o', user, acceptedAt, changeRequired: false });
  expect(sent[0]?.change.seq).toBe(BigInt(data.seq));
  expect(sent[0]?.change.password.bytes().every((byte) => byte === 0)).toBe(true);
  expect(await ledger.job(jobId)).toMatchObject({ attempts: 1, outcome: { result: 'set' } });
});

test.each([
  ['set', true],
  ['unchanged', true],
  ['superseded', false],
  ['stale', false],
] as const)('an exact backend decides: %s', async (result, inEffect) => {
  const { backend } = memory({ name: 'v1', exact: true }, () => ({ result, details }));
  const outcome = await handle(await job(), backend);
  expect(outcome).toMatchObject({ result, inEffect, backend: 'v1' });
  expect('details' in outcome).toBe(inEffect);
});

test('a user of another organization does not exist, and nothing is sent', async () => {
  const { backend, sent, known } = memory();
  known.org = 'other';
  const outcome = await handle(await job(), backend);
  expect(outcome).toMatchObject({ code: 'failed_precondition', reason: 'COMMAND-G8dh3', inEffect: false });
  expect(sent).toEqual([]);
});

test('a later change by someone else makes it stale; one by us does not; overwriteNewer goes on', async () => {
  const { backend, sent, known } = memory();
  const later = Date.now() + 60_000;
  known.passwordChangedAt = later;
  expect(await handle(await job(), backend)).toMatchObject({ result: 'stale', inEffect: false });
  expect(sent).toEqual([]);
  expect(await handle(await job({ overwriteNewer: true }), backend)).toMatchObject({ result: 'set' });
  const before = await job();
  await ledger.commit(before, { result: 'set', inEffect: true, backend: 'v2', at: 0 }, { changedAt: later });
  const identity = { jobId: `j0-${randomUUID()}`, org: 'o', user: before.user, seq: String(seq++) };
  const sealed = await seal(Secret.fromString('second'), identity, before.expiresAt);
  expect(await handle(await job({ ...identity, ...sealed }), backend)).toMatchObject({ result: 'set' });
  expect(sent.map(({ password }) => password)).toEqual(['new password', 'second']);
});

test('a read that lags behind our own newest change is nobody else’s change', async () => {
  const { backend, sent, known } = memory();
  const now = Date.now();
  const earlier = await job();
  const newest = now + 60_000;
  await ledger.commit(earlier, { result: 'set', inEffect: true, backend: 'v2', at: 0 }, { changedAt: newest });
  // What is read is our change before that one: late enough to look foreign, but replaced by us since.
  known.passwordChangedAt = newest - 10_000;
  const identity = { jobId: `j0-${randomUUID()}`, org: 'o', user: earlier.user, seq: String(seq++) };
  const sealed = await seal(Secret.fromString('third'), identity, earlier.expiresAt);
  expect(await handle(await job({ ...identity, ...sealed }), backend)).toMatchObject({ result: 'set' });
  expect(sent.map(({ password }) => password)).toEqual(['third']);
});

test('an open attempt is not settled by an earlier change of ours that a lagging read shows late', async () => {
  const earlier = await job();
  const changedAt = Date.now() + 1_000;
  await ledger.commit(earlier, { result: 'set', inEffect: true, backend: 'v2', at: 0 }, { changedAt });
  const identity = { jobId: `j0-${randomUUID()}`, org: 'o', user: earlier.user, seq: String(seq++) };
  const sealed = await seal(Secret.fromString('fourth'), identity, earlier.expiresAt);
  const data = await job({ ...identity, ...sealed });
  const lost = memory({
    setPassword: () => Promise.reject(new PassferryError('backend_down', { scope: 'backend', effect: 'unknown' })),
  });
  await expect(handle(data, lost.backend)).rejects.toMatchObject({ reason: 'backend_down' });
  const { backend, sent, known } = memory();
  known.passwordChangedAt = changedAt;
  // Nothing happened: the attempt is closed, and whether it is still wanted is asked before it is sent again.
  await expect(handle(data, backend)).rejects.toMatchObject({ reason: 'aborted' });
  expect(sent).toEqual([]);
  expect(await handle(data, backend)).not.toHaveProperty('assumed');
  expect(sent.map(({ password }) => password)).toEqual(['fourth']);
});

test.each([
  ['newer than it: it is set', 1, 'set'],
  ['older than it: it is superseded', -1, 'superseded'],
])('the change of an attempt that nobody settled in time is no person’s, for a job %s', async (_, order, result) => {
  const { backend, sent, known } = memory({}, () => ({ result: 'set', details }));
  const left = await job();
  const token = randomUUID();
  await ledger.begin(left, { token, leaseMs: 60_000, backend: 'v2', exact: false });
  await ledger.recordAttempt(left, token, 200, 0);
  // Its process ended; the deadline and the time to settle it have passed as well.
  const { user } = left;
  await redis.hdel(keys.user('o', user), 'leaseJob', 'leaseToken', 'leaseUntil');
  await redis.hset(keys.user('o', user), 'openUntil', String(Date.now() - 60_000));
  const changedAt = Date.now() + 60_000;
  known.passwordChangedAt = changedAt;
  const identity = { jobId: `j0-${randomUUID()}`, org: 'o', user, seq: String(Number(left.seq) + order) };
  const sealed = await seal(Secret.fromString('new password'), identity, left.expiresAt);
  const other = await job({ ...identity, ...sealed });
  await expect(handle(other, backend)).rejects.toThrow(fails('aborted'));
  expect(sent).toEqual([]);
  const again = await ledger.begin(other, { token: randomUUID(), leaseMs: 60_000, backend: 'v2', exact: false });
  expect(again.kind).toBe(result === 'set' ? 'go' : 'superseded');
  await redis.hdel(keys.user('o', user), 'leaseJob', 'leaseToken', 'leaseUntil');
  if (result === 'set') expect(await handle(other, backend)).toMatchObject({ result: 'set' });
  await redis.hdel(keys.user('o', user), 'leaseJob', 'leaseToken', 'leaseUntil');
  // And its own job finds it there: nothing is sent a second time.
  if (result === 'superseded') {
    expect(await handle(left, backend)).toMatchObject({ result: 'set', inEffect: true, assumed: true });
    expect(sent).toEqual([]);
  }
});

test('a process that was frozen after the record of its attempt does not send any more (F30)', async () => {
  const { backend, sent } = memory();
  const data = await job();
  const frozen = {
    ...ledger,
    async recordAttempt(...args: Parameters<typeof ledger.recordAttempt>) {
      await ledger.recordAttempt(...args);
      // The thread stands still, as under SIGSTOP: no timer fires before the reply is read.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    },
  };
  const token = randomUUID();
  const begun = await ledger.begin(data, { token, leaseMs: 60_000, backend: 'v2', exact: false });
  if (begun.kind !== 'go') throw new Error(`begun: ${begun.kind}`);
  const deps = { ledger: frozen, open, backend, protection: {}, settleMs: 50, deadlineMs: 200 };
  const set = setPassword(data, begun, token, deps, new AbortController().signal);
  await expect(set).rejects.toMatchObject({ reason: 'lease_lost' });
  expect(sent).toEqual([]);
  // The attempt stays on record, for the next start to settle.
  expect(await redis.hexists(keys.job(data.jobId), 'attempt')).toBe(1);
});

test('an answer about the user is the outcome; any other fault puts the job off and leaves no outcome', async () => {
  const throwing = (error: unknown) => memory({ setPassword: () => Promise.reject(error) }).backend;
  const refused = await handle(await job(), throwing(new PassferryError('COMMAND-M9dse', { message: 'Initial' })));
  expect(refused).toMatchObject({ reason: 'COMMAND-M9dse', inEffect: false, backend: 'v2' });
  const faults = [
    new PassferryError('backend_down', { scope: 'backend' }),
    new PassferryError('backend_forbidden', { scope: 'organization' }),
    new PassferryError('backend_timeout', { scope: 'backend', effect: 'unknown' }),
    new TypeError('not ours'),
  ];
  for (const error of faults) {
    const data = await job();
    await expect(handle(data, throwing(error))).rejects.toMatchObject({ name: 'PassferryError' });
    expect((await ledger.job(data.jobId))?.outcome).toBeUndefined();
    // Only a definite "nothing happened" closes the attempt.
    const definite = error instanceof PassferryError && error.effect === 'none';
    expect(await redis.hexists(keys.job(data.jobId), 'attempt')).toBe(definite ? 0 : 1);
  }
});

test('a backend that cannot read users is told, not worked around', async () => {
  const { readUser: _, ...blind } = memory().backend;
  await expect(handle(await job(), blind)).rejects.toMatchObject({ reason: 'ability_missing', scope: 'backend' });
});

const down = new PassferryError('backend_down', { scope: 'backend' });
const forbidden = new PassferryError('backend_forbidden', { scope: 'organization' });
const missing = new PassferryError('ability_missing', { scope: 'backend' });
const owner = ['IAM_OWNER'];

test.each<[string, boolean, string[] | Error | undefined, { users?: string; roles?: string[] }, string]>([
  ['an admin caller', true, owner, {}, 'set'],
  ['an admin caller, listed', true, owner, { users: 'user' }, 'set'],
  ['an admin caller, unreadable roles', true, forbidden, {}, 'set'],
  ['no role', false, [], {}, 'set'],
  ['any role', false, ['ORG_USER_MANAGER'], {}, 'protected_user'],
  ['any role, another user listed', false, owner, { users: 'else' }, 'protected_user'],
  ['listed', false, [], { users: 'user' }, 'protected_user'],
  ['listed, other roles named', false, [], { users: 'user', roles: ['ORG_OWNER'] }, 'protected_user'],
  ['listed, roles unreadable', false, forbidden, { users: 'user' }, 'protected_user'],
  ['a role that is named', false, ['x', 'IAM_OWNER'], { roles: ['ORG_OWNER', 'IAM_OWNER'] }, 'protected_user'],
  ['a role that is not named', false, ['ORG_USER_MANAGER'], { roles: ['ORG_OWNER', 'IAM_OWNER'] }, 'set'],
  ['roles in another case are others', false, ['iam_owner'], { roles: ['IAM_OWNER'] }, 'set'],
  ['roles that are not read', false, forbidden, { roles: [] }, 'set'],
  ['roles that are not read, listed', false, owner, { users: 'user', roles: [] }, 'protected_user'],
  ['unreadable roles', false, forbidden, {}, 'roles_unreadable'],
  ['unreadable roles, another user listed', false, forbidden, { users: 'else' }, 'roles_unreadable'],
  ['unreadable roles, some named', false, forbidden, { roles: ['IAM_OWNER'] }, 'roles_unreadable'],
  ['a backend that cannot read roles', false, missing, {}, 'roles_unreadable'],
  ['a backend without roles', false, undefined, {}, 'set'],
  ['a backend without roles, some named', false, undefined, { roles: ['IAM_OWNER'] }, 'roles_unreadable'],
])('protected users: %s', async (_, admin, found, { users, roles }, ending) => {
  const readRoles = async () => {
    if (found instanceof Error) throw found;
    return found as string[];
  };
  const { backend, sent } = memory(found && { readRoles });
  const data = await job({ admin });
  const listed = users && new Set([users === 'user' ? data.user : users]);
  const outcome = await handle(data, backend, {
    ...(listed && { users: listed }),
    ...(roles && { roles: new Set(roles) }),
  });
  expect('reason' in outcome ? outcome.reason : outcome.result).toBe(ending);
  expect(sent).toHaveLength(ending === 'set' ? 1 : 0);
});

test('while the roles cannot be reached the job waits and nothing is sent', async () => {
  const { backend, sent } = memory({ readRoles: () => Promise.reject(down) });
  const data = await job({ admin: false });
  await expect(handle(data, backend)).rejects.toMatchObject({ reason: 'backend_down', scope: 'backend' });
  expect((await ledger.job(data.jobId))?.outcome).toBeUndefined();
  expect(sent).toEqual([]);
});

test('a sealed password of another job does not open, and nothing is sent', async () => {
  const { backend, sent } = memory();
  const { dataKey, sealed } = await job();
  expect(await handle(await job({ dataKey, sealed }), backend)).toEqual(fails('sealed_unreadable'));
  expect(sent).toEqual([]);
});

test('a bad signature is refused for good, an unknown version waits for a newer worker', async () => {
  const { backend, sent } = memory();
  const queue = new Queue('interactive', { connection: redis, prefix: keys.bullPrefix });
  atEnd(() => queue.close());
  const genuine = await job();
  const altered = { ...(await job()), user: 'somebody' };
  const renamed = await job();
  const newer = { ...(await job()), v: 2 };
  const add = (data: { jobId: string }, jobId = data.jobId) => queue.add('set-password', data, { jobId });
  await Promise.all([add(altered), add(renamed, `j0-${randomBytes(4).toString('hex')}`), add(newer), add(genuine)]);
  const worker = createWorker({
    ...{ connect, keys, dataKeys: store, privateKeys: readPrivateKeys(dir), jobKey, retentionMs: 60_000 },
    ...{ backends: { v2: { backend, limit: 2 } }, stages: { default: 'v2', organizations: {} } },
    log: createLog('silent', 'test'),
  });
  atEnd(() => worker.close());
  await waitFor(() => worker.progress().finished === 1, { what: 'the genuine job to finish' });
  const failed = await waitFor(async () => ((await queue.getFailedCount()) === 2 ? queue.getFailed() : undefined), {
    what: 'both forgeries to fail',
  });
  expect(failed.map((each) => each.failedReason)).toEqual(['job_forged', 'job_forged']);
  await waitFor(async () => (await queue.getJobState(newer.jobId)) === 'delayed', { what: 'the newer job to wait' });
  expect((await ledger.job(newer.jobId))?.outcome).toBeUndefined();
  expect(sent.map(({ change }) => change.jobId)).toEqual([genuine.jobId]);
});
