import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, expect, it } from 'vitest';
import { redisKeys } from '../src/keys.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { waitFor } from './kit/wait.ts';

const world = await startProcessWorld();
const redis = new Redis(world.redis.url);
afterAll(async () => {
  redis.disconnect();
  await world.close();
});

it('a v1 that cannot be read for a mirror is no fault of v2: v2 goes on, and the mirror waits for v1', async () => {
  const namespace = `b${randomUUID().slice(0, 8)}`;
  const place = await world.installation(namespace);
  const stages = { default: 'v1', organizations: { acme: 'dual-v1', globex: 'v2' } };
  const worker = await place.work({ PASSFERRY_STAGES: JSON.stringify(stages), PASSFERRY_V2_DEADLINE: '2s' });
  const divergences = createDivergences(redis, redisKeys(namespace));
  const at = { org: 'acme', user: await world.addUser('acme') };

  await world.postgres.kill9();
  await divergences.note(at, { follower: 'v2', seq: '0', tries: 0, cause: 'pending' }, 0);
  await waitFor(async () => (await divergences.of(at.org, at.user))?.cause === 'backend_down', {
    what: 'the mirror to meet the outage',
  });
  const { lanes, waitingFor } = (await (await fetch(worker.url)).json()) as {
    lanes: Record<string, { waitingFor?: string }>;
    waitingFor: Record<string, string>;
  };
  expect(lanes.v1?.waitingFor).toBe('backend_down');
  expect(lanes.v2?.waitingFor).toBeUndefined();
  expect(waitingFor).toEqual({ v1: 'backend_down' });
  const user = await world.addUser('globex');
  expect(await place.outcome(await place.ask('globex', user))).toMatchObject({ result: 'set', backend: 'v2' });
});
