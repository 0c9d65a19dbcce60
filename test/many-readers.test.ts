import { afterAll, beforeAll, expect, test } from 'vitest';
import { startManyReaders } from './kit/many-readers.ts';
import { waitFor } from './kit/wait.ts';

let many: Awaited<ReturnType<typeof startManyReaders>>;
beforeAll(async () => {
  many = await startManyReaders();
});
afterAll(() => many.close());

test('2,000 long-polls and 500 streams add one connection to Redis, and what they held is given back', async () => {
  const jobs: string[] = [];
  for (let i = 0; i < 20; i += 1) jobs.push(await many.installation.ask('acme', await many.world.addUser('acme')));
  // One of each: what is made once is made.
  await (await many.open(jobs, 1, 1)).close();
  const before = await many.look();

  const readers = await many.open(jobs, 2_000, 500);
  const open = await many.look();
  const { status } = await fetch(`${many.url}/jobs/${jobs[0]}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${many.token}` },
  });
  await waitFor(() => readers.told.every((count) => count > 0) && readers.answered() >= 100, {
    what: 'every stream, and every poll of that job, to be told',
  });
  const [told, answered] = [[...new Set(readers.told)], readers.answered()];
  await readers.close();
  const after = await waitFor(
    async () => {
      const now = await many.look();
      return now.held <= before.held + 20 && now.heapUsed < before.heapUsed + 20 * 1024 * 1024 ? now : undefined;
    },
    { what: 'serve to let go' },
  );

  expect(status).toBe(200);
  expect([told, answered]).toEqual([[1], 100]);
  expect([open.redis, after.redis]).toEqual([before.redis, before.redis]);
});
