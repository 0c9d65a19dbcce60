import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadServeConfig } from '../src/config.ts';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import { createLog } from '../src/log.ts';
import { hashToken } from '../src/producer/callers.ts';
import { serve } from '../src/serve.ts';
import { type ProcessWorld, startProcessWorld } from './kit/process-world.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

/** The command line, with workers that are processes of their own. */

const namespace = `s${randomUUID().slice(0, 8)}`;
const keys = redisKeys(namespace);
let world: ProcessWorld;
let own: Awaited<ReturnType<ProcessWorld['installation']>>;
let worker: Awaited<ReturnType<typeof own.work>>;
let redis: Redis;
let url: string;
let closing = async () => {};

beforeAll(async () => {
  world = await startProcessWorld();
  own = await world.installation(namespace);
  worker = await own.work();
  redis = new Redis(world.redis.url);
  const callersFile = join(world.keysDir, 'callers.json');
  const caller = {
    name: 'night',
    home: 'acme',
    tokenSha256: hashToken('pf_night'),
    grants: { acme: ['migrate', 'read'] },
  };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  const serving = await serve(
    loadServeConfig({
      ...{ PASSFERRY_REDIS_URL: world.redis.url, PASSFERRY_KEYS_DIR: world.keysDir, PASSFERRY_NAMESPACE: namespace },
      ...{ PASSFERRY_LISTEN: '127.0.0.1:0', PASSFERRY_CALLERS_FILE: callersFile, PASSFERRY_CALLER_RATE: 'off' },
    }),
    createLog('silent', 'test'),
  );
  url = serving.url;
  closing = async () => {
    await serving.close();
    redis.disconnect();
    await world.close();
  };
});
afterAll(() => closing(), 60_000);

async function cli(...args: string[]): Promise<{ code: number | null; lines: string[] }> {
  const child = spawnNode(['src/cli/main.ts', ...args, '--url', url], { PASSFERRY_TOKEN: 'pf_night' });
  const { code } = await child.exited;
  return { code, lines: child.lines() };
}
const text = ({ lines }: { lines: string[] }) => lines.join('\n');

it('plan, set and show say where logins go, who is written, and every reason of a refusal', async () => {
  const plan = await cli('stages', 'plan', 'acme', 'dual-v1');
  expect(plan.code, text(plan)).toBe(0);
  expect(text(plan)).toContain('POSSIBLE');
  expect(text(plan)).toMatch(/✓ yes {2}workers_can/);

  const set = await cli('stages', 'set', 'acme', 'dual-v1', '--json');
  expect(set.code, text(set)).toBe(0);
  expect(JSON.parse(set.lines.at(-1) as string)).toMatchObject({ stage: 'dual-v1', version: 1, by: 'night' });

  const refused = await cli('stages', 'set', 'acme', 'dual-v2');
  expect(refused.code, text(refused)).toBe(1);
  expect(text(refused)).toMatch(/✗ NO {3}backfilled[\s\S]*→[\s\S]*✗ NO {3}caught_up/);
  expect(text(refused)).toContain('REFUSED, nothing was changed: acme stays at dual-v1');

  const shown = await cli('stages', 'show');
  expect(text(shown)).toMatch(
    /organization +stage +logins go to +written +draining +not in step +going back costs +since/,
  );
  expect(text(shown)).toMatch(/acme +dual-v1 +v1 +v1, then v2 +- +- +nothing +\S+ by night/);

  expect((await cli('stages', 'set', 'acme', 'dual-v2', '--force')).code).toBe(2);
  expect((await cli('stages', 'set', 'acme', 'v9')).code).toBe(2);
  expect((await cli('stages', 'show', 'globex')).code).toBe(1);
});

it('lists who is not in step, and tries them again', async () => {
  const user = 'left-behind';
  const divergences = createDivergences(redis, keys);
  await divergences.note({ org: 'acme', user }, { follower: 'v2', seq: '1', tries: 1, cause: 'no_hash' }, undefined);
  const list = await cli('divergence', 'list');
  expect(list.code).toBe(1);
  expect(text(list)).toMatch(/left-behind {2}not in v2: no_hash, since \S+, 1 try, waits for somebody/);
  expect(text(await cli('divergence', 'list', '--cause', 'ahead'))).toContain('1 user not in step, 0 shown');
  expect(text(await cli('divergence', 'redrive', '--cause', 'no_hash'))).toContain('1 user of acme tried now');
  await waitFor(async () => (await divergences.of('acme', user))?.cause !== 'no_hash', {
    what: 'the try',
  });
  await divergences.settle({ org: 'acme', user }, '9999999999999999');
  const none = await cli('divergence', 'list');
  expect([none.code, text(none)]).toEqual([0, 'everybody is in step']);
});

it('waits until the lease of a frozen worker is over, and says what drains', async () => {
  const user = await world.addUser('acme');
  // The change of this user stands still in its transaction.
  await world.sql.query('begin');
  await world.sql.query(`lock table "users" in access exclusive mode`);
  await own.ask('acme', user);
  await waitFor(() => redis.zcard(keys.writing), { what: 'the lease' });
  worker.stop();
  const table = createStageTable(redis, keys, readJobKey(world.keysDir));
  try {
    // Nobody else is there: that is gone over.
    const set = await cli('stages', 'set', 'acme', 'v1', '--wait', '1s', '--force', '--reason', 'the worker is frozen');
    expect(set.code, text(set)).toBe(4);
    expect(text(set)).toMatch(/acme: 1 writes go by the older setting, \d+ s at most/);
    expect((await table.draining()).get('acme')?.leases).toBe(1);
    const plan = await cli('stages', 'show', 'acme', '--json');
    expect(JSON.parse(plan.lines.at(-1) as string)).toMatchObject({ stage: 'v1', draining: { leases: 1 } });
  } finally {
    worker.cont();
    await world.sql.query('rollback');
  }
  const done = await cli('stages', 'set', 'acme', 'v1', '--wait', '60s');
  expect(done.code, text(done)).toBe(0);
  expect((await table.draining()).size).toBe(0);
});
