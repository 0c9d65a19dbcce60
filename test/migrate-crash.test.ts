import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { makeHash } from '../src/hashes/make.ts';
import { followJobKey, followPublicKeys, readFingerprintKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createProducer } from '../src/producer/producer.ts';
import { connectRedis } from '../src/redis.ts';
import type { RunView } from '../src/run.ts';
import { tempDir } from './kit/files.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { names } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** Workers die while a migration runs; the others carry it on, and nobody is left out or counted twice. */

const world = await startProcessWorld();
const namespace = `m${randomUUID().slice(0, 8)}`;
const connect = () => connectRedis({ url: world.redis.url }, 'worker');
const producer = createProducer({
  ...{ redis: connect(), connectEvents: connect, keys: redisKeys(namespace), retentionMs: 600_000 },
  ...{ jobKey: followJobKey(world.keysDir), publicKeys: followPublicKeys(world.keysDir) },
  fingerprintKey: readFingerprintKey(world.keysDir),
});
afterAll(async () => {
  await producer.close();
  await world.close();
});

const env = {
  ...{ PASSFERRY_V2_DEADLINE: '5s', PASSFERRY_V2_SETTLE: '1s', PASSFERRY_V1_BCRYPT_COST: '10' },
  PASSFERRY_STAGES: JSON.stringify({ default: 'dual-v1' }),
};
const dieAt = (point: string) => ({
  NODE_OPTIONS: `--import ${new URL('kit/die-at.mjs', import.meta.url).href}`,
  ...{ DIE_AT: point, DIE_ONCE: join(tempDir(), randomUUID()) },
});

test('workers killed at a page, after a hash was sent, and in the middle', { timeout: 400_000 }, async () => {
  const ids = names('user', 300);
  const password = 'Old-password-1!';
  const hash = await makeHash('bcrypt', { cost: 10 }, Buffer.from(password));
  await world.addUsers('acme', ids);
  await world.sql.query('update "users" set "password_hash" = $1, "password_changed_at" = now()', [hash]);
  for (const id of ids) await world.sandbox.addUser({ id, org: 'acme', userName: id });
  const place = await world.installation(namespace);

  const atPage = await place.work({ ...env, ...dieAt('migration:page') });
  const id = await producer.runId('tester', 'acme', 'migration');
  const opened = await producer.migrations.open({
    ...{ id, caller: 'tester', org: 'acme', expiresInMs: 600_000 },
    options: {
      ...{ format: 'migration', changeRequired: false, overwriteNewer: false, rate: 40 },
      migration: { mode: 'execute', orgs: ['acme'] },
    },
  });
  expect(opened).toMatchObject({ view: { id } });
  expect(await atPage.exited).toMatchObject({ signal: 'SIGKILL' });

  const afterSent = await place.work({ ...env, ...dieAt('mirror:sent') });
  expect(await afterSent.exited).toMatchObject({ signal: 'SIGKILL' });

  const inTheMiddle = await place.work(env);
  const view = async () => (await producer.runs.view(id)) as RunView;
  await waitFor(async () => (await view()).finished >= 50, { what: 'a part of them' });
  inTheMiddle.kill9();
  await inTheMiddle.exited;
  expect((await view()).finished).toBeLessThan(300);

  await place.work(env);
  await producer.runs.tune(id, { rate: null });
  const over = await waitFor(
    async () => {
      const now = await view();
      return now.state === 'completed' ? now : undefined;
    },
    { what: 'the end', timeoutMs: 150_000 },
  );
  expect(over).toMatchObject({ accepted: 300, finished: 300, inflight: 0, failed: 0, notInEffect: 0 });
  expect((over.mirrored ?? 0) + over.unchanged).toBe(300);
  expect(Object.values(over.migration?.verdicts ?? {}).reduce((sum, n) => sum + n, 0)).toBe(300);
  const differs = ids.filter((user) => world.sandbox.users.get(user)?.hash !== hash);
  expect(differs).toEqual([]);
  const { rows } = await world.sql.query('select "id" from "users" where "password_hash" <> $1', [hash]);
  expect(rows).toEqual([]);
  expect(await world.sandbox.verify('user-300', password)).toBe(true);
  // Only what was on its way to v2 when a worker died may be sent again: the same hash.
  const twice = ids.filter((user) => world.sandbox.users.get(user)?.changes.length !== 1);
  expect(twice.length).toBeLessThan(100);
  expect(twice.every((user) => world.sandbox.users.get(user)?.changes.length === 2)).toBe(true);
});
