import type { Backend } from '../adapters/port.ts';
import { canHashHere, timeHere } from './hash-here.ts';

/** Timed so often: the shortest time is what one takes when nobody disturbs it. */
const timings = 3;

/** What a change costs this machine, ms of one core: timed once, when it is first asked for. */
export function createHashCost(backend: Backend) {
  const own = timedOnce(backend.coreMs && (() => backend.coreMs?.() as Promise<number>));
  const here = timedOnce(canHashHere(backend) ? timeHere : undefined);
  return {
    /** Undefined: a backend that hashes elsewhere, or it could not be timed. */
    measure: own.measure,
    /** Undefined: it was not timed yet. */
    known: own.known,
    /** The same of a hash that a worker makes for a backend that hashes elsewhere, of cost 10. Undefined: none is made for it. */
    measureHere: here.measure,
    knownHere: here.known,
  };
}

function timedOnce(once: (() => Promise<number>) | undefined) {
  let timing: Promise<number | undefined> | undefined;
  let known: number | undefined;

  async function shortest(): Promise<number | undefined> {
    if (!once) return undefined;
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < timings; i++) best = Math.min(best, await once());
    known = best;
    return best;
  }

  return {
    measure(): Promise<number | undefined> {
      timing ??= shortest().catch(() => {
        timing = undefined;
        return undefined;
      });
      return timing;
    },
    known: () => known,
  };
}
