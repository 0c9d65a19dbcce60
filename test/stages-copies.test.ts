import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import type { Stage } from '../src/stage.ts';
import type { WorkerOptions } from '../src/worker/options.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { jobKey, never, type Scene, sandbox, scene, v2Token } from './kit/ledger-scene.ts';
import { waitFor } from './kit/wait.ts';

/** Stages of a Redis that was lost come from their copy: nobody falls back to a stage that was left. */

const config = { default: 'v1', organizations: {} } as const;
const signal = () => AbortSignal.timeout(5_000);

async function set(s: Scene, org: string, stage: Stage) {
  const table = createStageTable(s.redis, s.keys, jobKey);
  const now = await table.of(org, config);
  return table.set(org, await table.stored(org), { stage, percent: 0, by: 'test' }, now);
}
const of = (s: Scene, org: string) => createStageTable(s.redis, s.keys, jobKey).of(org, config);
const copied = (s: Scene, part: string) =>
  waitFor(async () => (await s.v1.epoch.readStages?.(s.keys.namespace, signal()))?.includes(part), {
    what: `the copy to have ${part}`,
  });

it('a wiped Redis: after the release an organization at v2 is written in v2, not where it began', async () => {
  const s = await scene();
  await s.work();
  await set(s, 'two', 'dual-v1');
  await set(s, 'two', 'dual-v2');
  await set(s, 'two', 'v2');
  await set(s, '*', 'dual-v1');
  await copied(s, '\\"version\\":3');
  await copied(s, '*');
  const user = await s.addUser('v2');
  await s.redis.flushall();
  await s.isLost();
  expect(await of(s, 'two')).toMatchObject({ stage: 'v2', version: 3, from: 'organization' });
  expect(await of(s, 'anybody')).toMatchObject({ stage: 'dual-v1', from: 'default' });
  const password = newPassword();
  const job = await s.ask('v2', user, password);
  await s.waits(job);
  await s.release();
  expect(await s.producer.wait(job, 20_000)).toMatchObject({ result: 'set', backend: 'v2' });
  expect(await s.works('v2', user, password)).toBe(true);
  expect(s.logged).toContainEqual(expect.objectContaining({ level: 50, count: 2 }));
});

it('a Redis restored from an older copy: the newer setting goes back, before a worker takes anything', async () => {
  const s = await scene();
  await (await s.work({ epochMs: never })).close();
  await set(s, 'one', 'dual-v1');
  const restore = await s.backup();
  const worker = await s.work({ epochMs: never });
  await set(s, 'one', 'dual-v2');
  await copied(s, '\\"version\\":2');
  await worker.close();
  await restore();
  expect(await of(s, 'one')).toMatchObject({ stage: 'dual-v1', version: 1 });
  await s.work({ epochMs: never });
  expect(await of(s, 'one')).toMatchObject({ stage: 'dual-v2', version: 2 });
});

it('an old setting that is put back by whoever may write Redis is replaced at the next tick, and told', async () => {
  const s = await scene();
  await set(s, 'one', 'dual-v1');
  const old = (await s.redis.hget(s.keys.stageTable, 'one')) as string;
  await s.work();
  await set(s, 'one', 'dual-v2');
  await copied(s, '\\"version\\":2');
  await s.redis.hset(s.keys.stageTable, 'one', old);
  await waitFor(async () => (await of(s, 'one')).version === 2, { what: 'the newer one' });
  await s.redis.hset(s.keys.stageTable, 'one', 'x {}');
  await waitFor(async () => (await of(s, 'one')).version === 2, { what: 'one of ours' });
  await s.redis.hdel(s.keys.stageTable, 'one');
  await waitFor(async () => (await of(s, 'one')).version === 2, { what: 'one at all' });
  expect(s.logged).toContainEqual(expect.objectContaining({ level: 50, orgs: ['one'] }));
});

it('a worker without a v1 that keeps one has a file beside that of the epoch', async () => {
  const s = await scene();
  const epochFile = join(tempDir(), 'state', 'epoch');
  const backend = createV2Zitadel({ url: sandbox.url, credential: credential({ value: v2Token }) });
  const alone = { epochFile, backends: { v2: { backend, limit: 1 } }, stages: { default: 'v2', organizations: {} } };
  const worker = await s.work(alone as Partial<WorkerOptions>);
  await set(s, 'one', 'dual-v1');
  const file = `${epochFile}.stages`;
  await waitFor(() => existsSync(file) && readFileSync(file, 'utf8').includes('one'), { what: 'the file' });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  await worker.close();
  await s.redis.flushall();
  await s.work(alone as Partial<WorkerOptions>);
  expect(await of(s, 'one')).toMatchObject({ stage: 'dual-v1', version: 1 });
});

it('a copy that is not ours changes nothing', async () => {
  const s = await scene();
  const epochFile = join(tempDir(), 'epoch');
  writeFileSync(
    `${epochFile}.stages`,
    JSON.stringify({ one: 'mac {"stage":"v2","percent":0,"version":9,"since":0}', two: 7 }),
  );
  await s.work({ epochFile });
  expect(await of(s, 'one')).toMatchObject({ stage: 'v1', version: 0 });
});

it('what an earlier job key has signed is signed anew, before that key is gone', async () => {
  const s = await scene();
  const older = { current: Buffer.alloc(32, 7), previous: jobKey.current };
  const table = createStageTable(s.redis, s.keys, older);
  const now = await table.of('one', config);
  await table.set('one', '', { stage: 'dual-v1', percent: 0, by: 'test' }, now);
  const both = createStageTable(s.redis, s.keys, { current: jobKey.current, previous: older.current });
  await both.signAnew();
  expect(await of(s, 'one')).toMatchObject({ stage: 'dual-v1', version: 1 });
});
