/**
 * Runs `work` under a signal that fires with the first of `sources`, for its reason. Not `AbortSignal.any`: Node 20 keeps what that makes for
 * as long as a source lives, and the signal that stops a worker lives as long as its process: 250 bytes a row.
 */
export async function under<T>(sources: readonly AbortSignal[], work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const ours = new AbortController();
  const followed = sources.map((source) => ({ source, stop: () => ours.abort(source.reason) }));
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
