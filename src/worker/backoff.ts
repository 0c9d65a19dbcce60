import type { PassferryError } from '../errors.ts';

/**
 * The circuit breaker of a backend: after a fault of the whole of it its jobs wait, longer each time; when the wait is over
 * one of them tries, the others wait for what becomes of it; the first success ends it.
 */
export interface Backoff {
  /** ms until this backend should be tried again; 0: go, and when it was waiting you are the one that tries. */
  waitMs(): number;
  failed(error: PassferryError): number;
  succeeded(): void;
  /** The one that was to try did not ask the backend: the next may try at once. */
  untried(): void;
  /** ms until this backend should be tried again. Only a look: nobody becomes the one that tries. */
  leftMs(): number;
  /** Why it waits, or undefined. */
  reason(): string | undefined;
}

const firstMs = 500;
const longestMs = 30_000;
/** How long the one that tries has before the next one does: it may turn out to be superseded or busy. */
const tryMs = 1_000;
/** What a backend may ask for at most by Retry-After (F47). */
const longestAskedMs = 10 * 60_000;

export function createBackoff(now: () => number = Date.now, random: () => number = Math.random): Backoff {
  let failures = 0;
  let until = 0;
  let why: string | undefined;
  /** One is on its way to look: its failure is a new one, not an echo. */
  let trying = false;

  return {
    waitMs() {
      if (now() < until) return until - now();
      if (failures > 0) {
        trying = true;
        until = now() + tryMs;
      }
      return 0;
    },
    failed(error) {
      // Many jobs fail together in one outage: that is one failure.
      if (trying || now() >= until) {
        failures++;
        until = 0;
      }
      trying = false;
      const own = Math.min(longestMs, firstMs * 2 ** Math.min(10, failures - 1)) * (0.75 + random() / 2);
      const asked = Math.min(longestAskedMs, Math.max(0, error.retryAfterMs || 0));
      until = Math.max(until, now() + Math.max(own, asked));
      why = error.reason;
      return until - now();
    },
    succeeded() {
      failures = 0;
      until = 0;
      trying = false;
      why = undefined;
    },
    untried() {
      if (trying) until = Math.min(until, now());
      trying = false;
    },
    leftMs: () => Math.max(0, until - now()),
    reason: () => why,
  };
}
