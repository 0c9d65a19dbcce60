import { randomUUID } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import type { SetPasswordData } from '../src/job.ts';
import { createKeyFiles, readJobKey, readPrivateKeys, readPublicKeys } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { dataKeyStore } from '../src/ledger/data-keys.ts';
import { createHolds } from '../src/ledger/holds.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { createRepairs } from '../src/ledger/repair.ts';
import { createLog } from '../src/log.ts';
import { connectRedis } from '../src/redis.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { createOpener, createSealer } from '../src/seal.ts';
import { Secret } from '../src/secret.ts';
import { jobParts, sign } from '../src/signature.ts';
import { createHolding } from '../src/worker/holding.ts';
import { createLane } from '../src/worker/lane.ts';
import { createRepair } from '../src/worker/repair.ts';
import { setPassword } from '../src/worker/set-password.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

/** An older change that v2 made after a newer one, told by its answer: found, and the newest set again. */

const token = 't';
const server = await startRedis({ appendonly: false });
const redis = connectRedis({ url: server.url }, 'worker');
atEnd(() => redis.disconnect());
const sandbox = await startSandbox({
  tokens: { [token]: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
  orgs: ['o'],
});
atEnd(() => sandbox.close());
const dir = tempDir();
await createKeyFiles(dir);
const jobKey = readJobKey(dir);
const keys = redisKeys('repair');
const store = dataKeyStore(redis, keys);
const seal = createSealer(readPublicKeys(dir), jobKey, store);
const open = createOpener(readPrivateKeys(dir), jobKey, store);
const inverted: object[] = [];
const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000, onInverted: (seen) => inverted.push(seen) });
const deadlineMs = 1_000;
const settleMs = 300;
const backend = createV2Zitadel({ url: sandbox.url, credential: credential({ value: token }), deadlineMs: 5_000 });
atEnd(() => backend.close());
const log = createLog('silent', 'test');
const holds = createHolds(redis, keys, jobKey);
const lane = createLane({ backend, limit: 4 }, createHolding(holds, undefined, log), log, 1_000);
const repairs = createRepairs(redis, keys, jobKey);
const round = createRepair({ repairs, open, lanes: { v2: lane }, log, deadlineMs, settleMs });
// A backend that failed in one test is not left alone in the next.
beforeEach(() => lane.worked('globex'));
const repair = () => round(new AbortController().signal);
await ledger.raiseFloor(0n);

let seq = 1_000;
async function job(user: string, password: string): Promise<SetPasswordData> {
  const identity = { jobId: `j0-${randomUUID()}`, org: 'o', user, seq: String(seq++) };
  const acceptedAt = Date.now();
  const expiresAt = acceptedAt + 60_000;
  const sealed = await seal(Secret.fromString(password), identity, expiresAt);
  const unsigned = {
    ...{ v: 1 as const, name: 'set-password' as const, caller: 'c', ...identity, acceptedAt, expiresAt },
    ...{ changeRequired: false, admin: true, overwriteNewer: false, ...sealed },
  };
  return { ...unsigned, mac: sign(jobKey, 'job', jobParts(unsigned)) };
}

/** Starts a job; `through` is what its calls go through. */
async function handle(data: SetPasswordData, through: Pick<typeof backend, 'setPassword'> = backend) {
  const lease = randomUUID();
  const begun = await waitFor(
    async () => {
      const each = await ledger.begin(data, { token: lease, leaseMs: 60_000, backend: 'v2', exact: false });
      return each.kind === 'busy' ? undefined : each;
    },
    { what: 'the user to be free' },
  );
  if (begun.kind !== 'go') throw new Error(`begun: ${begun.kind}`);
  const own = { ...backend, setPassword: through.setPassword };
  const deps = { ledger, open, backend: own, protection: {}, settleMs, deadlineMs };
  return setPassword(data, begun, lease, deps, new AbortController().signal);
}

/** What a frozen process is: nothing reaches v2 before `thaw`, and then the answer is believed. */
function frozen() {
  let thaw = () => {};
  const until = new Promise<void>((resolve) => {
    thaw = resolve;
  });
  const never = new AbortController().signal;
  return {
    thaw: () => thaw(),
    setPassword: async (change: Parameters<typeof backend.setPassword>[0]) => {
      // Its memory stands still as well: the password is not wiped before it goes on.
      const kept = { ...change, password: Secret.fromString(change.password.reveal()) };
      await until;
      return backend.setPassword(kept, never);
    },
  };
}

type Way = 'superseded' | 'sent again';

/**
 * An older job sends, its process stands still past every deadline, a newer job is set, and the older change lands. `way`:
 * what became of the older job meanwhile.
 */
async function invert(way: Way | undefined) {
  const user = randomUUID();
  await sandbox.addUser({ id: user, org: 'o', userName: user });
  const passwords = { older: newPassword(), newer: newPassword() };
  const older = await job(user, passwords.older);
  const newer = await job(user, passwords.newer);
  const ice = frozen();
  const late = handle(older, ice);
  await waitFor(() => redis.hexists(keys.job(older.jobId), 'attempt'), { what: 'the attempt to be on record' });
  // Past the deadline of that attempt and the grace for it, without the wait.
  await redis.hset(keys.user('o', user), 'openUntil', '0', 'leaseUntil', '0');
  if (way === 'sent again') {
    await expect(handle(older)).rejects.toMatchObject({ reason: 'aborted' });
    expect(await handle(older)).toMatchObject({ result: 'set' });
  }
  expect(await handle(newer)).toMatchObject({ result: 'set', inEffect: true });
  if (way === 'superseded') {
    await ledger.commit(older, { result: 'superseded', inEffect: false, backend: 'v2', at: 0 });
  }
  ice.thaw();
  const outcome = await late;
  return { user, older, newer, passwords, outcome };
}

