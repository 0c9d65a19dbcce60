import type { Backend, BackendUser } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import { createGate } from './gate.ts';

/** A user who was read before the turn came. */
export interface ReadAhead {
  user: BackendUser;
  /** By the clock of this process, ms. */
  startedAt: number;
}

/** Of so many that were too old when they were wanted nothing is gained: then nobody is read ahead for a while. */
const mostWaste = 0.5;
const quietMs = 5_000;

/**
 * Reads the users of a backend whose turn comes next while others are written, no more than twice as many as may be written: who waits
 * long is not read, for it would be too old.
 */
export function createReadAhead(backend: Backend, limit: number) {
  const line = createGate(2 * limit);
  let waste = 0;
  let quietUntil = 0;

  return {
    slow: line.slow,
    well: line.well,

    /**
     * Resolves when the turn comes near, with what was read, if anything. `leave`: the turn has come; exactly once. Errors: those of
     * reading that are not about the user.
     */
    async next(at: { org: string; user: string }, signal: AbortSignal): Promise<{ read?: ReadAhead; leave(): void }> {
      const leave = await line.enter('rows', signal, at.org);
      if (!backend.readUser || performance.now() < quietUntil) return { leave };
      const startedAt = performance.now();
      try {
        return { read: { user: await backend.readUser(at.org, at.user, signal), startedAt }, leave };
      } catch (thrown) {
        const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
        // What is final is read under the lease.
        if (error.scope === 'user') return { leave };
        leave();
        throw error;
      }
    },

    /** Whether what was read could be used. */
    used(fresh: boolean): void {
      waste = 0.95 * waste + (fresh ? 0 : 0.05);
      if (waste < mostWaste) return;
      waste = 0;
      quietUntil = performance.now() + quietMs;
    },
  };
}
