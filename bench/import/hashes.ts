import { availableParallelism } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { hash } from '@node-rs/bcrypt';
import { spawnNode } from '../../test/kit/processes.ts';
import { importFile, median, rounded } from './file.ts';
import { poolSize, startInstallation } from './installation.ts';

/** The default of an installation. */
const cost = 12;

/** Every core hashes and nothing else: prints how many a second. */
export async function hashBare(count: number): Promise<void> {
  let left = count;
  await hash('warm', cost);
  const start = performance.now();
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      while (left-- > 0) await hash(`A1-${left}`, cost);
    }),
  );
  process.stdout.write(`rate ${count / ((performance.now() - start) / 1_000)}\n`);
}

/**
 * Passwords a second that a worker sets in v1, against bare bcrypt on all cores. Counted while the run is in full swing, and once the
 * worker is warm: what starting and ending cost does not grow with the file.
 */
export async function benchHashes({ rows, rounds }: { rows: number; rounds: number }) {
  const all: { bare: number; passferry: number; ratio: number }[] = [];
  const one = await startInstallation({ bcryptCost: cost });
  const users = await Promise.all(Array.from({ length: rows }, () => one.addUser()));
  const worker = one.work();

  const bare = async () => {
    const child = spawnNode(['bench/import.ts', '--hashes', String(rows)], { UV_THREADPOOL_SIZE: poolSize });
    const line = await child.waitForLine(/^rate /, 600_000);
    await child.exited;
    return Number(line.slice('rate '.length));
  };
  const ours = async () => {
    const { id } = await one.upload(importFile(rows, undefined, (n) => users[n] as string));
    const finished = async () => Number(await one.redis.hget(one.keys.run(id), 'finished'));
    const until = async (count: number) => {
      let now = await finished();
      // Seldom enough to take nothing from what is measured.
      for (; now < count; now = await finished()) await pause(250);
      return { now, at: performance.now() };
    };
    const from = await until(rows * 0.1);
    const to = await until(rows * 0.95);
    await until(rows);
    const run = await one.redis.hgetall(one.keys.run(id));
    if (Number(run.set) !== rows) throw new Error(`not every password was set: ${JSON.stringify(run)}`);
    return (to.now - from.now) / ((to.at - from.at) / 1_000);
  };
  // A worker that has just started compiles what it runs; a file of 200,000 rows does not see that.
  await ours();
  for (let n = 0; n < rounds; n++) {
    const rates = { bare: rounded(await bare()), passferry: rounded(await ours()) };
    all.push({ ...rates, ratio: rounded(rates.passferry / rates.bare) });
  }
  await worker.end();
  await one.close();
  return { rows, cost, ratio: median(all.map(({ ratio }) => ratio)), rounds: all };
}
