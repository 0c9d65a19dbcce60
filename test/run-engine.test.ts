import { describe, expect, it } from 'vitest';
import { pageRows } from '../src/page.ts';
import { csv, type FileRow, people, runScene } from './kit/import-scene.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const server = await startRedis({ appendonly: false });
const scene = () => runScene(server);
const reused = expect.objectContaining({ reason: 'idempotency_key_reused' });

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
