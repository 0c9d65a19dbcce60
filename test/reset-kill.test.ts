import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readFingerprintKey, readJobKey, readPublicKeys } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createProducer } from '../src/producer/producer.ts';
import { resetUsers } from '../src/producer/resets/reset.ts';
import { connectRedis } from '../src/redis.ts';
import { type ProcessWorld, startProcessWorld } from './kit/process-world.ts';
import { waitFor } from './kit/wait.ts';

let world: ProcessWorld;

beforeAll(async () => {
  world = await startProcessWorld();
});
afterAll(() => world?.close());

const users = 60;

test('two workers killed in the middle of sending links: nobody gets two mails, and each row says what is known (P2)', async () => {
  const namespace = `n${randomUUID().slice(0, 8)}`;
  const { work } = await world.installation(namespace);
  const env = { PASSFERRY_V2_DEADLINE: '2s', PASSFERRY_V2_CONCURRENCY: '4' };
  const ids = await Promise.all(Array.from({ length: users }, () => world.addUser('globex')));
  world.sandbox.faults.add({ call: 'PasswordReset', fault: { kind: 'latency', ms: 60 } });
  let worker = await work(env);

  const { keysDir, redis } = world;
  const connect = (kind: 'producer' | 'worker') => connectRedis({ url: redis.url }, kind);
  // It fails at once while it is not connected.
  const own = connect('producer');
  await waitFor(() => own.status === 'ready', { what: 'a connection' });
  const producer = createProducer({
    ...{ redis: own, connectEvents: () => connect('worker'), keys: redisKeys(namespace) },
    ...{ publicKeys: readPublicKeys(keysDir), jobKey: readJobKey(keysDir), retentionMs: 600_000 },
    fingerprintKey: readFingerprintKey(keysDir),
  });
  try {
    const asker = {
      ...{ caller: 'c', org: 'globex', idempotencyKey: 'links' },
      ...{ mayImport: () => true, isAdmin: () => true },
    };
    const choices = { mode: 'link', by: 'id', changeRequired: true, endSessions: false } as const;
    const list = Readable.from([Buffer.from(`userId\n${ids.join('\n')}\n`)]);
    const { id } = await resetUsers(producer, asker, list, { choices, expiresInMs: 600_000 });

    for (const after of [users / 5, users / 2]) {
      await waitFor(() => world.sandbox.mails.length >= after, { what: `${after} mails` });
      worker.kill9();
      await worker.exited;
      worker = await work(env);
    }
    const run = await waitFor(
      async () => {
        const view = await producer.runs.view(id);
        return view?.state === 'completed' ? view : undefined;
      },
      { what: 'the run to be over' },
    );

    const mails = ids.map((user) => world.sandbox.mails.filter((mail) => mail.user === user).length);
    expect(Math.max(...mails)).toBe(1);
    const uncertain = [];
    for await (const row of producer.runs.rejects(run)) uncertain.push(row.reason);
    expect(new Set(uncertain)).toEqual(new Set(['link_uncertain']));
    expect(run.linkSent + uncertain.length).toBe(users);
    expect(run).toMatchObject({ failed: uncertain.length, finished: users });
    // At most what was being sent when the workers were killed.
    expect(uncertain.length).toBeLessThanOrEqual(8);
    expect(world.sandbox.mails.length).toBeGreaterThanOrEqual(run.linkSent);
  } finally {
    await producer.close();
  }
});
