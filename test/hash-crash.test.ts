import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { makeHash } from '../src/hashes/make.ts';
import { followJobKey, followPublicKeys, readFingerprintKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { importRows } from '../src/producer/import/import.ts';
import { createProducer } from '../src/producer/producer.ts';
import { connectRedis } from '../src/redis.ts';
import { tempDir } from './kit/files.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { waitFor } from './kit/wait.ts';

/** A worker is killed (-9) inside a row whose hash it stores; another one finishes. */

const world = await startProcessWorld();
const dir = tempDir();
const hook = new URL('kit/die-at.mjs', import.meta.url).href;
const quick = { PASSFERRY_V2_DEADLINE: '5s', PASSFERRY_V2_SETTLE: '1s', UV_THREADPOOL_SIZE: '2' };
const known = 'Zebra-Crossing-7';
const ends: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  await Promise.all(ends.map((end) => end()));
  await world.close();
});

const cases: [backend: 'v1' | 'v2', how: 'a hash of the file' | 'a hash made here', point: string][] = [
  ['v1', 'a hash of the file', 'job:applied'],
  ['v1', 'a hash of the file', 'job:committed'],
  ['v2', 'a hash of the file', 'job:attempted'],
  ['v2', 'a hash of the file', 'job:applied'],
  ['v2', 'a hash of the file', 'job:committed'],
  ['v2', 'a hash made here', 'job:attempted'],
  ['v2', 'a hash made here', 'job:applied'],
];

describe('a worker dies inside a hash row: one effect, and the row ends as set', () => {
  test.each(cases)('%s, %s: killed at %s', async (backend, how, point) => {
    const org = backend === 'v1' ? 'acme' : 'globex';
    const namespace = `h${randomUUID().slice(0, 8)}`;
    const place = await world.installation(namespace);
    const user = await world.addUser(org);
    const connect = () => connectRedis({ url: world.redis.url }, 'worker');
    const producer = createProducer({
      ...{ redis: connect(), connectEvents: connect, keys: redisKeys(namespace), retentionMs: 600_000 },
      ...{ jobKey: followJobKey(world.keysDir), publicKeys: followPublicKeys(world.keysDir) },
      fingerprintKey: readFingerprintKey(world.keysDir),
    });
    ends.push(() => producer.close());
    const dying = { NODE_OPTIONS: `--import ${hook}`, DIE_AT: point, DIE_ONCE: join(dir, randomUUID()) };
    const child = await place.work({ ...quick, ...dying });
    await waitFor(() => producer.isReady(), { what: 'the order to be confirmed' });
    const secret =
      how === 'a hash made here'
        ? { password: known }
        : { passwordHash: await makeHash('bcrypt', { cost: 10 }, Buffer.from(known)) };
    const { view } = await importRows(
      producer,
      {
        ...{ caller: 'tester', org, idempotencyKey: namespace },
        ...{ mayImport: () => true, isAdmin: () => true, mayImportHash: () => true },
      },
      Readable.from([Buffer.from(JSON.stringify({ userId: user, ...secret }))]),
      {
        choices: {
          ...{ changeRequired: false, overwriteNewer: false, asOf: 'now' },
          ...(how === 'a hash made here' && { hashHere: 10 }),
        },
        parse: { from: 'own' },
      },
    );
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    await place.work(quick);
    const done = await waitFor(
      async () => {
        const now = await producer.runs.view(view.id);
        return now?.state === 'completed' ? now : undefined;
      },
      { what: 'the run to end' },
    );
    expect(done).toMatchObject({ set: 1, failed: 0, notInEffect: 0 });
    expect(await world.changes(org, user)).toBe(1);
    if (backend === 'v2') expect(await world.sandbox.verify(user, known)).toBe(true);
  });
});
