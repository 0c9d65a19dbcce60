import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { rowBytes } from '../src/row-outcome.ts';
import { csv, people, type RunScene, runScene } from './kit/import-scene.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const server = await startRedis({ appendonly: false });
const scene = () => runScene(server);

/** Every value of a namespace as it is stored, pages unpacked too. */
async function stored({ redis, keys }: RunScene): Promise<{ key: string; bytes: number; text: string }[]> {
  const names = await redis.keys(`{${keys.namespace}:0}:*`);
  return Promise.all(
    names.map(async (key) => {
      const type = await redis.type(key);
      const values: Buffer[] =
        type === 'string'
          ? [(await redis.getBuffer(key)) as Buffer]
          : type === 'hash'
            ? Object.values(await redis.hgetallBuffer(key))
            : [Buffer.from(JSON.stringify(type === 'zset' ? await redis.zrange(key, 0, -1) : []))];
      const clear = key.includes(':page:') ? await redis.hgetBuffer(key, 'clear') : null;
      const text = [...values, ...(clear ? [inflateRawSync(clear)] : [])].map((each) => each.toString('latin1'));
      return { key, bytes: (await redis.memory('USAGE', key, 'SAMPLES', 0)) ?? 0, text: text.join('\n') };
    }),
  );
}

describe('what somebody else wrote into Redis', () => {
  it('as the end of a row counts as absent: the row is set, and counted once', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(20)));
    const forged = Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(6, 9)]);
    await s.redis.setrange(s.keys.pageEnds(id, 0), 4 * rowBytes, forged as unknown as string);
    expect(await s.row(id, 5)).toMatchObject({ done: false, inEffect: false });
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ set: 20, finished: 20, failed: 0 });
    expect(await s.row(id, 5)).toMatchObject({ done: true, result: 'set' });
    expect(s.held.get('u5')?.effects).toBe(1);
  });

  it('as the end of a row that is at work counts as absent too', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(1)));
    s.holdBack();
    s.work();
    await waitFor(() => s.inHand() === 1, { what: 'the row to be at the backend' });
    const forged = Buffer.concat([Buffer.from([0, 9]), Buffer.alloc(6, 9)]);
    await s.redis.setrange(s.keys.pageEnds(id, 0), 0, forged as unknown as string);
    s.letGo();
    expect(await s.until(id, 'completed')).toMatchObject({ set: 1, finished: 1 });
    expect(await s.row(id, 1)).toMatchObject({ result: 'set' });
  });

  it('as a page is not taken: neither one at the place of another, nor one that was altered', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(1_500)));
    const { keys, redis } = s;
    await redis.copy(keys.page(id, 0), keys.page(id, 1), 'REPLACE');
    await redis.copy(keys.pageSecret(id, 0), keys.pageSecret(id, 1), 'REPLACE');
    const clear = inflateRawSync((await redis.hgetBuffer(keys.page(id, 2), 'clear')) as Buffer).toString();
    await redis.hset(keys.page(id, 2), 'clear', deflateRawSync(clear.replaceAll('"u1', '"v1')));
    s.work();
    await waitFor(async () => (await s.view(id)).set === 500, { what: 'the page that is ours' });
    await waitFor(() => s.lines.filter((line) => line.includes('not signed by us')).length >= 2, {
      what: 'a word of it',
    });
    expect(s.held.size).toBe(500);
    expect([...s.held.values()].every(({ effects }) => effects === 1)).toBe(true);
    expect(await s.row(id, 501)).toBeUndefined();
  });

  it('as the sealed part of another page opens nothing', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(501)));
    await s.redis.copy(s.keys.pageSecret(id, 0), s.keys.pageSecret(id, 1), 'REPLACE');
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ set: 500, failed: 1 });
    expect(await s.row(id, 501)).toMatchObject({ reason: 'sealed_unreadable' });
  });
});

