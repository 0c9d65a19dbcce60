import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, expect, test } from 'vitest';
import { createV1Postgres, pgClient } from '../src/adapters/v1-postgres/index.ts';
import { redisKeys } from '../src/keys.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { tempDir } from './kit/files.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { waitFor } from './kit/wait.ts';

/** A worker dies on the way from a change to its follower; another one brings the follower in step. */

const world = await startProcessWorld();
const v1 = await createV1Postgres({ sql: pgClient(world.postgresUrl) });
const redis = new Redis(world.redis.url);
const dir = tempDir();
const hook = new URL('kit/die-at.mjs', import.meta.url).href;
afterAll(async () => {
  redis.disconnect();
  await v1.close();
  await world.close();
});

const org = 'acme';
const quick = { PASSFERRY_V2_DEADLINE: '5s', PASSFERRY_V2_SETTLE: '1s', PASSFERRY_V1_BCRYPT_COST: '10' };
const at = (stage: string) => ({ PASSFERRY_STAGES: JSON.stringify({ default: stage }) });
const dieAt = (point: string) => ({
  NODE_OPTIONS: `--import ${hook}`,
  DIE_AT: point,
  DIE_ONCE: join(dir, randomUUID()),
});

const cases: [stage: 'dual-v1' | 'dual-v2', point: string, done: string][] = [
  ['dual-v1', 'job:applied', 'after the change in v1, before it is committed'],
  ['dual-v1', 'job:committed', 'after the commit, before the mirror'],
  ['dual-v1', 'mirror:begun', 'after the lease of the mirror'],
  ['dual-v1', 'mirror:recorded', 'after the attempt is recorded, before it is sent'],
  ['dual-v1', 'mirror:sent', 'after v2 has the hash, before that is recorded'],
  ['dual-v2', 'job:attempted', 'after the hash for v1 is made and the attempt recorded'],
  ['dual-v2', 'job:applied', 'after the change in v2, before it is committed'],
  ['dual-v2', 'job:committed', 'after the commit, before v1 is written'],
  ['dual-v2', 'follow:made', 'after v1 is written, before that is recorded'],
];

async function carriedOn(stage: 'dual-v1' | 'dual-v2', point: string): Promise<void> {
  const namespace = `d${randomUUID().slice(0, 8)}`;
  const user = await world.addUser(org);
  await world.sandbox.addUser({ id: user, org, userName: user });
  const place = await world.installation(namespace);
  const first = await place.work({ ...quick, ...at(stage), ...dieAt(point) });
  const jobId = await place.ask(org, user);
  expect(await first.exited).toMatchObject({ signal: 'SIGKILL' });
  await place.work({ ...quick, ...at(stage) });
  expect(await place.outcome(jobId)).toMatchObject({ result: 'set', inEffect: true });
  const divergences = createDivergences(redis, redisKeys(namespace));
  await waitFor(async () => (await divergences.count(org)) === 0, { what: 'both in step' });
  const { hash } = await v1.readHash(org, user, new AbortController().signal);
  const stored = world.sandbox.users.get(user);
  expect(hash).toBeDefined();
  // A hash that was sent and not recorded is sent again: the same one.
  if (stage === 'dual-v1') expect(stored?.hash === hash?.reveal()).toBe(true);
  expect(stored?.changes.length).toBe(point === 'mirror:sent' ? 2 : 1);
  expect(await world.changes(org, user)).toBe(1);
  expect(await redis.exists(redisKeys(namespace).follow(org, user))).toBe(0);
}

let running: Map<string, Promise<void>> | undefined;
test.each(cases)('%s: killed at %s, %s', (stage, point) => {
  // Recovery is a wait for leases to end: all at once.
  running ??= new Map(
    cases.map(([each, where]) => {
      const ending = carriedOn(each, where);
      ending.catch(() => {});
      return [`${each} ${where}`, ending];
    }),
  );
  return running.get(`${stage} ${point}`);
});
