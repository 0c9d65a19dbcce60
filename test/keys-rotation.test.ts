import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SetPasswordData } from '../src/job.ts';
import {
  addPair,
  destroyPair,
  followJobKey,
  listPairs,
  readPrivateKeys,
  readPublicKeys,
  retirePair,
} from '../src/key-files.ts';
import { countDataKeys, dataKeyStore } from '../src/ledger/data-keys.ts';
import { createOpener } from '../src/seal.ts';
import { jobParts, sign } from '../src/signature.ts';
import { tempDir } from './kit/files.ts';
import { keyScene, keysDir } from './kit/key-scene.ts';
import { startRedis } from './kit/redis.ts';
import { waitFor } from './kit/wait.ts';

const shared = await startRedis();
const scene = (dir: string, server = shared, namespace?: string) => keyScene(dir, server, namespace);

const only = (dir: string) => (readPrivateKeys(dir)[0] as { kid: string }).kid;

describe('key pairs', () => {
  it('rotate while jobs wait: the old ones open, new ones use the new pair, and nothing restarts', async () => {
    const dir = await keysDir();
    const { produce, work, ask, ended, set, redis, keys } = await scene(dir);
    const [before, old] = [produce(), only(dir)];
    const waiting = [await ask(before), await ask(before)];
    const worker = work();
    await worker.ready;
    expect(await ended(before, waiting[0]?.jobId as string)).toMatchObject({ result: 'set' });
    const kid = await addPair(dir);
    // A producer that makes its next data key; the worker has never seen this pair.
    const next = await ask(produce());
    const late = await ask(before);
    for (const { jobId, word } of [...waiting, next, late]) {
      expect(await ended(before, jobId)).toMatchObject({ result: 'set' });
      expect(set.get(word)).toBe(word);
    }
    expect(await countDataKeys(redis, keys)).toEqual(new Map([old, kid].map((each) => [each, 1])));
  });

  it('copied in the wrong order only delay: the job waits for its key and ends well', async () => {
    const [dir, machine] = [await keysDir(), join(tempDir(), 'keys')];
    cpSync(dir, machine, { recursive: true });
    const { produce, work, ask, ended, ledgerOf, queue } = await scene(dir);
    await work(machine).ready;
    await addPair(dir);
    const producer = produce();
    const { jobId } = await ask(producer);
    await waitFor(async () => (await ledgerOf().job(jobId))?.waitingFor === 'sealed_key_unknown', {
      what: 'the job to wait for its key',
    });
    cpSync(join(dir, 'private.json'), join(machine, 'private.json'));
    const job = await queue.getJob(jobId);
    await waitFor(async () => (await job?.isDelayed()) === true, { what: 'the job to be put off' });
    await job?.promote();
    expect(await ended(producer, jobId)).toMatchObject({ result: 'set' });
  });

  it('made by many at once are all there, one is active, and the public file holds no private half', async () => {
    const dir = await keysDir();
    const first = only(dir);
    const made = await Promise.all(Array.from({ length: 8 }, () => addPair(dir)));
    const pairs = readPrivateKeys(dir);
    expect(pairs.map(({ kid }) => kid).sort()).toEqual([first, ...made].sort());
    expect(pairs.filter(({ state }) => state === 'active')).toHaveLength(1);
    expect(readPublicKeys(dir).map(({ kid, state }) => [kid, state])).toEqual(
      pairs.map(({ kid, state }) => [kid, state]),
    );
    expect(readFileSync(join(dir, 'public.json'), 'utf8')).not.toContain('"d"');
    expect(readdirSync(dir).sort()).toEqual(['fingerprint.json', 'private.json', 'public.json', 'shared.json']);
  });

  it('keep at least one active, destroy no active one, and know what they do not know', async () => {
    const dir = await keysDir();
    const first = only(dir);
    const reason = (name: string) => expect.objectContaining({ reason: name });
    await expect(retirePair(dir, first)).rejects.toEqual(reason('key_refused'));
    await expect(destroyPair(dir, first)).rejects.toEqual(reason('key_refused'));
    await expect(destroyPair(dir, 'nobody')).rejects.toEqual(reason('key_unknown'));
    const second = await addPair(dir);
    await expect(retirePair(dir, second)).rejects.toEqual(reason('key_refused'));
    await retirePair(dir, first);
    await destroyPair(dir, first);
    await destroyPair(dir, first);
    await expect(retirePair(dir, first)).rejects.toEqual(reason('key_refused'));
    expect(listPairs(dir)).toMatchObject([
      { kid: second, state: 'active' },
      { kid: first, state: 'destroyed', destroyedAt: expect.any(String) },
    ]);
  });

  it('destroyed end their jobs with a clear code, as do moved and truncated passwords; neighbours end well', async () => {
    const dir = await keysDir();
    const { produce, work, ask, ended, queue, set } = await scene(dir);
    const old = only(dir);
    const lost = await ask(produce());
    await addPair(dir);
    await destroyPair(dir, old);
    const producer = produce();
    const [moved, truncated, altered, whole] = [
      await ask(producer),
      await ask(producer),
      await ask(producer),
      await ask(producer),
    ];
    // By somebody who has the job key too.
    const replace = async (
      jobId: string,
      change: (data: SetPasswordData) => Partial<SetPasswordData>,
      resign = true,
    ) => {
      const job = await queue.getJob(jobId);
      const data = { ...job?.data, ...change(job?.data) };
      await job?.updateData(resign ? { ...data, mac: sign(followJobKey(dir), 'job', jobParts(data)) } : data);
    };
    const other = (await queue.getJob(whole.jobId))?.data as SetPasswordData;
    await replace(moved.jobId, () => ({ sealed: other.sealed, dataKey: other.dataKey }));
    await replace(truncated.jobId, ({ sealed }) => ({ sealed: sealed.slice(0, -8) }));
    await replace(altered.jobId, ({ sealed }) => ({ sealed: `${sealed.slice(0, -8)}AAAAAAAA` }), false);
    work();
    expect(await ended(producer, lost.jobId)).toMatchObject({ reason: 'sealed_key_destroyed', inEffect: false });
    expect(await ended(producer, moved.jobId)).toMatchObject({ reason: 'sealed_unreadable' });
    expect(await ended(producer, truncated.jobId)).toMatchObject({ reason: 'sealed_unreadable' });
    expect(await ended(producer, whole.jobId)).toMatchObject({ result: 'set', inEffect: true });
    await waitFor(async () => (await queue.getJob(altered.jobId))?.failedReason === 'job_forged', {
      what: 'the job that somebody without the job key altered to be refused',
    });
    expect([...set.keys()]).toEqual([whole.word]);
  });

  it('destroyed leave an old append-only file that nothing in the keys directory opens', async () => {
    const [dir, aside] = [await keysDir(), join(tempDir(), 'aside')];
    const server = await startRedis();
    const { produce, ask, keys } = await scene(dir, server, 'old');
    const accepted = await Promise.all(Array.from({ length: 5 }, () => ask(produce())));
    const backup = join(tempDir(), 'redis');
    cpSync(server.dir, backup, { recursive: true });
    cpSync(dir, aside, { recursive: true });
    const { kid, jwk } = readPrivateKeys(dir)[0] as { kid: string; jwk: { d: string } };
    await addPair(dir);
    await destroyPair(dir, kid);
    for (const name of readdirSync(dir)) expect(readFileSync(join(dir, name), 'utf8')).not.toContain(jwk.d);

    const restored = await startRedis({ dir: backup });
    const { queue, work, redis, produce: produceOn, ended } = await scene(dir, restored, 'old');
    const store = dataKeyStore(redis, keys);
    const waiting = (await queue.getJobs(['waiting', 'prioritized', 'delayed'])).map((job) => job.data);
    expect(waiting).toHaveLength(accepted.length);
    for (const data of waiting) {
      const open = (from: string) => createOpener(readPrivateKeys(from), followJobKey(from), store)(data, data);
      await expect(open(dir)).rejects.toMatchObject({ reason: 'sealed_key_destroyed' });
      // With the pair it would open: the file is whole, and only the key is missing.
      expect((await open(aside)).reveal()).toBe(data.user);
    }
    work();
    const asker = produceOn();
    for (const { jobId } of accepted) {
      expect(await ended(asker, jobId)).toMatchObject({ reason: 'sealed_key_destroyed' });
    }
  });
});