describe('what Redis holds', () => {
  it('no password at any time; of a finished row eight bytes and its part of a page', async () => {
    const s = await scene();
    const number = 5_000;
    const rows = people(number, '2803402').map((row) => ({ ...row, password: `Canary-${row.user}` }));
    const file = csv(rows);
    const id = await s.upload(file);
    const whole = await stored(s);
    expect(whole.filter(({ text }) => text.includes('Canary'))).toEqual([]);
    s.work();
    const startedAt = performance.now();
    expect(await s.until(id, 'completed')).toMatchObject({ set: number });
    const seconds = (performance.now() - startedAt) / 1_000;
    const left = await stored(s);
    expect(left.filter(({ text }) => text.includes('Canary'))).toEqual([]);
    const sum = (all: typeof left) => all.reduce((total, { bytes }) => total + bytes, 0);
    const secrets = left.filter(({ key }) => key.includes(':page-secret:'));
    const users = sum(left.filter(({ key }) => key.includes(':user:')));
    const kept = sum(
      left.filter(({ key }) => key.startsWith(s.keys.page(id, 0).slice(0, -1)) || key.includes(':page-ends:')),
    );
    const deflated = deflateRawSync(file).length;
    console.log(
      `${number} rows in ${seconds.toFixed(1)} s (${Math.round(number / seconds)}/s); bytes a row: file ${(file.length / number).toFixed(1)}, ` +
        `deflated ${(deflated / number).toFixed(1)}, Redis before ${(sum(whole) / number).toFixed(1)}, after ` +
        `${(sum(left) / number).toFixed(1)}, of which secrets that go ${(sum(secrets) / number).toFixed(1)}, pages and ends ${(kept / number).toFixed(1)}, records of users ${(users / number).toFixed(1)}`,
    );
    expect(sum(whole)).toBeLessThan(1.3 * deflated + 40_000);
    expect(whole.filter(({ key }) => key.includes(':page-ends:'))).toEqual([]);
    expect(kept / number).toBeLessThan(40);
    // They go by themselves soon after the last row of their page has ended.
    for (const { key } of secrets) {
      const ms = await s.redis.pttl(key);
      expect(ms).toBeGreaterThan(0);
      expect(ms).toBeLessThanOrEqual(600_000);
    }
    // No record, no job, no line of the queue is left of any row.
    expect(left.filter(({ key }) => key.includes(`${id}-`))).toEqual([]);
  });

  it('the passwords of a page with a row that failed for as long as it can be retried, and not longer', async () => {
    const s = await scene();
    s.refused.add('u3');
    const id = await s.upload(csv(people(501)));
    s.work();
    await s.until(id, 'completed');
    const [failed, good] = await Promise.all([0, 1].map((page) => s.redis.pttl(s.keys.pageSecret(id, page))));
    expect(failed).toBeGreaterThan(23 * 3_600_000);
    expect(failed).toBeLessThanOrEqual(24 * 3_600_000);
    expect(good).toBeLessThanOrEqual(600_000);
  });

  it('nothing of a row whose page went while it was at work', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(1)));
    s.holdBack();
    s.work();
    await waitFor(() => s.inHand() === 1, { what: 'the row to be at the backend' });
    await s.redis.del(s.keys.page(id, 0));
    s.letGo();
    await s.until(id, 'completed');
    expect(await s.redis.exists(s.keys.pageEnds(id, 0))).toBe(0);
  });

  it('how the rows of a page ended no longer than the page itself', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(2)));
    const life = await s.redis.pttl(s.keys.page(id, 0));
    s.work();
    await s.until(id, 'completed');
    const ends = await s.redis.pttl(s.keys.pageEnds(id, 0));
    expect(ends).toBeGreaterThan(0);
    expect(ends).toBeLessThanOrEqual(life);
  });

  it('a row whose page has lost its passwords ends with a reason', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(2)));
    await s.redis.del(s.keys.pageSecret(id, 0));
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ failed: 2, set: 0 });
    expect(await s.row(id, 1)).toMatchObject({ reason: 'sealed_key_destroyed' });
  });
});
