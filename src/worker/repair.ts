import { randomUUID } from 'node:crypto';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { BackendName } from '../job.ts';
import type { Inverted, Repairable, Repairs, Taken } from '../ledger/repair.ts';
import type { Log } from '../log.ts';
import type { Opener } from '../seal.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import { withDeadline } from './deadline.ts';
import type { Lane } from './lane.ts';

export interface RepairDeps {
  repairs: Repairs;
  open: Opener;
  lanes: Partial<Record<BackendName, Lane>>;
  log: Log;
  /** Longest time of one call, ms. */
  deadlineMs: number;
  /** How long a lost answer is looked for by reading, ms. */
  settleMs: number;
}

const atOnce = 100;
/** One change as two calls print its time: one may have been cut to milliseconds. */
const sameMs = 1.5;
/** Clocks differ. */
const toleranceMs = 2_000;
const leaseMarginMs = 10_000;

/** Says which jobs an inversion is about, when it is seen. */
export function tellInverted(log: Log) {
  return ({ older, newer }: { older: string; newer: string }): void => {
    log.warn({ jobId: newer, late: older }, 'an older change was made after a newer one: it will be repaired');
    trace('repair:detected', { jobId: newer });
  };
}

/**
 * Sets the newest password again where an older change was made after it, in backends without a fence. Returns one round
 * over all that are listed; what cannot be repaired now stays listed for the next. A person's later choice ends the repair.
 */
export function createRepair({ repairs, open, lanes, log, deadlineMs, settleMs }: RepairDeps) {
  const leaseMs = 2 * deadlineMs + leaseMarginMs;

  async function repairOne(at: Inverted, lane: Lane, signal: AbortSignal): Promise<void> {
    const found = await repairs.look(at);
    if (found.kind === 'over') return repairs.drop(at, undefined);
    if (found.kind === 'lost') return giveUp(at, undefined, found.jobId, 'sealed_unreadable');
    const token = randomUUID();
    const taken = await repairs.take(at, found, token, leaseMs);
    if (taken.kind === 'busy') return repairs.keep(at);
    try {
      if (await lane.mustWait(at.org)) return await repairs.keep(at);
      await withDeadline(leaseMs - leaseMarginMs / 2, signal, (until) =>
        setAgain(at, found, taken, token, lane, until),
      );
    } catch (thrown) {
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      if (error.scope === 'user') return await giveUp(at, found, found.newest.jobId, error.reason);
      if (!signal.aborted) lane.waitAfter(error, at.org);
      log.warn({ jobId: found.newest.jobId, backend: at.backend, err: error }, 'repair put off');
      await repairs.keep(at);
    } finally {
      // Without Redis the lease ends by itself.
      await repairs.release(at, token).catch(() => {});
    }
  }

  async function setAgain(
    at: Inverted,
    found: Repairable,
    taken: Extract<Taken, { kind: 'go' }>,
    token: string,
    lane: Lane,
    signal: AbortSignal,
  ): Promise<void> {
    const { backend } = lane;
    const { newest, late, data } = found;
    const { jobId } = newest;
    if (!backend.readUser) throw new PassferryError('ability_missing', { scope: 'backend' });
    const user = await backend.readUser(at.org, at.user, signal);
    if (user.org !== at.org) throw new PassferryError('COMMAND-G8dh3');
    const changedAt = user.passwordChangedAt ?? 0;
    const ours = Math.max(newest.changedAt, late.changedAt);

    const { attempt } = taken;
    if (attempt) {
      if (changedAt > Math.max(attempt.before, ours) + sameMs && changedAt > attempt.sentAt - toleranceMs) {
        return conclude(at, found, token, changedAt, false);
      }
      if (taken.now < attempt.deadline + settleMs) return repairs.keep(at);
      await repairs.unrecord(at, true);
    }
    if (changedAt > ours + sameMs) {
      log.info({ jobId, late: late.jobId, backend: at.backend }, 'no repair: the password was chosen anew since');
      trace('repair:dropped', { jobId, backend: at.backend });
      return repairs.drop(at, late, token);
    }
    // The read model lags: it cannot tell yet whether anybody changed it since.
    if (changedAt < late.changedAt - sameMs) return repairs.keep(at);

    const password = await open(data, data);
    try {
      const { org, user: id, changeRequired, acceptedAt } = data;
      const change = { jobId, org, user: id, seq: newest.seq, acceptedAt, changeRequired, overwriteNewer: true };
      const asked = performance.now();
      await repairs.record(at, found, token, deadlineMs, Math.max(changedAt, ours));
      const left = deadlineMs - (performance.now() - asked);
      if (left < deadlineMs / 4) throw new PassferryError('lease_lost', { scope: 'backend', effect: 'unknown' });
      trace('repair:sent', { jobId, backend: at.backend });
      if (data.hash && !backend.setHash) throw new PassferryError('ability_missing');
      const { details } = await under([signal, AbortSignal.timeout(Math.floor(left))], (within) =>
        data.hash && backend.setHash
          ? backend.setHash({ ...change, hash: password }, within)
          : backend.setPassword({ ...change, password }, within),
      );
      await conclude(at, found, token, details ? Date.parse(details.changeDate) : 0, true);
      lane.worked(at.org);
    } catch (thrown) {
      // Otherwise it stays on record, and the next round looks for it.
      if (thrown instanceof PassferryError && thrown.effect === 'none') await repairs.unrecord(at);
      throw thrown;
    } finally {
      password.wipe();
    }
  }

  async function conclude(at: Inverted, found: Repairable, token: string, changedAt: number, answered: boolean) {
    const { jobId } = found.newest;
    const facts = { jobId, late: found.late.jobId, backend: at.backend };
    const ending = await repairs.done(at, found, token, changedAt, answered);
    if (ending === 'ok') {
      log.warn({ ...facts, assumed: !answered }, 'repaired: the newest password is in force again');
      trace('repair:done', { jobId, backend: at.backend });
    } else log.warn({ ...facts, ending }, 'a newer change was made during the repair');
  }

  /** Outcomes stay (P6), so a person has to be told. */
  async function giveUp(at: Inverted, found: Repairable | undefined, jobId: string, why: string): Promise<void> {
    log.error(
      { jobId, late: found?.late.jobId, backend: at.backend, reason: 'inversion_unrepaired', why },
      'an older password is in force, and the newest cannot be set again',
    );
    trace('repair:failed', { jobId, backend: at.backend, reason: why });
    await repairs.drop(at, found?.late);
  }

  return async (signal: AbortSignal): Promise<void> => {
    for (const lane of Object.values(lanes)) {
      if (lane.backend.exact) continue;
      const listed = await repairs.inverted(lane.backend.name, atOnce);
      await Promise.all(
        listed.map(async (at) => {
          const leave = await lane.gate.enter('interactive', signal);
          try {
            await repairOne(at, lane, signal);
          } finally {
            leave();
          }
        }),
      );
    }
  };
}
