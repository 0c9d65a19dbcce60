import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { Secret } from '../src/secret.ts';
import { names, type RunBackends, startRunBackends } from './kit/run-backends.ts';

/** A dry run tells what the real run would come to, and changes nothing (P8). */

describe('a dry run', () => {
  let scene: RunBackends;

  beforeAll(async () => {
    scene = await startRunBackends({ policies: { globex: { minLength: 12 } }, mails: true });
    await scene.worker();
    for (const org of ['acme', 'globex'] as const) {
      await scene.addUsers(org, names(org, 6));
      await scene.addUsers(org, [`${org}-locked`], { state: 'locked' });
      await scene.addUsers(org, [`${org}-inactive`], { state: 'inactive' });
      await scene.addUsers(org, [`${org}-initial`], { state: 'initial', never: true });
      await scene.addUsers(org, [`${org}-machine`], { isMachine: true, never: true });
    }
  });

  const file = (org: string) => [
    ...names(org, 4).map((user) => ({ user })),
    ...['locked', 'inactive', 'initial', 'machine', 'unknown'].map((who) => ({ user: `${org}-${who}` })),
    { user: `${org}-5`, password: 'Short1!' },
    // Older than what the user has: a file says so.
    { user: `${org}-6`, asOf: Date.now() - 86_400_000 },
  ];

  /** Everything Redis and both backends hold, but for what belongs to runs and to the work itself. */
  async function everything(): Promise<string> {
    const hash = createHash('sha256');
    const all = (await scene.redis.keys('*')).sort();
    for (const key of all) {
      if (
        /:(run|page|page-ends|page-secret|run-notes|org-runs|active-runs|feed-lease|row-turns|q|beat|beats|stages|sequence|epoch|epoch-tick|data-key|counters|events)(:|$)/.test(
          key.replace(/^[^}]*}/, ''),
        )
      )
        continue;
      hash.update(key).update((await scene.redis.dumpBuffer(key)) ?? '');
    }
    for (const user of scene.sandbox.users.values()) hash.update(JSON.stringify(user));
    for (const name of [...names('acme', 6), 'acme-locked', 'acme-initial']) {
      hash.update(JSON.stringify(await scene.v1.readUser('acme', name, AbortSignal.timeout(5_000))));
    }
    hash.update(String(await scene.v1.highestSequence(AbortSignal.timeout(5_000))));
    return hash.digest('hex');
  }

  const endsOf = async (id: string, n: number) =>
    Promise.all(Array.from({ length: n }, (_, i) => scene.ended(id, i + 1)));

  it.each([
    ['v1', 'acme'],
    ['v2', 'globex'],
  ] as const)('judges every row as the real run ends it, on %s, and changes nothing', async (_, org) => {
    const before = await everything();
    const dry = await scene.run(org, file(org), { dryRun: true });
    const foretold = await scene.until(dry, 'completed');
    expect(await everything()).toBe(before);
    expect(foretold).toMatchObject({
      set: 0,
      unchanged: 0,
      wouldSet: 6,
      stale: 1,
      failed: 4,
      finished: 11,
      inflight: 0,
    });
    const verdicts = await endsOf(dry, 11);

    const real = await scene.run(org, file(org), { mails: 'allow' });
    const done = await scene.until(real, 'completed');
    expect(verdicts.map((end) => (end === 'would_set' ? 'set' : end))).toEqual(await endsOf(real, 11));
    expect(foretold.notInEffect).toBe(done.notInEffect);
    expect(verdicts).toEqual([
      ...Array(6).fill('would_set'),
      ...['COMMAND-M9dse', 'COMMAND-G8dh3', 'COMMAND-G8dh3', 'DOMAIN-HuJf6', 'stale'],
    ]);
  });

  it('counts users whose state deserves a look, forced changes and mails', async () => {
    const { forecast } = await scene.until(
      await scene.run(
        'globex',
        file('globex').map((row) => ({ ...row, changeRequired: true })),
        { dryRun: true },
      ),
      'completed',
    );
    expect(forecast).toMatchObject({
      rows: 6,
      locked: 1,
      inactive: 1,
      initial: 1,
      machine: 1,
      changeRequired: 6,
      mails: 6,
    });
    // Whether a password was used before only ZITADEL can tell; the rest was read.
    expect(forecast?.unchecked).toEqual(['reuse']);
  });

  it('foretells core-hours and time from a hash that was timed', async () => {
    const { forecast } = await scene.until(await scene.run('acme', file('acme'), { dryRun: true }), 'completed');
    expect(forecast).toMatchObject({ coreHours: expect.any(Number), seconds: 1, limitedBy: 'hashing', unchecked: [] });
    const limited = await scene.until(await scene.run('acme', file('acme'), { dryRun: true, rate: 1 }), 'completed');
    expect(limited.forecast).toMatchObject({ seconds: limited.wouldSet, limitedBy: 'rate' });
  });

  it('says that it could not look at a policy, and counts mails then', async () => {
    // A service account that may write users and read no policy.
    const weak = await startSandbox({
      ...{ bcryptCost: 4, orgs: ['globex'], users: [{ id: 'u', org: 'globex', userName: 'u' }] },
      tokens: { weak: { userId: 'w', roles: { instance: ['IAM_USER_MANAGER'] } } },
    });
    const v2 = createV2Zitadel({ url: weak.url, credential: credential({ value: 'weak' }) });
    const change = {
      ...{ jobId: 'j', org: 'globex', user: 'u', seq: 1n, acceptedAt: Date.now(), changeRequired: false },
      ...{ overwriteNewer: false, password: Secret.fromString('Aa1!aaaaaaaa') },
    };
    const said = await v2.rehearse?.(change, AbortSignal.timeout(5_000));
    expect(said).toMatchObject({ end: 'set', state: 'active', mail: true, unchecked: ['reuse', 'mails'] });
    await v2.close();
    await weak.close();
  });

  it('pauses, goes on and is cancelled like a real one, and is kept for a day at most', async () => {
    const ids = names('many', 1_200);
    await scene.addUsers('acme', ids, { never: true });
    const id = await scene.run(
      'acme',
      ids.map((user) => ({ user })),
      { dryRun: true, expiresInMs: 10 * 86_400_000 },
    );
    await scene.producer.runs.order(id, 'pause');
    const paused = await scene.until(id, 'paused');
    expect(paused.finished).toBeLessThan(1_200);
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'completed')).toMatchObject({ wouldSet: 1_200, finished: 1_200, notInEffect: 0 });
    expect(await scene.redis.pttl(scene.keys.run(id))).toBeLessThanOrEqual(86_400_000);
    expect(await scene.redis.pttl(scene.keys.page(id, 0))).toBeLessThanOrEqual(86_400_000);

    const other = await scene.run(
      'acme',
      ids.map((user) => ({ user })),
      { dryRun: true },
    );
    await scene.producer.runs.order(other, 'cancel');
    const over = await scene.until(other, 'cancelled');
    expect((over.wouldSet ?? 0) + over.canceled).toBe(1_200);
  });

  it('has no rejects for rows that would be set, and its rows are no jobs', async () => {
    const id = await scene.run('acme', file('acme'), { dryRun: true });
    const view = await scene.until(id, 'completed');
    const rejects: (number | undefined)[] = [];
    for await (const row of scene.producer.runs.rejects(view)) rejects.push(row.row);
    expect(rejects).toEqual([7, 8, 9, 10, 11]);
    expect(await scene.producer.view(`${id}-1`)).toBeUndefined();
  });
});
