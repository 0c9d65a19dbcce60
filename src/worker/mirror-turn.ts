import { randomUUID } from 'node:crypto';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { BackendName } from '../job.ts';
import type { MirrorPlace, Mirrors } from '../ledger/mirror.ts';
import type { JobKey } from '../signature.ts';
import { readFrom } from './blame.ts';
import { withDeadline } from './deadline.ts';
import type { Lane } from './lane.ts';
import { type MirrorDeps, type MirrorEnd, mirrorUser } from './mirror-user.ts';
import { freshMs } from './peek.ts';
import type { KnownStages } from './stages.ts';

/** How one try ended. `waits`: nothing was wrong with the user; `asked`: v2 has said so just now. */
export type TryEnd = MirrorEnd | { kind: 'waits'; reason: string; ms: number; asked?: boolean };

/** v1 → v2, one user: waits for both backends and for a place, takes the lease, gives all of it back. */
export function createMirrorTurns(deps: {
  mirrors: Mirrors;
  jobKey: JobKey;
  lanes: Partial<Record<BackendName, Lane>>;
  stages: KnownStages;
  deadlineMs: number;
  settleMs: number;
  leaseMs: number;
}) {
  const { mirrors, jobKey, lanes, stages, deadlineMs, settleMs, leaseMs } = deps;

  return async (at: MirrorPlace, signal: AbortSignal, before?: MirrorDeps['before']): Promise<TryEnd> => {
    const [v1, v2] = [lanes.v1, lanes.v2];
    if (!v1?.backend.readHash || !v2?.backend.setHash) return { kind: 'refused', reason: 'ability_missing', seq: '0' };
    const untried = () => {
      v1.untried();
      v2.untried();
    };
    const unread = await v1.mustWait(at.org);
    if (unread) return { kind: 'waits', ...unread };
    const wait = await v2.mustWait(at.org);
    if (wait) {
      v1.untried();
      return { kind: 'waits', ...wait };
    }
    const source = readFrom(v1.backend);
    const token = randomUUID();
    let leave = () => {};
    let hasLease = false;
    try {
      const ahead = await v2.ahead.next(at, signal);
      leave = ahead.leave;
      const leaveGate = await v2.gate.enter('rows', signal, at.org);
      leave = () => {
        leaveGate();
        ahead.leave();
      };
      const placed = await stages.of(at.org);
      // The way to v1 is as long as the way to Redis.
      const early = requireRead(source.backend)(at.org, at.user, signal);
      const forget = () => void early.then(({ hash }) => hash?.wipe()).catch(() => {});
      early.catch(() => {});
      hasLease = true;
      const [taken, held] = await Promise.all([
        mirrors.take(at, token, leaseMs, placed.stored),
        // A read under the lease asks by itself.
        ahead.read && v2.held(),
      ]).catch((thrown) => {
        forget();
        throw thrown;
      });
      if (taken.kind !== 'go') {
        forget();
        hasLease = false;
        untried();
        if (taken.kind === 'busy') return { kind: 'waits', reason: 'busy', ms: Math.min(1_000, taken.waitMs) };
        await stages.moved(at.org);
        return { kind: 'waits', reason: 'stage_moved', ms: 1 };
      }
      if (held) {
        forget();
        throw new PassferryError('held', { scope: 'backend' });
      }
      if (ahead.read) v2.ahead.used(performance.now() - ahead.read.startedAt <= freshMs);
      const both = {
        ...{ mirrors, jobKey, v1: source.backend, v2: v2.backend, deadlineMs, settleMs, early },
        ...(ahead.read && { ahead: ahead.read }),
        ...(before && { before }),
        answered: leave,
      };
      const end = await withDeadline(leaseMs - 5_000, signal, (until) => mirrorUser(at, taken, token, both, until));
      // What is recorded has given the lease back.
      hasLease = end.kind === 'refused';
      v1.worked(at.org);
      v2.worked(at.org);
      return end;
    } catch (thrown) {
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      const [lane, other] = source.failed(thrown) ? [v1, v2] : [v2, v1];
      other.untried();
      const ms = signal.aborted ? 0 : lane.waitAfter(error, at.org);
      return { kind: 'waits', reason: error.reason, ms, asked: lane === v2 };
    } finally {
      if (hasLease) await mirrors.release(at, token).catch(() => {});
      leave();
    }
  };
}

function requireRead(backend: Parameters<typeof readFrom>[0]) {
  if (!backend.readHash) throw new PassferryError('ability_missing', { scope: 'backend' });
  return backend.readHash.bind(backend);
}
