import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for `work`, but no longer than `ms`: for endings that a server which is away would keep for ever. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, sleep(ms, undefined, { signal: over.signal }).catch(() => {})]);
  over.abort();
}
