import type { PassferryError } from '../errors.ts';

/** After a fault of a whole backend its jobs wait, all of them, longer each time; the first success ends it. */
export interface Backoff {
  /** ms until this backend should be tried again; 0: now. */
  waitMs(): number;
  failed(error: PassferryError): number;
  succeeded(): void;
  /** Why it waits, or undefined. */
  reason(): string | undefined;
}

const firstMs = 500;
const longestMs = 30_000;
/** What a backend may ask for at most by Retry-After (F47). */
const longestAskedMs = 10 * 60_000;

export function createBackoff(now: () => number = Date.now, random: () => number = Math.random): Backoff {
  let failures = 0;
  let until = 0;
  let why: string | undefined;

  return {
    waitMs: () => Math.max(0, until - now()),
    failed(error) {
      // Many jobs fail together in one outage: that is one failure.
      if (now() >= until) failures++;
      const own = Math.min(longestMs, firstMs * 2 ** Math.min(10, failures - 1)) * (0.75 + random() / 2);
      const asked = Math.min(longestAskedMs, Math.max(0, error.retryAfterMs || 0));
      until = Math.max(until, now() + Math.max(own, asked));
      why = error.reason;
      return until - now();
    },
    succeeded() {
      failures = 0;
      until = 0;
      why = undefined;
    },
    reason: () => why,
  };
}
