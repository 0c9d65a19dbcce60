import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendUser, StoredPassword } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { Hash } from '../hashes/kinds.ts';
import { recognise } from '../hashes/recognise.ts';
import { type MirrorPlace, type Mirrors, type MirrorTaken, mirrorMark } from '../ledger/mirror.ts';
import type { JobKey } from '../signature.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import { type Judged, judge, type MirrorKnown, mirrorJob } from './mirror-judge.ts';
import { freshMs, sameMs } from './peek.ts';
import type { ReadAhead } from './read-ahead.ts';

export interface MirrorDeps {
  mirrors: Mirrors;
  jobKey: JobKey;
  v1: Backend;
  v2: Backend;
  deadlineMs: number;
  settleMs: number;
  /** Asked before a hash is sent: a migration tries one of its kind and cost first. Throws what puts it off. */
  before?: (hash: Pick<Hash, 'kind' | 'cost'>) => Promise<void>;
  /** v1 as it was read while the lease was asked for. Default: read now. */
  early?: Promise<StoredPassword>;
  /** v2 as it was read before. Default: read now. */
  ahead?: ReadAhead;
  /** v2 has answered: nothing more is asked of it. */
  answered?: () => void;
}

/** How bringing one user in step ended. */
export type MirrorEnd =
  /**
   * v2 has v1's hash: sent just now, or it had it already. `seq`: up to which change of ours; `ours`: we wrote it to v1; `locked`: v2
   * had locked the user before.
   */
  | { kind: 'mirrored' | 'unchanged'; seq: string; ours: boolean; locked?: true }
  /** It cannot be, as both sides stand now. */
  | { kind: 'refused'; reason: string; seq: string };

type Go = Extract<MirrorTaken, { kind: 'go' }>;

/**
 * Copies the hash and the change flag of one user from v1 to v2, under the user's lease: reads both, refuses where v2 has a later
 * choice, sends, records. Throws what puts it off (scope `backend` or `organization`).
 */
export async function mirrorUser(
  at: MirrorPlace,
  taken: Go,
  token: string,
  deps: MirrorDeps,
  signal: AbortSignal,
): Promise<MirrorEnd> {
  const { mirrors, jobKey, v2, deadlineMs } = deps;
  try {
    trace('mirror:begun', { jobId: '', backend: 'v2' });
    const stored = await storedNow(at, taken, deps, signal);
    try {
      const seq = seqOf(stored, taken);
      const ours = stored.appliedSeq !== undefined;
      const mark = mirrorMark(jobKey, at, stored.hash?.bytes() ?? Buffer.alloc(0), stored.user.changeRequired ?? false);
      const jobId = taken.v1?.jobId ?? mirrorJob;
      if (taken.attempt) {
        const changedAt = await settle(at, taken, deps, signal);
        await mirrors.unrecord(at, token, changedAt === undefined);
        // Made, then: what v2 has now is ours, whichever hash it was; whether it is this one is not known, so it is sent again.
        if (changedAt !== undefined) taken = { ...taken, v2: { seq: 0n, jobId, changedAt }, mirrored: undefined };
      }
      const inV2 = stillTrue(at, taken, deps.ahead) ?? (await readV2(at, v2, signal));
      const locked = inV2.state === 'locked' ? { locked: true as const } : {};
      const judged = judge(stored, inV2, taken, mark, v2);
      if (judged.kind === 'refused') return { kind: 'refused', reason: judged.reason, seq };
      if (judged.kind === 'unchanged') {
        await mirrors.done(at, token, { seq, jobId, changedAt: taken.v2?.changedAt ?? 0, mark });
        return { kind: 'unchanged', seq, ours, ...locked };
      }
      const { hash, changeRequired, before } = judged;
      try {
        await deps.before?.(recognise(hash.reveal()));
        const asked = performance.now();
        await mirrors.record(at, token, deadlineMs, before);
        trace('mirror:recorded', { jobId, backend: 'v2' });
        const left = deadlineMs - (performance.now() - asked);
        if (left < deadlineMs / 4) throw new PassferryError('lease_lost', { scope: 'backend', effect: 'unknown' });
        const write = requireAbility(v2, 'setHash');
        const { details } = await under([signal, AbortSignal.timeout(Math.floor(left))], (within) =>
          write(
            {
              ...{ jobId, org: at.org, user: at.user, seq: BigInt(seq), acceptedAt: taken.now, hash, changeRequired },
              overwriteNewer: false,
            },
            within,
          ),
        );
        trace('mirror:sent', { jobId, backend: 'v2' });
        deps.answered?.();
        const changedAt = details ? Date.parse(details.changeDate) : await readBack(at, v2, before, signal);
        await mirrors.done(at, token, { seq, jobId, changedAt, mark });
        return { kind: 'mirrored', seq, ours, ...locked };
      } catch (thrown) {
        if (thrown instanceof PassferryError && thrown.effect === 'none') await mirrors.unrecord(at, token);
        throw thrown;
      } finally {
        hash.wipe();
      }
    } finally {
      stored.hash?.wipe();
    }
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.scope !== 'user') throw error;
    return { kind: 'refused', reason: error.reason, seq: String(taken.v1?.seq ?? 0n) };
  }
}

/** Both sides of one user as they were read. `hash`: kind and cost of the one in v1. */
export interface JudgedUser {
  judged: Judged['kind'];
  reason?: string;
  inV1?: BackendUser;
  inV2?: BackendUser;
  hash?: Pick<Hash, 'kind' | 'cost'>;
}

