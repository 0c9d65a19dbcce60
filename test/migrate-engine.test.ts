import { beforeAll, describe, expect, it } from 'vitest';
import { createMigrated } from '../src/ledger/migrated.ts';
import { type MigrationScene, passwordOf, startMigrationScene } from './kit/migration-scene.ts';
import { names } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** What steers a migration, and what stops it. */

const orgs = Array.from({ length: 10 }, (_, i) => `org-${i}`);

describe('a migration under way', () => {
  let scene: MigrationScene;

  beforeAll(async () => {
    scene = await startMigrationScene({ orgs });
    const dual = Object.fromEntries(orgs.map((org) => [org, 'dual-v1' as const]));
    await scene.worker({ stages: { default: 'v1', organizations: { ...dual, acme: 'dual-v1' } } });
    await scene.people(names('a', 300).map((id) => ({ id })));
    for (const org of orgs) await scene.people(names(org, 5).map((id) => ({ id, org })));
  });

  const idOf = (opened: Awaited<ReturnType<MigrationScene['migrate']>>) => {
    if ('busy' in opened) throw new Error('another one is open');
    return opened.view.id;
  };

  it('pauses, is tuned, goes on, and is cancelled; its counters stay exact', async () => {
    const id = idOf(await scene.migrate('execute', ['acme'], { rate: 20 }));
    await waitFor(async () => (await scene.view(id)).finished > 5, { what: 'some are through' });
    expect(await scene.view(id)).toMatchObject({ limitedBy: 'rate' });
    await scene.producer.runs.order(id, 'pause');
    const paused = await scene.until(id, 'paused');
    expect(paused.finished).toBeLessThan(300);
    await scene.producer.runs.tune(id, { rate: null, concurrency: 3 });
    expect((await scene.view(id)).options).toMatchObject({ concurrency: 3 });
    expect((await scene.view(id)).options.rate).toBeUndefined();
    await scene.producer.runs.order(id, 'resume');
    await waitFor(async () => (await scene.view(id)).finished > paused.finished + 5, { what: 'it goes on' });
    await scene.producer.runs.order(id, 'cancel');
    const over = await scene.until(id, 'cancelled');
    expect((over.mirrored ?? 0) + over.unchanged + over.canceled).toBe(300);
    const done = await scene.done('execute', ['acme']);
    expect((done.mirrored ?? 0) + done.unchanged).toBe(300);
    for (const user of ['a-1', 'a-300']) expect(await scene.sandbox.verify(user, passwordOf(user))).toBe(true);
  });

  it('stands still outside of its hours, and is told to', async () => {
    const at = (ms: number) => new Date(Date.now() + ms).toISOString().slice(11, 16);
    const window = `${at(6 * 3_600_000)}-${at(7 * 3_600_000)}`;
    const id = idOf(await scene.migrate('execute', ['org-0'], { window }));
    await waitFor(async () => (await scene.view(id)).limitedBy === 'window', { what: 'it waits for its hours' });
    expect(await scene.view(id)).toMatchObject({ finished: 0, state: 'running' });
    await scene.producer.runs.tune(id, { window: null });
    expect(await scene.until(id, 'completed')).toMatchObject({ mirrored: 5 });
  });

  it('is one for each organization: the second is told which', async () => {
    const first = idOf(await scene.migrate('execute', ['org-1', 'org-2'], { rate: 0.1 }));
    expect(await scene.migrate('execute', ['org-2', 'org-3'])).toEqual({ busy: first });
    expect(await scene.migrate('reconcile', ['org-1'])).toEqual({ busy: first });
    // A plan changes nothing, and what was refused has taken nothing.
    expect(await scene.done('plan', ['org-2'])).toMatchObject({ finished: 5 });
    expect(await scene.done('execute', ['org-3'])).toMatchObject({ mirrored: 5 });
    await scene.producer.runs.order(first, 'cancel');
    await scene.until(first, 'cancelled');
    await waitFor(async () => !('busy' in (await scene.migrate('execute', ['org-1']))), { what: 'it was given back' });
  });

  it('is refused where only one backend is written, organization by organization', async () => {
    await expect(scene.migrate('execute', ['acme', 'globex'])).rejects.toMatchObject({
      reason: 'stage_not_dual',
      fields: [{ field: 'organizations[1]', reason: 'stage_not_dual' }],
    });
  });

  it('leaves on record what it has seen', async () => {
    const migrated = createMigrated(scene.redis, scene.keys, scene.jobKey);
    await scene.done('execute', ['org-4']);
    await waitFor(async () => (await migrated.of('org-4')).backfill, { what: 'the end is on record' });
    expect((await migrated.of('org-4')).backfill).toMatchObject({ seen: 5, notInStep: 0, differences: 5 });
    await scene.done('execute', ['org-4']);
    const caught = await waitFor(async () => (await migrated.of('org-4'))['catch-up'], { what: 'the second too' });
    expect(caught).toMatchObject({ org: 'org-4', seen: 5, notInStep: 0, differences: 0 });
    await scene.redis.hset(scene.keys.migrated, 'backfill org-4', 'x {"org":"org-4"}');
    expect((await migrated.of('org-4')).backfill).toBeUndefined();
  });
});
