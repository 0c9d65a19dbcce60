const signals = ['SIGINT', 'SIGTERM'] as const;

/** The worker gives the jobs in hand 25 s; beyond this, something hangs that a restart repairs. */
const limitMs = 30_000;
/** One Ctrl-C arrives twice: from the terminal, which signals the whole group, and from the process that started us. */
const sameMs = 300;

/**
 * Waits for SIGINT or SIGTERM, or for `ended`, closes in order, and exits 0; 1 when that takes more than 30 s; a second signal exits at once
 * with 130 (F66).
 */
export async function untilStopped(close: () => Promise<void>, ended?: Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => {
    void ended?.then(resolve);
    for (const signal of signals) process.once(signal, () => resolve());
  });
  const first = performance.now();
  for (const signal of signals) {
    process.on(signal, () => {
      if (performance.now() - first > sameMs) process.exit(130);
    });
  }
  setTimeout(() => process.exit(1), limitMs).unref();
  await close();
}
