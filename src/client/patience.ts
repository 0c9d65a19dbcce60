import { setTimeout as sleep } from 'node:timers/promises';
import { PassferryClientError } from './error.ts';

/** How long one call may take; a request that is under way may take a second more. */
export interface Patience {
  /** On the clock of {@link now}. */
  until: number;
  signal: AbortSignal | undefined;
}

export interface WaitOptions {
  /** Longest time, ms. Default: the client's `timeoutMs`. */
  timeoutMs?: number;
  /** Ends the wait, not the job: the error has the reason `stopped`. */
  signal?: AbortSignal;
}

/** ms of a clock that nobody sets. */
export const now = () => performance.now();

export function patienceOf({ timeoutMs, signal }: WaitOptions, usualMs: number): Patience {
  return { until: now() + (timeoutMs ?? usualMs), signal };
}

/** Error: `stopped` when the signal fires. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(Math.max(ms, 0), undefined, signal ? { signal } : {});
  } catch {
    throw new PassferryClientError('stopped');
  }
}

/** What it gives, or a rejection when the signal fires first. */
export function within<T>(given: T | Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new PassferryClientError('stopped')), { once: true });
    Promise.resolve(given).then(resolve, reject);
  });
}
