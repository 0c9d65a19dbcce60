import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import type { BackendName } from '../src/job.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { keysDir, sandbox, scene, server, toleranceMs, v2Token } from './kit/ledger-scene.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

/** What somebody with access to Redis, or a clock that is wrong, cannot bring about. */

const both = ['v1', 'v2'] as const;

describe('a signed job that somebody with access to Redis puts back', () => {
  async function captured(name: BackendName) {
    const s = await scene();
    const user = await s.addUser(name);
    await (await s.work()).close();
    const [older, newer] = [newPassword(), newPassword()];
    const job = await s.ask(name, user, older);
    const data = (await s.queue.getJob(job))?.data;
    await s.work();
    expect(await s.producer.wait(job, 10_000)).toMatchObject({ result: 'set' });
    const putBack = async (...gone: string[]) => {
      await s.redis.del(...gone);
      await (await s.queue.getJob(job))?.remove();
      await s.queue.add('set-password', data, { jobId: job, removeOnComplete: true });
    };
    return { s, user, job, older, newer, putBack };
  }

  it.each([
    ['v1', 'superseded'],
    ['v2', 'stale'],
  ] as const)('%s: without its records and after a newer one it ends %s', async (name, result) => {
    const { s, user, job, newer, putBack } = await captured(name);
    const accepted = Date.parse((await s.producer.job(job))?.acceptedAt ?? '');
    await waitFor(() => Date.now() > accepted + toleranceMs, { what: 'the tolerance to pass' });
    await s.producer.wait(await s.ask(name, user, newer), 10_000);
    await putBack(s.keys.job(job), s.keys.user(name === 'v1' ? 'one' : 'two', user));
    expect(await s.producer.wait(job, 10_000)).toMatchObject({ result, inEffect: false });
    expect(await s.effects(name, user)).toBe(2);
    expect(await s.works(name, user, newer)).toBe(true);
  });

  it.each(both)('%s: with its outcome still there nothing happens', async (name) => {
    const { s, user, job, older, putBack } = await captured(name);
    const finished = (await s.producer.job(job))?.finishedAt;
    await putBack('nothing');
    await waitFor(async () => !(await s.queue.getJob(job)), { what: 'the queue to be rid of it' });
    expect((await s.producer.job(job))?.finishedAt).toBe(finished);
    expect(await s.effects(name, user)).toBe(1);
    expect(await s.works(name, user, older)).toBe(true);
  });

  it.each(both)('%s: without its outcome it is known as applied, and not sent again', async (name) => {
    const { s, user, job, older, putBack } = await captured(name);
    await putBack(s.keys.job(job));
    expect(await s.producer.wait(job, 10_000)).toMatchObject({ result: 'set', inEffect: true });
    expect(await s.effects(name, user)).toBe(1);
    expect(await s.works(name, user, older)).toBe(true);
  });
});

test('a data key that is not signed by us counts as absent and is reported', async () => {
  const s = await scene();
  const user = await s.addUser('v1');
  const job = await s.ask('v1', user);
  const dataKey: string = (await s.queue.getJob(job))?.data.dataKey;
  const stored = (await s.redis.get(s.keys.dataKey(dataKey))) as string;
  await s.redis.set(s.keys.dataKey(dataKey), `${stored.slice(0, -2)}xx`);
  await s.work();
  expect(await s.producer.wait(job, 10_000)).toMatchObject({ reason: 'sealed_key_destroyed' });
  expect(s.logged).toContainEqual(expect.objectContaining({ level: 50, what: 'data key', jobId: dataKey }));
  expect(await s.effects('v1', user)).toBe(0);
});

// The clock of the worker's machine decides nothing: times are those of Redis (F61).
test.each([3_600_000, -3_600_000])(
  'a worker whose clock is %i ms off sets, holds and releases as any other',
  async (off) => {
    const s = await scene();
    const hook = `const now = Date.now; Date.now = () => now() + ${off};`;
    const tokenFile = join(tempDir(), 'token');
    writeFileSync(tokenFile, v2Token);
    const worker = spawnNode(
      ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, 'src/cli/main.ts', 'work'],
      {
        PASSFERRY_REDIS_URL: server.url,
        PASSFERRY_KEYS_DIR: keysDir,
        PASSFERRY_NAMESPACE: s.keys.namespace,
        PASSFERRY_STAGES: 'v2',
        PASSFERRY_V2_URL: sandbox.url,
        PASSFERRY_V2_TOKEN_FILE: tokenFile,
        PASSFERRY_EPOCH_FILE: join(tempDir(), 'epoch'),
      },
    );
    const user = await s.addUser('v2');
    const first = await s.ask('v2', user);
    await waitFor(async () => (await s.producer.job(first))?.done, {
      what: 'the first job',
    }).catch((error) => {
      throw new Error(worker.lines().join('\n'), { cause: error });
    });
    expect((await s.producer.job(first))?.outcome).toMatchObject({ result: 'set' });
    await s.holds.put('v2', 'look', 'ann');
    const job = await s.ask('v2', user);
    await s.waits(job);
    expect(await s.effects('v2', user)).toBe(1);
    await s.holds.lift('v2');
    expect(await s.producer.wait(job, 20_000)).toMatchObject({ result: 'set', inEffect: true });
    expect(await s.effects('v2', user)).toBe(2);
    worker.kill9();
    await worker.exited;
  },
);