/** Reads both sides and says what a mirror would do; takes no lease and changes nothing. */
export async function judgeMirror(
  at: MirrorPlace,
  known: MirrorKnown,
  deps: Pick<MirrorDeps, 'jobKey' | 'v1' | 'v2'>,
  signal: AbortSignal,
): Promise<JudgedUser> {
  try {
    const stored = await readV1(at, deps, signal);
    try {
      const flag = stored.user.changeRequired ?? false;
      const mark = mirrorMark(deps.jobKey, at, stored.hash?.bytes() ?? Buffer.alloc(0), flag);
      const hash = stored.hash && recognise(stored.hash.reveal());
      const found = { inV1: stored.user, ...(hash && { hash: { kind: hash.kind, cost: hash.cost } }) };
      const inV2 = await readV2(at, deps.v2, signal).catch((thrown: unknown) => toPassferryError(thrown));
      if (inV2 instanceof PassferryError) {
        if (inV2.scope !== 'user') throw inV2;
        return { judged: 'refused', reason: inV2.reason, ...found };
      }
      const judged = judge(stored, inV2, known, mark, deps.v2);
      if (judged.kind === 'send') judged.hash.wipe();
      return { judged: judged.kind, ...found, inV2, ...(judged.kind === 'refused' && { reason: judged.reason }) };
    } finally {
      stored.hash?.wipe();
    }
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.scope !== 'user') throw error;
    return { judged: 'refused', reason: error.reason };
  }
}

/** What was read early says nothing once the ledger knows of a later change of ours. */
async function storedNow(at: MirrorPlace, taken: Go, deps: MirrorDeps, signal: AbortSignal): Promise<StoredPassword> {
  const early = await deps.early;
  if (early && (taken.v1?.seq ?? 0n) <= (early.appliedSeq ?? 0n)) return early;
  early?.hash?.wipe();
  return readV1(at, deps, signal);
}

/**
 * v2 as it was read before the lease, if that is worth as much as a read under it: no attempt is open, nobody of ours has changed this
 * user since, and no time has passed.
 */
function stillTrue({ org }: MirrorPlace, taken: Go, ahead: ReadAhead | undefined): BackendUser | undefined {
  if (!ahead || taken.attempt || performance.now() - ahead.startedAt > freshMs) return undefined;
  const { user } = ahead;
  const isCurrent = (user.passwordChangedAt ?? 0) + sameMs >= (taken.v2?.changedAt ?? 0);
  return isCurrent && user.org === org ? user : undefined;
}

async function readV1(at: MirrorPlace, { v1 }: Pick<MirrorDeps, 'v1'>, signal: AbortSignal): Promise<StoredPassword> {
  return requireAbility(v1, 'readHash')(at.org, at.user, signal);
}

/** v2 has no organization filter: a user of another owner is none of ours (P5). */
async function readV2({ org, user }: MirrorPlace, v2: Backend, signal: AbortSignal): Promise<BackendUser> {
  const found = await requireAbility(v2, 'readUser')(org, user, signal).catch((thrown: unknown) => {
    const error = toPassferryError(thrown);
    throw error.scope === 'user' ? new PassferryError('user_missing_in_v2') : error;
  });
  if (found.org !== org) throw new PassferryError('user_missing_in_v2');
  return found;
}

/** v1's own change that is in force; where somebody else wrote v1, what the ledger has seen of v2 stays the measure. */
export function seqOf({ appliedSeq }: StoredPassword, { v1, v2 }: Pick<Go, 'v1' | 'v2'>): string {
  const highest = [appliedSeq, v1?.seq, v2?.seq].reduce<bigint>(
    (most, each) => (each && each > most ? each : most),
    0n,
  );
  return String(highest);
}

/** Waits out an attempt whose answer nobody has, then looks whether the change time moved; undefined: it did not. */
async function settle(at: MirrorPlace, taken: Go, { v2, settleMs }: MirrorDeps, signal: AbortSignal) {
  const attempt = taken.attempt as NonNullable<Go['attempt']>;
  const until = performance.now() + Math.max(0, attempt.deadline - taken.now) + settleMs;
  for (let pause = 50; ; pause = Math.min(1_000, pause * 2)) {
    const { passwordChangedAt } = await readV2(at, v2, signal);
    const known = Math.max(attempt.before, taken.v2?.changedAt ?? 0) + sameMs;
    if (passwordChangedAt !== undefined && passwordChangedAt > known) return passwordChangedAt;
    const left = until - performance.now();
    if (left <= 0) return undefined;
    await sleep(Math.min(pause, Math.max(1, left)), undefined, { signal });
  }
}

/** Where the answer has no time: what is read soon after; the read model lags. 0: it was not seen to move. */
async function readBack(at: MirrorPlace, v2: Backend, before: number, signal: AbortSignal): Promise<number> {
  const until = performance.now() + 5_000;
  for (let pause = 20; performance.now() < until; pause *= 2) {
    const { passwordChangedAt = 0 } = await readV2(at, v2, signal);
    if (passwordChangedAt > before + sameMs) return passwordChangedAt;
    await sleep(pause, undefined, { signal });
  }
  return 0;
}

function requireAbility<Name extends 'setHash' | 'readHash' | 'readUser'>(
  backend: Backend,
  name: Name,
): NonNullable<Backend[Name]> {
  const ability = backend[name];
  if (!ability) throw new PassferryError('ability_missing', { scope: 'backend' });
  return ability.bind(backend) as NonNullable<Backend[Name]>;
}
