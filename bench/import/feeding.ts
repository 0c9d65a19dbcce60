import { randomBytes } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { makeRunId, rowJobId } from '../../src/ids.ts';
import { redisKeys } from '../../src/keys.ts';
import { startFeeder } from '../../src/worker/feed.ts';
import { rowJob } from '../../src/worker/rows.ts';
import { pageScene } from '../../test/kit/pages.ts';
import { startRedis } from '../../test/kit/redis.ts';
import { waitFor } from '../../test/kit/wait.ts';
import { median, rate, rounded } from './file.ts';

/**
 * Rows a second that the feeder puts into the queue, with a window that is never full, against `addBulk(500)` of as many
 * jobs; `named`: the same with our ids and turns, which is what BullMQ itself asks for a queue that is safe to feed twice.
 */
export async function benchFeeding({ rows, rounds }: { rows: number; rounds: number }) {
  const server = await startRedis();
  const redis = new Redis(server.url, { maxRetriesPerRequest: null });
  const jobKey = { current: randomBytes(32) };
  const all: { bare: number; named: number; passferry: number; ratio: number; named_ratio: number }[] = [];

  const addBulk = async (prefix: string, options: (n: number) => object) => {
    const queue = new Queue('bare', { connection: redis, prefix, skipVersionCheck: true });
    for (let from = 0; from < rows; from += 500) {
      await queue.addBulk(
        Array.from({ length: 500 }, (_, i) => ({ name: rowJob.name, data: rowJob, opts: options(from + i) })),
      );
    }
    await queue.close();
  };

  for (let n = 0; n < rounds; n++) {
    const keys = redisKeys(`feed${n}`);
    await redis.set(keys.sequence, '1');
    const { runs, pages, store } = pageScene(redis, keys, jobKey);
    const id = makeRunId(jobKey.current, 'c', 'o', `feed${n}`);
    await store(
      { id, org: 'o' },
      Array.from({ length: rows }, (_, i) => ({ line: i + 2, user: `u${i}` })),
    );
    await runs.closeInput(id, rows / 500);

    const one = {
      bare: await rate(rows, () => addBulk(`a${n}`, () => ({}))),
      named: await rate(rows, () =>
        addBulk(`b${n}`, (i) => ({
          jobId: rowJobId(id, i + 1),
          priority: 1 + (i % 2_000_000),
          removeOnComplete: true,
        })),
      ),
      passferry: await rate(rows, async () => {
        const feeder = startFeeder({
          redis,
          keys,
          jobKey,
          pages,
          runs,
          log: pino({ level: 'silent' }),
          windowRows: rows,
        });
        await waitFor(async () => Number(await redis.hget(keys.run(id), 'fed')) >= rows, {
          what: 'all rows to be fed',
          timeoutMs: 300_000,
        });
        await feeder.stop();
      }),
    };
    const [ratio, named] = [rounded(one.passferry / one.bare), rounded(one.passferry / one.named)];
    all.push({ ...one, ratio, named_ratio: named });
    await redis.flushall();
  }
  redis.disconnect();
  const ratios = (name: 'ratio' | 'named_ratio') => median(all.map((one) => one[name]));
  return { rows, ratio: ratios('ratio'), named: ratios('named_ratio'), rounds: all };
}
