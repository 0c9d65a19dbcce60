import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { followJobKey, rotateJobKey } from '../src/key-files.ts';
import { createHolds } from '../src/ledger/holds.ts';
import { importRows } from '../src/producer/import/import.ts';
import { sign, verify } from '../src/signature.ts';
import { tempDir } from './kit/files.ts';
import { keyScene, keysDir } from './kit/key-scene.ts';
import { runOptions } from './kit/pages.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const shared = await startRedis();
const scene = (dir: string) => keyScene(dir, shared);

describe('the job key', () => {
  it('rotates under jobs, outcomes, applied records, holds, data keys and idempotency keys', async () => {
    const dir = await keysDir();
    const { produce, work, ask, ended, redis, keys, ledgerOf } = await scene(dir);
    const producer = produce();
    const first = work();
    const done = await ask(producer, 'done');
    expect(await ended(producer, done.jobId)).toMatchObject({ result: 'set' });
    await first.close();
    const open = await ask(producer, 'open');
    const holds = () => createHolds(redis, keys, followJobKey(dir));
    await holds().put('v2', 'repair', 'c');
    await rotateJobKey(dir);

    const after = produce();
    expect((await ledgerOf().job(done.jobId))?.outcome).toMatchObject({ result: 'set' });
    const again = [await ask(after, 'done', done.word), await ask(after, 'open', open.word)];
    expect(again).toMatchObject([
      { jobId: done.jobId, replayed: true },
      { jobId: open.jobId, replayed: true },
    ]);
    expect(await holds().all()).toMatchObject({ holds: [{ backend: 'v2', reason: 'repair' }], forged: [] });
    work();
    // Signed before, sealed under a data key signed before; its outcome is signed with the new key.
    expect(await ended(after, open.jobId)).toMatchObject({ result: 'set' });
    const record = await redis.hgetall(keys.user('o', done.word));
    const [seq, jobId, changedAt, mac] = (record.v1 as string).split(':') as [string, string, string, string];
    const parts = ['o', done.word, 'v1', seq, jobId, Number(changedAt)];
    expect(verify(followJobKey(dir), 'applied', parts, mac)).toBe(true);
  });

  it('rotates under an import: the rest of a cut upload goes on with the same run, also while only one machine has changed', async () => {
    const [dir, machine] = [await keysDir(), join(tempDir(), 'keys')];
    const { produce, work } = await scene(dir);
    const file = (cutAfter?: number) => {
      const rows = Array.from({ length: 1_200 }, (_, i) => `u${i},Import-password-${i}\n`);
      const lines = ['userId,password\n', ...rows];
      return Readable.from(
        (function* () {
          yield Buffer.from(lines.slice(0, cutAfter).join(''));
          if (cutAfter !== undefined) throw new Error('cut');
        })(),
      );
    };
    const upload = (producer: ReturnType<typeof produce>, body: Readable) =>
      importRows(
        producer,
        { caller: 'c', org: 'o', idempotencyKey: 'file', mayImport: () => true, isAdmin: () => true },
        body,
        {
          choices: { changeRequired: true, overwriteNewer: false, asOf: 'now' },
          parse: { format: 'csv' },
        },
      );
    const producer = produce();
    const id = await producer.runId('c', 'o', 'file');
    await expect(upload(producer, file(800))).rejects.toThrow('cut');
    await rotateJobKey(dir, { prepare: true });
    cpSync(dir, machine, { recursive: true });
    await rotateJobKey(dir);
    const after = produce();
    expect((await upload(after, file())).view).toMatchObject({ id, received: 1_200 });
    // And the other way round: what a changed machine began, one that only prepared goes on with.
    const begun = await after.runs.open({
      id: await after.runId('c', 'o', 'new'),
      caller: 'c',
      org: 'o',
      expiresInMs: 60_000,
      options: runOptions,
    });
    expect(begun.isNew).toBe(true);
    expect(await produce(machine).runId('c', 'o', 'new')).toBe(await after.runId('c', 'o', 'new'));
    work();
    await waitFor(async () => (await after.runs.view(id))?.state === 'completed', {
      what: 'the run',
    });
    expect(await after.runs.view(id)).toMatchObject({ received: 1_200, set: 1_200, failed: 0 });
  });

  it('changed by another process is no forgery a moment later', async () => {
    const dir = await keysDir();
    const key = followJobKey(dir);
    expect(key.previous).toBeUndefined();
    await rotateJobKey(dir);
    const mac = sign(followJobKey(dir), 'hold', ['x']);
    expect(verify(key, 'hold', ['x'], mac)).toBe(true);
    expect(verify(key, 'hold', ['y'], mac)).toBe(false);
    // A half-copied file leaves what was known.
    writeFileSync(join(dir, 'shared.json'), '{"current":');
    expect(verify(key, 'hold', ['x'], mac)).toBe(true);
  });

  it('prepared on all machines first, each accepts what the others sign, in whatever order they change', async () => {
    const [one, two] = [await keysDir(), join(tempDir(), 'keys')];
    await rotateJobKey(one, { prepare: true });
    cpSync(one, two, { recursive: true });
    await rotateJobKey(one);
    const [changed, prepared] = [followJobKey(one), followJobKey(two)];
    expect(changed.current).toEqual(prepared.next);
    expect(verify(prepared, 'hold', ['x'], sign(changed, 'hold', ['x']))).toBe(true);
    expect(verify(changed, 'hold', ['x'], sign(prepared, 'hold', ['x']))).toBe(true);
    const { produce, ask } = await scene(one);
    const first = await ask(produce(one), 'same');
    expect(await ask(produce(two), 'same', first.word)).toMatchObject({ jobId: first.jobId, replayed: true });
  });

  it('is not changed twice while what the one before signed may live, unless forced', async () => {
    const dir = await keysDir();
    await rotateJobKey(dir);
    await expect(rotateJobKey(dir)).rejects.toMatchObject({ reason: 'key_refused' });
    const before = followJobKey(dir).current;
    await rotateJobKey(dir, { force: true });
    expect(followJobKey(dir).previous).toEqual(before);
  });
});
