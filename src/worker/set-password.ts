import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import { failure, type Outcome, type SetPasswordData } from '../job.ts';
import type { Begun } from '../ledger/begun.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Opener } from '../seal.ts';
import type { Secret } from '../secret.ts';
import { trace } from '../trace.ts';
import type { HashProbe } from './hash-probe.ts';
import { checkTakesHash } from './hash-rows.ts';
import type { Following } from './in-step.ts';
import { type Peek, sameMs, stillTrue } from './peek.ts';
import type { Prover } from './proof.ts';
import { checkProtected, type Protection } from './protect.ts';
import { givenBy, passwordOf, type Sending, sendingOf, sendTo } from './sending.ts';

/** What the handler needs; each is a capability, none a container. */
export interface SetPasswordDeps {
  ledger: Ledger;
  open: Opener;
  backend: Backend;
  protection: Protection;
  /** Before the first row with a hash of a kind: is it tried, and does it work? Default: not asked. */
  probe?: HashProbe;
  /** Proves logins of rows of runs. Default: nobody. */
  prover?: Prover;
  /** What the commit says of the backend that follows. Default: none does. */
  following?: (given: { password: Secret } | { hash: Secret }) => Promise<Following | undefined>;
  /** How long a lost answer of v2 is looked for by reading, ms. */
  settleMs: number;
  /** Longest time one call to the backend may take, ms: shorter than the lease. */
  deadlineMs: number;
}

/** A later change by someone else counts as later only beyond this: clocks differ. */
const toleranceMs = 2_000;

type Go = Extract<Begun, { kind: 'go' }>;

/**
 * Sets one password while the lease is held (rows 9 to 12 of the flow). Returns the recorded outcome; throws what should
 * put the job off (scope `backend` or `organization`). Answers about this user become the outcome.
 */
export async function setPassword(
  data: SetPasswordData,
  begun: Go,
  token: string,
  deps: SetPasswordDeps,
  signal: AbortSignal,
  peek?: Peek,
): Promise<Outcome> {
  const { ledger, backend } = deps;
  try {
    if (data.hash) checkTakesHash(data.hash, backend);
    const secret = await deps.open(data, data);
    trace('job:opened', { jobId: data.jobId, backend: backend.name });
    try {
      const change = sendingOf(data, secret);
      await (peek?.allowed ?? checkProtected(data, backend, deps.protection, signal));
      if (data.hash) await deps.probe?.(data, data.hash, backend, signal);
      return backend.exact
        ? await setExact(data, change, token, deps, signal)
        : await setRecorded(data, change, begun, token, deps, signal, peek);
    } finally {
      secret.wipe();
    }
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.scope !== 'user') throw error;
    // Without a fence a refusal counts only while no other start of this job can have something under way.
    return ledger.commit(data, failure(error, 0, backend.name), { token, underLease: !backend.exact });
  }
}

/** v1: order, staleness and repetition are decided in the transaction of the change. */
async function setExact(
  data: SetPasswordData,
  change: Sending,
  token: string,
  { ledger, backend, deadlineMs, prover, following }: SetPasswordDeps,
  signal: AbortSignal,
): Promise<Outcome> {
  const applied = await sendTo(backend, change, AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]));
  trace('job:applied', { jobId: data.jobId, backend: backend.name });
  const inEffect = applied.result === 'set' || applied.result === 'unchanged';
  const outcome: Outcome = {
    result: applied.result,
    inEffect,
    backend: backend.name,
    at: 0,
    ...(inEffect && applied.details && { details: applied.details }),
  };
  const changedAt = applied.details ? Date.parse(applied.details.changeDate) : 0;
  if (applied.result === 'set') await prover?.check(data, backend, passwordOf(change), changedAt, signal);
  const follow = inEffect ? await following?.(givenBy(change)) : undefined;
  return ledger.commit(data, outcome, {
    ...{ token, countAttempt: true },
    ...(follow && { follow }),
    ...(inEffect && { changedAt }),
    // The store itself knows the order, and a record for each row of a file would fill Redis.
    onlyIfKnown: data.run !== undefined && !follow,
  });
}

/** v2: nothing fences, so every attempt is on record before it is sent, and an open one is settled by reading first. */
async function setRecorded(
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

  // Before anything is sent: hashing takes long, and a change without what its follower needs could not be followed.
  const follow = await deps.following?.(givenBy(change));
  const before = Math.max(user.passwordChangedAt ?? 0, begun.applied?.changedAt ?? 0);
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
  await deps.prover?.check(data, backend, passwordOf(change), changedAt, signal);
  return ledger.commit(data, outcome, { token, changedAt, repairable: true, ...(follow && { follow }) });
}

/** What the follower is given of a change. */
async function send(
  data: SetPasswordData,
  change: Sending,
  token: string,
  withinMs: number,
  { ledger, backend }: SetPasswordDeps,
  signal: AbortSignal,
) {
  try {
    const within = AbortSignal.timeout(Math.floor(withinMs));
    return await sendTo(backend, change, AbortSignal.any([signal, within]));
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

/** Later than everything that was known before it was sent: a lagging read may show one of our own earlier changes. */
function isOf(attempt: NonNullable<Go['attempt']>, begun: Go, changedAt: number): boolean {
  const known = Math.max(attempt.before, begun.applied?.changedAt ?? 0) + sameMs;
  return changedAt > known && changedAt > attempt.sentAt - toleranceMs;
}

/**
 * Changed after `limit`, and later than what the ledger knows as ours. An earlier time says nothing: the read model lags,
 * and what it shows our own change has replaced.
 */
function isForeign(changedAt: number | undefined, ours: number, limit: number): boolean {
  return changedAt !== undefined && changedAt > limit && changedAt > ours + sameMs;
}

/** Somebody chose a password later than what this row or request knows of. */
export function isStale(data: SetPasswordData, applied: Go['applied'], changedAt: number | undefined): boolean {
  if (data.overwriteNewer) return false;
  return isForeign(changedAt, knownAsOurs(data, applied), (data.asOf ?? data.acceptedAt) + toleranceMs);
}

/** Time of our newest change; of a file that says how old it is, only what the file itself has set counts as ours. */
function knownAsOurs(data: SetPasswordData, applied: Go['applied']): number {
  if (!applied || (data.asOf !== undefined && BigInt(applied.seq) < BigInt(data.runAt ?? 0) * 1_000n)) return 0;
  return applied.changedAt;
}

function unknownUser(): PassferryError {
  return new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition', message: 'Password not found' });
}
