import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { pageRows } from '../src/page.ts';
import { rowBytes } from '../src/row-outcome.ts';
import { csv, type FileRow, people, type RunScene, runScene } from './kit/import-scene.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const server = await startRedis({ appendonly: false });
const scene = () => runScene(server);
const reused = expect.objectContaining({ reason: 'idempotency_key_reused' });

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

describe('rows and counters', () => {
  it('counts each row once, by how it ended, and tells every one that is not in effect by its number in the file', async () => {
    const s = await scene();
    const rows = people(1_203);
    for (const row of [7, 500, 501, 1_203]) (rows[row - 1] as FileRow).password = '';
    for (const row of [8, 502, 1_000]) s.refused.add((rows[row - 1] as FileRow).user);
    const id = await s.upload(csv(rows));
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({
      ...{ received: 1_203, rejected: 4, accepted: 1_199, finished: 1_199, inflight: 0, notInEffect: 7 },
      ...{ set: 1_196, failed: 3, superseded: 0, stale: 0, expired: 0, canceled: 0, unchanged: 0 },
    });
    const told = (await s.rejects(id)).map(({ row, reason, userId, line }) => `${row} ${line} ${userId} ${reason}`);
    expect(told).toEqual([
      ...['7 8 u7 password_missing', '8 9 u8 refused', '500 501 u500 password_missing'],
      ...['501 502 u501 password_missing', '502 503 u502 refused', '1000 1001 u1000 refused'],
      '1203 1204 u1203 password_missing',
    ]);
    expect(await s.row(id, 501)).toMatchObject({ userId: 'u501', done: true, reason: 'password_missing' });
    expect(await s.row(id, 503)).toMatchObject({ userId: 'u503', done: true, result: 'set', inEffect: true });
    expect(await s.row(id, 1_204)).toBeUndefined();
    expect([...s.held].every(([user, { password, effects }]) => password === `Pw-${user}-1` && effects === 1)).toBe(
      true,
    );
    expect(s.held.size).toBe(1_196);
  });

  it('a file whose rows are all refused is over at once, and holds no secret', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(3).map((row) => ({ ...row, password: '' }))));
    expect(await s.view(id)).toMatchObject({
      state: 'completed',
      received: 3,
      rejected: 3,
      accepted: 0,
      notInEffect: 3,
    });
    expect(await s.redis.exists(s.keys.pageSecret(id, 0))).toBe(0);
    expect(await s.redis.zrange(s.keys.activeRuns, 0, -1)).toEqual([]);
  });

  it('of rows with the same user the last one wins, whichever ends first', async () => {
    const s = await scene();
    const rows = [...people(600), { user: 'u1', password: 'Later-password-1' }, ...people(600, 'w')];
    rows.push({ user: 'u2', password: 'Last-password-1' });
    const id = await s.upload(csv(rows));
    s.work();
    const { set, superseded } = await s.until(id, 'completed');
    expect(set + superseded).toBe(1_202);
    expect(s.held.get('u1')?.password).toBe('Later-password-1');
    expect(s.held.get('u2')?.password).toBe('Last-password-1');
  });

  it('later rows with the same user are refused by option, and the first is set', async () => {
    const s = await scene();
    const rows = [...people(501), { user: 'u1', password: 'Later-password-1' }, { user: 'u501' }];
    const id = await s.upload(csv(rows), { choices: { duplicates: 'refuse' } });
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ received: 503, rejected: 2, set: 501 });
    expect((await s.rejects(id)).map(({ row, reason }) => `${row} ${reason}`)).toEqual([
      '502 user_repeated',
      '503 user_repeated',
    ]);
    expect(s.held.get('u1')?.password).toBe('Pw-u1-1');
  });
});

