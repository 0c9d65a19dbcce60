/** Preloaded (with --expose-gc): on SIGUSR2 the process says how much it holds after a collection. */
process.on('SIGUSR2', () => {
  globalThis.gc?.();
  process.stdout.write(`heap after collection: ${process.memoryUsage().heapUsed}\n`);
});
