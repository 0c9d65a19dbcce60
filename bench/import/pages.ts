import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { parse } from 'csv-parse';
import { importRows } from '../../src/producer/import/import.ts';
import { queueWorld } from '../../test/kit/queue-world.ts';
import { startRedis } from '../../test/kit/redis.ts';
import { waitFor } from '../../test/kit/wait.ts';
import { importFile, median, rate, rounded } from './file.ts';

/** Read, checked, sealed, stored in Redis: rows a second, against bare csv-parse over the same bytes. */
export async function benchPages({ rows, rounds }: { rows: number; rounds: number }) {
  const redis = await startRedis();
  const world = await queueWorld(redis.url);
  const producer = world.producer(redis.url);
  await waitFor(() => producer.isReady(), { what: 'a producer that is connected' });
  await world.redis.config('SET', 'appendfsync', 'everysec');
  const file: Buffer[] = [];
  for await (const chunk of importFile(rows, 'o')) file.push(chunk);
  /** Copies: what is read is zeroed. */
  const chunks = () => Readable.from(file.map((chunk) => Buffer.from(chunk)));

  const bare = async () => {
    let read = 0;
    for await (const _ of chunks().pipe(parse({ columns: true, bom: true }))) read++;
    if (read !== rows) throw new Error(`read ${read} of ${rows} rows`);
  };
  const ours = async () => {
    const { view } = await importRows(
      producer,
      { caller: 'bench', org: 'o', idempotencyKey: randomUUID(), mayImport: () => true, isAdmin: () => false },
      chunks(),
      { choices: { changeRequired: false, overwriteNewer: false, asOf: 'now' }, parse: { format: 'csv' } },
    );
    if (view.accepted !== rows) throw new Error(`stored ${view.accepted} of ${rows} rows`);
  };
  const all: { bare: number; passferry: number; ratio: number }[] = [];
  for (let n = 0; n < rounds; n++) {
    const one = { bare: await rate(rows, bare), passferry: await rate(rows, ours) };
    all.push({ ...one, ratio: rounded(one.passferry / one.bare) });
    await world.redis.flushall();
    await world.redis.set(world.keys.sequence, '1');
  }
  return { rows, ratio: median(all.map(({ ratio }) => ratio)), rounds: all };
}
