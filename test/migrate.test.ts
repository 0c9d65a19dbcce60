import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { type MigrationScene, passwordOf, startMigrationScene } from './kit/migration-scene.ts';
import { names } from './kit/run-backends.ts';

/** A plan tells what a migration would come to and changes nothing; then everybody is brought over, once. */

describe('a migration', () => {
  let scene: MigrationScene;
  const ok = names('ok', 504);

  beforeAll(async () => {
    scene = await startMigrationScene();
    await scene.worker({ stages: { default: 'v1', organizations: { acme: 'dual-v1', globex: 'dual-v1' } } });
    await scene.people([
      ...ok.map((id) => ({ id })),
      { id: 'no-hash', v1: 'none' },
      { id: 'missing', v2: 'missing' },
      { id: 'ahead', v2: 'Chosen-in-v2-1!' },
      { id: 'other', email: 'one@example.com' },
      { id: 'initial', state: 'initial' },
      { id: 'locked', state: 'locked' },
      { id: 'not-asked', org: 'globex' },
    ]);
    // Somebody else's account.
    const other = scene.sandbox.users.get('other') as { email?: string };
    other.email = 'two@example.com';
  });

  async function everything(): Promise<string> {
    const hash = createHash('sha256');
    for (const user of scene.sandbox.users.values()) hash.update(JSON.stringify(user));
    for (const key of (await scene.redis.keys('*:user:*')).sort())
      hash.update((await scene.redis.dumpBuffer(key)) ?? '');
    for (const key of (await scene.redis.keys('*:behind:*')).sort()) hash.update(key);
    for (const id of ['ok-1', 'no-hash', 'missing']) {
      hash.update(JSON.stringify(await scene.v1.readUser('acme', id, AbortSignal.timeout(5_000))));
    }
    return hash.digest('hex');
  }

  it('plans exactly and changes nothing', async () => {
    const before = await everything();
    const plan = await scene.done('plan', ['acme']);
    expect(await everything()).toBe(before);
    expect(plan).toMatchObject({ accepted: 510, finished: 510, wouldMirror: 505, failed: 5, notInEffect: 5 });
    expect(plan.migration).toMatchObject({
      mode: 'plan',
      verdicts: {
        would_mirror: 505,
        no_hash: 1,
        user_missing_in_v2: 1,
        ahead: 1,
        identity_mismatch: 1,
        user_initial: 1,
      },
      hashes: { 'bcrypt cost=10': 509 },
      states: { 'v2 locked': 1, 'v2 initial': 1 },
      forecast: { users: 505, mails: 0, limitedBy: 'concurrency' },
    });
    expect(Object.keys(plan.migration?.organizations ?? {})).toEqual(['acme']);
    expect(await scene.rejects(plan)).toEqual({
      'no-hash': 'no_hash',
      missing: 'user_missing_in_v2',
      ahead: 'ahead',
      other: 'identity_mismatch',
      initial: 'user_initial',
    });
  });

  it('brings everybody over, once, and keeps what is newer in v2', async () => {
    const done = await scene.done('execute', ['acme']);
    expect(done).toMatchObject({ mirrored: 505, failed: 5, finished: 510, set: 0 });
    for (const id of ['ok-1', 'ok-333', 'ok-504', 'locked']) {
      expect(await scene.sandbox.verify(id, passwordOf(id)), id).toBe(true);
    }
    expect(await scene.sandbox.verify('ahead', 'Chosen-in-v2-1!')).toBe(true);
    expect(await scene.sandbox.verify('other', passwordOf('other'))).toBe(false);
    expect(scene.sandbox.users.get('not-asked')?.hash).toBeUndefined();
    expect(done.migration?.probes).toEqual({ 'v2 bcrypt cost=10': expect.any(String) });

    const again = await scene.done('execute', ['acme']);
    expect(again).toMatchObject({ unchanged: 505, failed: 5, finished: 510 });
    expect(again.mirrored ?? 0).toBe(0);
  });

  it('finds in a later run what an application has written in v1 itself', async () => {
    await scene.writeV1('ok-7', 'Of-the-application-1!');
    const caught = await scene.done('execute', ['acme']);
    expect(caught).toMatchObject({ mirrored: 1, unchanged: 504 });
    expect(await scene.sandbox.verify('ok-7', 'Of-the-application-1!')).toBe(true);
  });

  it('adds who is missing where that is asked for', async () => {
    await scene.people([{ id: 'new', userName: 'newcomer', email: 'new@example.com', v2: 'missing' }]);
    const plan = await scene.done('plan', ['acme'], { create: true });
    expect(plan.migration?.verdicts).toMatchObject({ would_create: 1, profile_incomplete: 1, unchanged: 505 });
    expect(scene.sandbox.users.has('new')).toBe(false);
    const done = await scene.done('execute', ['acme'], { create: true });
    expect(done.migration?.verdicts).toMatchObject({ created: 1, profile_incomplete: 1, unchanged: 505 });
    expect(await scene.sandbox.verify('new', passwordOf('new'))).toBe(true);
    const again = await scene.done('execute', ['acme'], { create: true });
    expect(again.migration?.verdicts).toMatchObject({ unchanged: 506 });
  });

  it('compares both sides by reading alone', async () => {
    await scene.writeV1('ok-9', 'Of-the-application-2!');
    const before = await everything();
    const found = await scene.done('reconcile', ['acme']);
    expect(await everything()).toBe(before);
    expect(found.migration?.verdicts).toEqual({ equal: 506, behind: 1, ahead: 1, missing: 1, unknown: 2 });
    expect(await scene.rejects(found)).toMatchObject({
      'ok-9': 'behind',
      ahead: 'ahead',
      missing: 'user_missing_in_v2',
    });
  });
});
