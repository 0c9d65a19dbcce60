import type { Backend, BackendUser } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import { createGate, type Gate } from './gate.ts';

/** A user who was read before the turn came. */
export interface ReadAhead {
  user: BackendUser;
  /** By the clock of this process, ms. */
  startedAt: number;
}

/**
 * Reads the users of a backend whose turn comes next while others are written. Twice as many as may be written are let in while what
 * was read is still true when the turn comes; where it is not, no more than may be written, and then nobody is read ahead.
 */
export function createReadAhead(backend: Backend, gate: Gate) {
  const line = createGate(2 * gate.limit, gate.limit);

  return {
    slow: line.slow,
    well: line.well,

    /**
     * Resolves when the turn is next, with what was read, if anything. `leave`: v2 has answered; exactly once. Errors: those of
     * reading that are not about the user.
     */
    async next(at: { org: string; user: string }, signal: AbortSignal): Promise<{ read?: ReadAhead; leave(): void }> {
      const leave = await line.enter('rows', signal, at.org);
      // Nobody waits for it, or the backend has asked for fewer calls.
      const isOpen = gate.inside() < gate.room() || gate.room() < gate.limit;
      if (!backend.readUser || isOpen) return { leave };
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

    /** Whether what was read could be used: of what is too old nothing is gained. */
    used(fresh: boolean): void {
      if (!fresh) line.slow();
    },
  };
}
