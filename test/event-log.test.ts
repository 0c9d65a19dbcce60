import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { SetPasswordData } from '../src/job.ts';
import { redisKeys } from '../src/keys.ts';
import { evaluate } from '../src/ledger/evaluate.ts';
import { beginning, createEventLog } from '../src/ledger/event-log.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { prelude } from '../src/ledger/lua.ts';
import { signRun, telling } from '../src/ledger/tell.ts';
import { connectRedis } from '../src/redis.ts';
import { atEnd } from './kit/files.ts';
import { startRedis } from './kit/redis.ts';

const server = await startRedis();
const jobKey = { current: randomBytes(32) };
const redis = connectRedis({ url: server.url }, 'worker');
atEnd(async () => redis.disconnect());
let scenes = 0;

function scene() {
  const keys = redisKeys(`log-${scenes++}`);
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
  /** As a script does that ends a run. */
  async function endRun(id: string, org: string, more: Record<string, string> = {}): Promise<void> {
    const record = { id, org, orgMac: signRun(jobKey, id, 'acme'), state: 'completed', ...more };
    await redis.hset(keys.run(id), record);
    const script = `${prelude}${telling} tell_run(KEYS[1], now_ms(), KEYS[2])`;
    await evaluate(redis, script, [keys.events, keys.run(id)], []);
  }
  const forged: string[] = [];
  const log = createEventLog(redis, keys, jobKey, (id) => forged.push(id));
  const outcome = { result: 'set', inEffect: true, backend: 'v1', at: 0 } as const;
  const end = (jobId: string, over: Partial<SetPasswordData> = {}) =>
    ledger.commit(dataOf(jobId, over), outcome, { countAttempt: true, changedAt: 1 });
  return { keys, ledger, endRun, log, forged, end };
}

function dataOf(jobId: string, over: Partial<SetPasswordData>): SetPasswordData {
  return {
    ...{ v: 1, name: 'set-password', jobId, caller: 'c', org: 'acme', user: 'ann', seq: jobId.slice(1) },
    ...{ acceptedAt: 1, expiresAt: 2, changeRequired: false, admin: false, overwriteNewer: false },
    ...{ dataKey: 'k', sealed: 's', mac: 'm', ...over },
  };
}

test('a job is told once, in the order of the ends, with its place in the record', async () => {
  const { ledger, log, keys, end } = scene();
  await redis.hset(keys.job('j1'), { seq: '1', attempts: '2' });

  await end('j1');
  await end('j1');
  await end('j2', { user: 'bob' });

  const events = await log.read(beginning, 10);
  expect(events).toMatchObject([
    { type: 'job.completed', job: 'j1', org: 'acme', user: 'ann', result: 'set', inEffect: true, backend: 'v1' },
    { type: 'job.completed', job: 'j2', user: 'bob' },
  ]);
  expect(events[0]).toMatchObject({ attempts: 3 });
  expect((await ledger.job('j1'))?.event).toBe(events[0]?.id);
  expect(await log.read(events[0]?.id as string, 10)).toEqual([events[1]]);
  expect(await log.last()).toBe(events[1]?.id);
  expect(await log.oldest()).toBe(events[0]?.id);
});

test('a failure is told by code and reason, without a text', async () => {
  const { ledger, log } = scene();

  await ledger.commit(dataOf('j1', {}), { code: 'not_found', reason: 'x', message: 'text', inEffect: false, at: 0 });

  const [event] = await log.read(beginning, 1);
  expect(event).toMatchObject({ type: 'job.failed', code: 'not_found', reason: 'x', inEffect: false, attempts: 0 });
  expect(JSON.stringify(event)).not.toContain('text');
});

test('a cancelled job is told', async () => {
  const { ledger, log, keys } = scene();
  await redis.hset(keys.job('j1'), { seq: '1', org: 'acme', user: 'ann', expiresAt: '1' });

  await ledger.cancel((await ledger.job('j1')) as never);

  expect(await log.read(beginning, 5)).toMatchObject([{ type: 'job.failed', job: 'j1', code: 'canceled' }]);
});

test('a job that was reopened is told again when it ends again', async () => {
  const { ledger, log, keys } = scene();
  const failed = { code: 'not_found', reason: 'x', message: '', inEffect: false, at: 0 } as const;
  await redis.set(keys.dataKey('k'), 'x');
  await redis.hset(keys.job('j1'), { seq: '1', org: 'acme', user: 'ann', expiresAt: '1' });
  await ledger.commit(dataOf('j1', {}), failed);
  expect(await ledger.reopen(dataOf('j1', { expiresAt: 99 }), 'ann')).toBe('reopened');
  expect((await ledger.job('j1'))?.event).toBeUndefined();

  await ledger.commit(dataOf('j1', {}), failed);

  expect((await log.read(beginning, 5)).map((each) => each.type)).toEqual(['job.failed', 'job.failed']);
});

test.each([
  ['completed', 'run.completed'],
  ['cancelled', 'run.canceled'],
])('a run that is %s is told with its counts', async (state, type) => {
  const { endRun, log } = scene();

  await endRun('r0-1', 'acme', { state, set: '2', rejected: '1' });

  const [event] = await log.read(beginning, 5);
  expect(event).toMatchObject({ type, run: 'r0-1', org: 'acme', counts: { set: 2, rejected: 1, failed: 0 } });
});

test.each([
  ['another user', (text: string) => text.replace('"ann"', '"eve"')],
  ['another organization', (text: string) => text.replace('"acme"', '"evil"')],
])('an entry with %s counts as absent, and it is told', async (_what, alter) => {
  const { log, keys, end, forged } = scene();
  await end('j1');
  const [[, fields = []] = []] = await redis.xrange(keys.events, '-', '+');
  const forgery = await redis.xadd(keys.events, '*', ...fields.map(alter));
  await end('j2', { user: 'bob' });

  const events = await log.read(beginning, 2);

  expect(events.map((each) => 'job' in each && each.job)).toEqual(['j1', 'j2']);
  expect(forged).toEqual([forgery]);
});

test("a run's entry cannot be moved to another organization", async () => {
  const { log, endRun, forged } = scene();

  await endRun('r0-1', 'evil');

  expect(await log.read(beginning, 5)).toEqual([]);
  expect(forged).toHaveLength(1);
});

test('whoever is older than the log, or ahead of it, is told from where it goes on', async () => {
  const { log, keys, end } = scene();
  expect(await log.resetTo(beginning)).toBeUndefined();
  expect(await log.resetTo('5-0')).toBe(beginning);
  for (const id of ['j1', 'j2', 'j3']) await end(id, { user: id });
  const [first, second, third] = (await log.read(beginning, 5)).map((each) => each.id) as [string, string, string];
  await redis.xdel(keys.events, first);

  const from = (await log.resetTo('5-0')) as string;

  expect((await log.read(from, 5)).map((each) => each.id)).toEqual([second, third]);
  expect(await log.resetTo(second)).toBeUndefined();
  expect(await log.resetTo('99999999999999-0')).toBe(third);
});

test('what is older than a day is trimmed when something new is told', async () => {
  const { log, keys, end } = scene();
  for (let i = 0; i < 300; i += 1) await redis.xadd(keys.events, `${i + 1}-0`, 'e', '{}', 'm', '', 'n', '0');

  await end('j1');

  // By whole nodes of the stream.
  expect(await redis.xlen(keys.events)).toBeLessThan(101);
  expect((await log.read(beginning, 5)).map((each) => each.type)).toEqual(['job.completed']);
});
