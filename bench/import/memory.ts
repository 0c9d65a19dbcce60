import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { createDeflateRaw } from 'node:zlib';
import { idOf, importFile, rounded } from './file.ts';
import { startInstallation } from './installation.ts';

const megabyte = 1_000_000;
/** Ids and turns of the rows that are in the queue. */
const windowBytes = 2_000 * 1_000;
const bytesPerRow = 8;
const goals = { megabytes: 256, redis: 1.3 };

/** So many of the first rows have a user. */
const users = 10_000;

/**
 * The most memory that `serve` and a worker ever had, as they are shipped, and what the rows cost in Redis beside what their
 * file has when it is deflated. The worker sets what it can in `workSeconds`, with the cheapest hashes. Linux only.
 */
export async function benchMemory({ rows, workSeconds }: { rows: number; workSeconds: number }) {
  let input = 0;
  let deflatedInput = 0;
  const deflate = createDeflateRaw();
  deflate.on('data', (chunk: Buffer) => {
    deflatedInput += chunk.length;
  });
  for await (const chunk of importFile(rows)) {
    input += chunk.length;
    if (!deflate.write(chunk)) await new Promise((resolve) => deflate.once('drain', resolve));
  }
  await new Promise((resolve) => deflate.once('end', resolve).end());

  const one = await startInstallation({ bcryptCost: 4 });
  await one.addUsers(Array.from({ length: Math.min(rows, users) }, (_, n) => idOf(n)));
  const before = await usedMemory();
  const began = performance.now();
  const { id, accepted } = await one.upload(importFile(rows));
  const uploadSeconds = (performance.now() - began) / 1_000;
  if (accepted !== rows) throw new Error(`${accepted} of ${rows} rows were accepted`);
  const stored = (await usedMemory()) - before;

  const worker = one.work();
  const until = performance.now() + workSeconds * 1_000;
  const finished = async () => Number(await one.redis.hget(one.keys.run(id), 'finished'));
  let most = 0;
  while (performance.now() < until && (await finished()) < rows) {
    if ((await one.redis.hget(one.keys.run(id), 'state')) === 'holding') await one.resume(id);
    most = Math.max(most, (await usedMemory()) - before);
    await pause(100);
  }
  const done = await finished();
  const figures = {
    rows,
    finished: done,
    set: Number(await one.redis.hget(one.keys.run(id), 'set')),
    storedPerSecond: Math.round(rows / uploadSeconds),
    inputMb: rounded(input / megabyte),
    deflatedMb: rounded(deflatedInput / megabyte),
    serveMb: peakOf(one.serve.pid),
    workMb: peakOf(worker.pid),
    redisMb: rounded(stored / megabyte),
    redisRatio: rounded(stored / deflatedInput),
    redisMostMb: rounded(most / megabyte),
  };
  await worker.end();
  await one.close();
  const allowed = goals.redis * deflatedInput + windowBytes + bytesPerRow * rows;
  return {
    ...figures,
    goals: { ...goals, redisMb: rounded(allowed / megabyte) },
    met: Math.max(stored, most) <= allowed && Math.max(figures.serveMb, figures.workMb) < goals.megabytes,
  };

  async function usedMemory(): Promise<number> {
    return Number(/used_memory:(\d+)/.exec(await one.redis.info('memory'))?.[1]);
  }
}

/** Peak of what a process had in memory, MB. */
function peakOf(pid: number): number {
  const kilobytes = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return Math.round((kilobytes * 1_024) / megabyte);
}
