import { setMaxListeners } from 'node:events';

/**
 * Runs `work` under a signal that fires with the first of `sources`, for its reason. Not `AbortSignal.any`: Node 20 keeps what that makes for
 * as long as a source lives, and the signal that stops a process lives as long as it: about 250 bytes a row.
 */
export async function under<T>(
  sources: readonly (AbortSignal | undefined)[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ours = new AbortController();
  const given = sources.filter((source) => source !== undefined);
  // As many listen as there is work at once; ten would be taken for a leak.
  setMaxListeners(0, ...given);
  const followed = given.map((source) => ({ source, stop: () => ours.abort(source.reason) }));
  for (const { source, stop } of followed) {
    if (source.aborted) stop();
    source.addEventListener('abort', stop);
  }
  try {
    return await work(ours.signal);
  } finally {
    for (const { source, stop } of followed) source.removeEventListener('abort', stop);
  }
}
