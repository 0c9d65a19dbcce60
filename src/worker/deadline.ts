import { PassferryError } from '../errors.ts';
import { under } from '../under.ts';

/**
 * Ends a wait at a time of ours, whatever the work does: the signal asks it to stop, and if it does not listen the job goes
 * on without it (F22). Nothing it may still do counts: its lease has ended.
 *
 * Error: `backend_timeout` with the effect `unknown`.
 */
export async function withDeadline<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ours = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new PassferryError('backend_timeout', { scope: 'backend', effect: 'unknown' });
      ours.abort(error);
      reject(error);
    }, ms);
  });
  try {
    return await Promise.race([under([signal, ours.signal], work), over]);
  } finally {
    clearTimeout(timer);
  }
}
