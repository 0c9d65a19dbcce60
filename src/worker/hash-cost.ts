import type { Backend } from '../adapters/port.ts';

/** Timed so often: the shortest time is what one takes when nobody disturbs it. */
const timings = 3;

/** What a change costs this machine, ms of one core: timed once, when it is first asked for. */
export function createHashCost(backend: Backend) {
  let timing: Promise<number | undefined> | undefined;
  let known: number | undefined;

  async function shortest(): Promise<number | undefined> {
    if (!backend.coreMs) return undefined;
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < timings; i++) best = Math.min(best, await backend.coreMs());
    known = best;
    return best;
  }

  return {
    /** Undefined: a backend that hashes elsewhere, or it could not be timed. */
    measure(): Promise<number | undefined> {
      timing ??= shortest().catch(() => {
        timing = undefined;
        return undefined;
      });
      return timing;
    },
    /** Undefined: it was not timed yet. */
    known: () => known,
  };
}
