import type { SetPasswordData } from '../job.ts';
import type { Begun } from '../ledger/begun.ts';
import { sameMs } from './peek.ts';

/** Whose change is it that v2 shows: ours, or somebody's later choice? */

/** A later change by someone else counts as later only beyond this: clocks differ. */
const toleranceMs = 2_000;

type Go = Extract<Begun, { kind: 'go' }>;

/** Later than everything that was known before it was sent: a lagging read may show one of our own earlier changes. */
export function isOf(attempt: NonNullable<Go['attempt']>, begun: Go, changedAt: number): boolean {
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
