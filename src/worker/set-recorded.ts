import { setTimeout as sleep } from 'node:timers/promises';
import { PassferryError } from '../errors.ts';
import type { Outcome, SetPasswordData } from '../job.ts';
import type { Begun } from '../ledger/begun.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import { isOf, isStale } from './foreign.ts';
import { hashHere } from './hash-here.ts';
import { type Peek, sameMs, stillTrue } from './peek.ts';
import { givenBy, passwordOf, type Sending, sendTo } from './sending.ts';
import type { SetPasswordDeps } from './set-password.ts';

type Go = Extract<Begun, { kind: 'go' }>;

/** v2: nothing fences, so every attempt is on record before it is sent, and an open one is settled by reading first. */
export async function setRecorded(
  data: SetPasswordData,
  change: Sending,
  begun: Go,
  token: string,
  deps: SetPasswordDeps,
  signal: AbortSignal,
  peek?: Peek,
): Promise<Outcome> {
  const { ledger, backend } = deps;
  if (!backend.readUser) throw new PassferryError('ability_missing', { scope: 'backend' });
  const readUser = backend.readUser.bind(backend, data.org, data.user);

  const user = (await stillTrue(peek, begun)) ?? (await readUser(signal));
  // v2 has no organization filter: without this line one tenant could write another's users (P5).
  if (user.org !== data.org) throw unknownUser();

  if (begun.applied?.jobId === data.jobId) {
    // Applied already: another job has found our attempt's effect, or only the outcome is gone (a job put back, a forged
    // outcome). Nothing is sent a second time.
    const { changedAt } = begun.applied;
    const stale = changedAt > 0 && (user.passwordChangedAt ?? 0) > changedAt + sameMs;
    const outcome: Outcome = {
      result: stale ? 'stale' : 'set',
      inEffect: !stale,
      ...(begun.attempt && !stale && { assumed: true }),
      backend: backend.name,
      at: 0,
    };
    const follow = stale ? undefined : await deps.following?.(givenBy(change));
    return ledger.commit(data, outcome, { token, underLease: true, ...(follow && { follow }) });
  }
  if (begun.attempt) {
    const settled = await settleAttempt(data, begun, readUser, deps, signal);
    if (settled !== undefined) {
      const outcome: Outcome = { result: 'set', inEffect: true, assumed: true, backend: backend.name, at: 0 };
      const follow = await deps.following?.(givenBy(change));
      return ledger.commit(data, outcome, {
        ...{ token, changedAt: settled, repairable: true, underLease: true },
        ...(follow && { follow }),
      });
    }
    await ledger.closeAttempt(data, token, true);
    // Time has passed: expiry, cancelling and newer changes are asked again before it is sent again.
    throw new PassferryError('aborted', { scope: 'backend' });
  }
  if (begun.other && user.passwordChangedAt !== undefined && isOf(begun.other.attempt, begun, user.passwordChangedAt)) {
    await ledger.adopt(data, begun.other, token, backend.name, user.passwordChangedAt);
    // Older or newer than that one: asked again.
    throw new PassferryError('aborted', { scope: 'backend' });
  }
  if (isStale(data, begun.applied, user.passwordChangedAt)) {
    const outcome: Outcome = { result: 'stale', inEffect: false, backend: backend.name, at: 0 };
    return ledger.commit(data, outcome, { token, underLease: true });
  }

  const before = Math.max(user.passwordChangedAt ?? 0, begun.applied?.changedAt ?? 0);
  if (data.hashHere === undefined) return sendRecorded(data, change, before, token, deps, signal);
  const hashed = await hashHere(data.hashHere, change, backend, signal);
  try {
    return await sendRecorded(data, hashed, before, token, deps, signal);
  } finally {
    hashed.hash.wipe();
  }
}

/** Records the attempt, sends it, and commits what came of it. `before`: the newest change that is known, ms. */
async function sendRecorded(
  data: SetPasswordData,
  change: Sending,
  before: number,
  token: string,
  deps: SetPasswordDeps,
  signal: AbortSignal,
): Promise<Outcome> {
  const { ledger, backend } = deps;
  // Before anything is sent: hashing takes long, and a change without what its follower needs could not be followed.
  const follow = await deps.following?.(givenBy(change));
  const asked = performance.now();
  await ledger.recordAttempt(data, token, deps.deadlineMs, before);
  // Others wait for this attempt until its deadline, counted from its record: a process that was frozen meanwhile must not
  // send late (F30).
  const left = deps.deadlineMs - (performance.now() - asked);
  if (left < deps.deadlineMs / 4) throw new PassferryError('lease_lost', { scope: 'backend', effect: 'unknown' });
  trace('job:attempted', { jobId: data.jobId, backend: backend.name });
  const applied = await send(data, change, token, left, deps, signal);
  trace('job:applied', { jobId: data.jobId, backend: backend.name });
  const outcome: Outcome = {
    result: 'set',
    inEffect: true,
    backend: backend.name,
    at: 0,
    ...(applied.details && { details: applied.details }),
  };
  const changedAt = applied.details ? Date.parse(applied.details.changeDate) : 0;
  const password = passwordOf(change);
  if (password) await deps.prover?.check(data, backend, password, changedAt, signal);
  else await deps.prover?.stored(data, backend, before, signal);
  return ledger.commit(data, outcome, { token, changedAt, repairable: true, ...(follow && { follow }) });
}

async function send(
  data: SetPasswordData,
  change: Sending,
  token: string,
  withinMs: number,
  { ledger, backend }: SetPasswordDeps,
  signal: AbortSignal,
) {
  try {
    const late = AbortSignal.timeout(Math.floor(withinMs));
    return await under([signal, late], (within) => sendTo(backend, change, within));
  } catch (thrown) {
    // A definite answer closes the attempt; an unknown effect leaves it open for the next start to settle.
    if (thrown instanceof PassferryError && thrown.effect === 'none') await ledger.closeAttempt(data, token);
    throw thrown;
  }
}

/**
 * An attempt whose answer we do not have: wait out its deadline, then look whether the user's change time moved (the read
 * model lags). Returns the change's time when it did, else undefined: nothing happened and it may be sent again.
 */
async function settleAttempt(
  data: SetPasswordData,
  begun: Go,
  readUser: (signal: AbortSignal) => Promise<{ passwordChangedAt?: number }>,
  { settleMs }: SetPasswordDeps,
  signal: AbortSignal,
): Promise<number | undefined> {
  const attempt = begun.attempt as NonNullable<Go['attempt']>;
  trace('job:settling', { jobId: data.jobId });
  // Redis time of the start, then a clock that nobody sets: this machine's own may be wrong (F61).
  const until = performance.now() + Math.max(0, attempt.deadline - begun.now) + settleMs;
  for (let pause = 50; ; pause = Math.min(1_000, pause * 2)) {
    const { passwordChangedAt } = await readUser(signal);
    if (passwordChangedAt !== undefined && isOf(attempt, begun, passwordChangedAt)) return passwordChangedAt;
    const left = until - performance.now();
    if (left <= 0) return undefined;
    await sleep(Math.min(pause, Math.max(1, left)), undefined, { signal });
  }
}

function unknownUser(): PassferryError {
  return new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition', message: 'Password not found' });
}