describe('the same key', () => {
  it('with the same file is the same run: nothing is stored, counted or set again', async () => {
    const s = await scene();
    const file = csv(people(700));
    const id = await s.upload(file, { key: 'k' });
    const before = await s.redis.hgetallBuffer(s.keys.page(id, 0));
    expect(await s.upload(file, { key: 'k' })).toBe(id);
    s.work();
    await s.until(id, 'completed');
    expect(await s.upload(file, { key: 'k' })).toBe(id);
    expect(await s.view(id)).toMatchObject({ state: 'completed', received: 700, accepted: 700, set: 700 });
    expect((await s.redis.hgetallBuffer(s.keys.page(id, 0))).mac).toEqual(before.mac);
    expect([...s.held.values()].every(({ effects }) => effects === 1)).toBe(true);
  });

  const changed: [string, (rows: FileRow[]) => FileRow[]][] = [
    ['one other user', (rows) => rows.map((row, i) => (i === 640 ? { user: 'other', password: 'Pw-u641-1' } : row))],
    ['one other password', (rows) => rows.map((row, i) => (i === 640 ? { ...row, password: 'Pw-u641-2' } : row))],
    ['a row more in its last page', (rows) => [...rows, { user: 'more' }]],
    ['a row less', (rows) => rows.slice(0, -1)],
    ['fewer pages', (rows) => rows.slice(0, pageRows)],
    ['two rows the other way round', ([a, b, ...rows]) => [b, a, ...rows] as FileRow[]],
  ];
  it.each(changed)('with %s is refused, and the run stays what it was', async (_, change) => {
    const s = await scene();
    const rows = people(700);
    const id = await s.upload(csv(rows), { key: 'k' });
    await expect(s.upload(csv(change(rows)), { key: 'k' })).rejects.toEqual(reused);
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ received: 700, set: 700, rejected: 0 });
    await expect(s.upload(csv(change(rows)), { key: 'k' })).rejects.toEqual(reused);
    expect(s.held.size).toBe(700);
    expect(s.held.get('u641')?.password).toBe('Pw-u641-1');
  });

  it('with whole pages more is refused, while the run is at work and after it', async () => {
    const s = await scene();
    const rows = people(2 * pageRows);
    const id = await s.upload(csv(rows.slice(0, pageRows)), { key: 'k' });
    await expect(s.upload(csv(rows), { key: 'k' })).rejects.toEqual(reused);
    s.work();
    await s.until(id, 'completed');
    await expect(s.upload(csv(rows), { key: 'k' })).rejects.toEqual(reused);
    expect(await s.view(id)).toMatchObject({ received: pageRows, set: pageRows });
  });

  it('sent by two at once with different passwords is one run of one file', async () => {
    const s = await scene();
    const files = ['one', 'two'].map((word) => csv(people(900).map((row) => ({ ...row, password: `Pw-${word}-1` }))));
    const sent = await Promise.allSettled(files.map((file) => s.upload(file, { key: 'k' })));
    expect(sent.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    for (const each of sent) if (each.status === 'rejected') expect(each.reason).toEqual(reused);
    s.work();
    const id = await s.runId('k');
    await waitFor(async () => (await s.view(id)).set >= 500, { what: 'the first page' });
    expect(new Set([...s.held.values()].map(({ password }) => password)).size).toBe(1);
  });

  it('goes on with a cut upload where it stopped, whatever was set meanwhile', async () => {
    const s = await scene();
    const file = csv(people(1_700));
    await expect(s.upload(file, { key: 'k', cutAfter: Buffer.byteLength(file) - 8_000 })).rejects.toThrow('cut');
    const id = await s.runId('k');
    expect(await s.view(id)).toMatchObject({ state: 'receiving', received: 1_000 });
    s.work();
    await waitFor(async () => (await s.view(id)).set === 1_000, {
      what: 'the rows that were stored',
      timeoutMs: 30_000,
    });
    expect(await s.view(id)).toMatchObject({ state: 'receiving' });
    expect(await s.upload(file, { key: 'k' })).toBe(id);
    expect(await s.until(id, 'completed')).toMatchObject({ received: 1_700, set: 1_700 });
    expect([...s.held.values()].every(({ effects }) => effects === 1)).toBe(true);
  });

  it('goes on with a cut upload only with the same file', async () => {
    const s = await scene();
    const file = csv(people(1_200));
    await expect(s.upload(file, { key: 'k', cutAfter: Buffer.byteLength(file) - 500 })).rejects.toThrow('cut');
    await expect(s.upload(csv(people(500)), { key: 'k' })).rejects.toEqual(reused);
    await expect(s.upload(file.replace('Pw-u3-1', 'Pw-u3-2'), { key: 'k' })).rejects.toEqual(reused);
    expect(await s.view(await s.runId('k'))).toMatchObject({ state: 'receiving', received: 1_000 });
  });

  it('of a run that was cancelled takes nothing more', async () => {
    const s = await scene();
    const file = csv(people(1_200));
    await expect(s.upload(file, { key: 'k', cutAfter: Buffer.byteLength(file) - 500 })).rejects.toThrow('cut');
    const id = await s.runId('k');
    await s.producer.runs.order(id, 'cancel');
    await expect(s.upload(file, { key: 'k' })).rejects.toMatchObject({ reason: 'run_ended' });
    expect(await s.view(id)).toMatchObject({ state: 'cancelled', accepted: 1_000, finished: 1_000, canceled: 1_000 });
  });
});

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
    await waitFor(async () => (await s.view(id)).set === 500, { what: 'the page that is ours', timeoutMs: 30_000 });
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
  it('no password at any time; of a finished row eight bytes and its part of a page', {
    timeout: 120_000,
  }, async () => {
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
    const kept = sum(
      left.filter(({ key }) => key.startsWith(s.keys.page(id, 0).slice(0, -1)) || key.includes(':page-ends:')),
    );
    const deflated = deflateRawSync(file).length;
    const byKind: Record<string, number> = {};
    for (const { key, bytes } of left) {
      const kind = /^\{[^}]*\}:([a-z-]+(?::[a-z]+:events)?)/.exec(key)?.[1] ?? key;
      byKind[kind] = (byKind[kind] ?? 0) + bytes;
    }
    console.log(byKind);
    console.log(
      `${number} rows in ${seconds.toFixed(1)} s (${Math.round(number / seconds)}/s); bytes a row: file ${(file.length / number).toFixed(1)}, ` +
        `deflated ${(deflated / number).toFixed(1)}, Redis before ${(sum(whole) / number).toFixed(1)}, after ` +
        `${(sum(left) / number).toFixed(1)}, of which secrets that go ${(sum(secrets) / number).toFixed(1)}, pages and ends ${(kept / number).toFixed(1)}`,
    );
    expect(sum(whole)).toBeLessThan(1.3 * deflated + 24 * number + 40_000);
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

  it('a row whose page has lost its passwords ends with a reason', async () => {
    const s = await scene();
    const id = await s.upload(csv(people(2)));
    await s.redis.del(s.keys.pageSecret(id, 0));
    s.work();
    expect(await s.until(id, 'completed')).toMatchObject({ failed: 2, set: 0 });
    expect(await s.row(id, 1)).toMatchObject({ reason: 'sealed_key_destroyed' });
  });
});
