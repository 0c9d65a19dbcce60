import { randomUUID } from 'node:crypto';
import type { Backend } from '../../adapters/port.ts';
import { PassferryError, toPassferryError } from '../../errors.ts';
import { recognise } from '../../hashes/recognise.ts';
import { createMirrors, mirrorMark } from '../../ledger/mirror.ts';
import { Secret } from '../../secret.ts';
import { under } from '../../under.ts';
import { mirrorJob } from '../mirror-judge.ts';
import type { TryEnd } from '../mirror-turn.ts';
import { seqOf } from '../mirror-user.ts';
import type { createProfiles } from './profiles.ts';
import type { MigrateDeps, MigrationRow } from './row.ts';

/** Told by the read model soon after. */
const readBackMs = 5_000;

/**
 * Adds a user that v2 does not have, with its hash, under the lease and on record like a mirror: a crash between leaves a user of whom the
 * next try knows that it was ours. One that is there by now is not changed: it is mirrored like any other.
 */
export function createUserMaker(
  { redis, keys, jobKey, lanes, stages, deadlineMs, leaseMs }: MigrateDeps,
  profiles: ReturnType<typeof createProfiles>,
) {
  const mirrors = createMirrors(redis, keys, jobKey);

  async function make(
    { at, head }: MigrationRow,
    before: (hash: { kind: string; cost: Record<string, number> }) => Promise<void>,
    both: { v1: Backend; v2: Backend },
    signal: AbortSignal,
  ): Promise<TryEnd | { kind: 'created' }> {
    const { v1, v2 } = both;
    const { createUser } = v2;
    if (!v1.readHash || !createUser || !v2.readUser) return { kind: 'refused', reason: 'ability_missing', seq: '0' };
    const profile = await profiles(v1, head, at, signal);
    if (!profile?.email) return { kind: 'refused', reason: 'profile_incomplete', seq: '0' };
    const placed = await stages.of(at.org);
    const token = randomUUID();
    const taken = await mirrors.take(at, token, leaseMs, placed.stored);
    if (taken.kind !== 'go') return { kind: 'waits', reason: taken.kind, ms: 250 };
    try {
      const stored = await v1.readHash(at.org, at.user, signal);
      const seq = seqOf(stored, taken);
      const found = stored.hash && recognise(stored.hash.reveal());
      const mark = mirrorMark(jobKey, at, stored.hash?.bytes() ?? Buffer.alloc(0), stored.user.changeRequired ?? false);
      stored.hash?.wipe();
      if (!found) return { kind: 'refused', reason: 'no_hash', seq };
      const takes = found.targets.v2;
      if (takes.takes === 'no' || !found.encoded)
        return { kind: 'refused', reason: takes.takes === 'no' ? takes.why : 'hash_refused', seq };
      if (!v2.verifiers?.includes(takes.takes === 'default' ? 'bcrypt' : takes.verifier)) {
        return { kind: 'refused', reason: 'verifier_off', seq };
      }
      await before(found);
      const hash = Secret.fromString(found.encoded);
      await mirrors.record(at, token, deadlineMs, 0);
      try {
        const user = { ...at, profile, hash, changeRequired: stored.user.changeRequired ?? false };
        await under([signal, AbortSignal.timeout(deadlineMs)], (within) => createUser.call(v2, user, within));
      } catch (thrown) {
        const error = toPassferryError(thrown);
        if (error.effect === 'none') await mirrors.unrecord(at, token);
        if (error.scope === 'user') return { kind: 'refused', reason: error.reason, seq };
        throw error;
      } finally {
        hash.wipe();
      }
      const changedAt = await readBack(at, v2, signal);
      await mirrors.done(at, token, { seq, jobId: taken.v1?.jobId ?? mirrorJob, changedAt, mark });
      return { kind: 'created' };
    } finally {
      await mirrors.release(at, token).catch(() => {});
    }
  }

  return async (
    row: MigrationRow,
    before: (hash: { kind: string; cost: Record<string, number> }) => Promise<void>,
    signal: AbortSignal,
  ): Promise<TryEnd | { kind: 'created' }> => {
    const { v1, v2 } = lanes;
    if (!v1 || !v2) return { kind: 'refused', reason: 'ability_missing', seq: '0' };
    const leave = await v2.gate.enter('rows', signal, row.at.org);
    try {
      const end = await make(row, before, { v1: v1.backend, v2: v2.backend }, signal);
      v2.worked(row.at.org);
      return end;
    } catch (thrown) {
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      if (error.scope === 'user') return { kind: 'refused', reason: error.reason, seq: '0' };
      const ms = signal.aborted ? 0 : v2.waitAfter(error, row.at.org);
      return { kind: 'waits', reason: error.reason, ms, asked: true };
    } finally {
      leave();
    }
  };
}

/** When v2 says that the password was set; 0: it was not seen in time, and the next look finds a later choice that is none. */
async function readBack(at: { org: string; user: string }, v2: Backend, signal: AbortSignal): Promise<number> {
  const until = performance.now() + readBackMs;
  for (let pause = 20; performance.now() < until; pause *= 2) {
    const read = await v2.readUser?.(at.org, at.user, signal).catch((thrown: unknown) => {
      if (toPassferryError(thrown).scope !== 'user') throw thrown;
      return undefined;
    });
    if (read?.passwordChangedAt !== undefined) return read.passwordChangedAt;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return 0;
}