const changes = (user: string) => sandbox.users.get(user)?.changes.length ?? 0;
const listed = async (user: string) => (await repairs.inverted('v2', 100)).some((each) => each.user === user);
const record = (user: string) => redis.hgetall(keys.user('o', user));

/** Somebody else sets it in v2 itself. */
async function choose(user: string, password: string): Promise<void> {
  const answer = await fetch(`${sandbox.url}/v2/users/${user}/password`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ newPassword: { password } }),
  });
  expect(answer.status).toBe(200);
}

test.each([
  [undefined, 'superseded'],
  ['superseded', 'superseded'],
  ['sent again', 'set'],
] as const)(
  'a late older change is found (job meanwhile: %s), and the newest is set again, once',
  async (way, result) => {
    const { user, older, newer, passwords, outcome } = await invert(way);
    expect(outcome).toMatchObject({ result });
    expect(await sandbox.verify(user, passwords.older)).toBe(true);
    expect(inverted.at(-1)).toEqual({ older: older.jobId, newer: newer.jobId });
    const before = changes(user);
    await repair();
    expect(await sandbox.verify(user, passwords.newer)).toBe(true);
    await repair();
    expect(changes(user)).toBe(before + 1);
    expect(await listed(user)).toBe(false);
    const left = await record(user);
    expect(Object.keys(left).filter((name) => !['v2', 'danglingUntil'].includes(name))).toEqual([]);
    expect(left.v2).toMatch(new RegExp(`^${newer.seq}:${newer.jobId}:`));
    // Known as ours: the next job does not take it for a person's choice.
    const next = newPassword();
    expect(await handle(await job(user, next))).toMatchObject({ result: 'set' });
    expect(await sandbox.verify(user, next)).toBe(true);
  },
);

test('what a person chose after it stays', async () => {
  const { user } = await invert(undefined);
  const theirs = newPassword();
  await choose(user, theirs);
  const before = changes(user);
  await repair();
  expect(changes(user)).toBe(before);
  expect(await sandbox.verify(user, theirs)).toBe(true);
  expect(await listed(user)).toBe(false);
});

test('a newer job that comes before the repair ends it, and is not stale', async () => {
  const { user, older } = await invert(undefined);
  const password = newPassword();
  const data = { ...(await job(user, password)), acceptedAt: older.acceptedAt - 60_000 };
  expect(await handle(data)).toMatchObject({ result: 'set' });
  const before = changes(user);
  await repair();
  expect(changes(user)).toBe(before);
  expect(await sandbox.verify(user, password)).toBe(true);
});

test('a held backend keeps the repair waiting, and its payload', async () => {
  const { user, passwords } = await invert(undefined);
  await holds.put('v2', 'test', 'somebody');
  const before = changes(user);
  await repair();
  expect([changes(user), await listed(user)]).toEqual([before, true]);
  expect(await redis.pttl(keys.repair('o', user))).toBeGreaterThan(0);
  await holds.lift('v2');
  await waitFor(
    async () => {
      await repair();
      return sandbox.verify(user, passwords.newer);
    },
    { what: 'the repair' },
  );
  expect(changes(user)).toBe(before + 1);
});

test.each([
  ['was made', 'cut-after', 1],
  ['was not made', 'cut-before', 1],
] as const)('a repair whose answer is lost is looked for, not sent blindly: it %s', async (_, kind, made) => {
  const { user, passwords } = await invert(undefined);
  const before = changes(user);
  const remove = sandbox.faults.add({ call: 'SetPassword', user, times: 1, fault: { kind } });
  await repair();
  expect(await record(user)).toMatchObject({ openJob: 'repair' });
  // While it is open nobody else writes this user, and it is not sent again.
  const other = await job(user, newPassword());
  const asked = await ledger.begin(other, { token: 'x', leaseMs: 1_000, backend: 'v2', exact: false });
  expect(asked.kind).toBe('busy');
  await waitFor(
    async () => {
      await repair();
      return !(await listed(user));
    },
    { what: 'the repair to be settled' },
  );
  remove();
  expect(changes(user)).toBe(before + made);
  expect(await sandbox.verify(user, passwords.newer)).toBe(true);
});

test.each([
  ['gone', async (user: string) => void (await redis.del(keys.repair('o', user)))],
  [
    'altered',
    async (user: string) => {
      const stored = JSON.parse((await redis.get(keys.repair('o', user))) as string);
      await redis.set(keys.repair('o', user), JSON.stringify({ ...stored, changeRequired: true }));
    },
  ],
  [
    'of another user',
    async (user: string) => {
      const other = await job(randomUUID(), newPassword());
      await redis.set(keys.repair('o', user), JSON.stringify(other));
    },
  ],
  [
    'with a forged inversion',
    async (user: string) => void (await redis.hset(keys.user('o', user), 'inversion', '1:j:9:x')),
  ],
])('a payload that is %s sets nothing and is given up', async (_, spoil) => {
  const { user } = await invert(undefined);
  await spoil(user);
  const before = changes(user);
  await repair();
  expect(changes(user)).toBe(before);
  expect(await listed(user)).toBe(false);
  expect(await record(user)).not.toHaveProperty('inversion');
});

test('a list that somebody else wrote into does not keep others from their repair', async () => {
  const { user, passwords } = await invert(undefined);
  await redis.zadd(keys.inverted, 0, 'no json', 0, '["o","nobody","v2"]', 0, '[1]');
  await repair();
  expect(await sandbox.verify(user, passwords.newer)).toBe(true);
  expect(await redis.zcard(keys.inverted)).toBe(0);
});
