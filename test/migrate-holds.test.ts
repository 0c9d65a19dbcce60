import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { makeHash } from '../src/hashes/make.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import type { HoldReason, RunView } from '../src/run.ts';
import { type MigrationScene, passwordOf, startMigrationScene } from './kit/migration-scene.ts';
import { names } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** What makes a migration hold by itself, and what lets it go on: by itself where that is safe, else a person. */

const orgs = ['failing', 'slow', 'refused', 'denied', 'locked', 'growing'];

describe('a migration holds by itself', () => {
  let scene: MigrationScene;

  beforeAll(async () => {
    scene = await startMigrationScene({ orgs });
    const dual = Object.fromEntries(orgs.map((org) => [org, 'dual-v1' as const]));
    await scene.worker({ stages: { default: 'v1', organizations: dual }, organizationMs: 2_000 });
  });

  const people = (org: string, n: number) => scene.people(names(org, n).map((id) => ({ id, org })));

  async function begin(org: string, options: Parameters<MigrationScene['migrate']>[2] = {}): Promise<string> {
    const opened = await scene.migrate('execute', [org], options);
    if ('busy' in opened) throw new Error('another one is open');
    return opened.view.id;
  }

  const held = (id: string, reason: HoldReason): Promise<RunView> =>
    waitFor(
      async () => {
        const view = await scene.view(id);
        return view.state === 'holding' && view.reason === reason ? view : undefined;
      },
      { what: `the migration to hold: ${reason}` },
    );

  async function broughtOver(org: string, n: number): Promise<void> {
    for (const id of [`${org}-1`, `${org}-${n}`]) expect(await scene.sandbox.verify(id, passwordOf(id)), id).toBe(true);
  }

  it('after as many failures as it may have, until a person has looked', async () => {
    const initial = names('not-initialized', 60);
    await scene.people(initial.map((id) => ({ id, org: 'failing', state: 'initial' as const })));
    const id = await begin('failing', { maxFailures: 5, concurrency: 1 });
    const view = await held(id, 'too_many_failures');
    expect(view.failed).toBeGreaterThanOrEqual(5);
    expect(view.failed).toBeLessThan(60);
    await scene.producer.runs.tune(id, { concurrency: null });
    await waitFor(
      async () => {
        const { state } = await scene.view(id);
        // It counts anew after each look.
        if (state === 'holding') await scene.producer.runs.order(id, 'resume');
        return state === 'completed';
      },
      { what: 'it comes to its end' },
    );
    expect(await scene.view(id)).toMatchObject({ failed: 60, finished: 60 });
  });

  it('while v2 takes too long, and goes on by itself when it is faster', async () => {
    await people('slow', 80);
    const faster = scene.sandbox.faults.add({ call: 'UpdateUser', fault: { kind: 'latency', ms: 250 } });
    onTestFinished(faster);
    const id = await begin('slow', { maxLatencyMs: 100 });
    const view = await held(id, 'backend_slow');
    expect(view.advice).toMatch(/by itself/);
    expect(view.finished).toBeLessThan(80);
    faster();
    expect(await scene.until(id, 'completed')).toMatchObject({ mirrored: 80, failed: 0 });
    await broughtOver('slow', 80);
  });

  it('while v2 refuses our credentials, and goes on by itself when it takes them', async () => {
    await people('refused', 40);
    scene.accept(false);
    onTestFinished(() => scene.accept(true));
    const id = await begin('refused');
    await held(id, 'backend_unauthenticated');
    expect(names('refused', 40).filter((user) => scene.sandbox.users.get(user)?.hash)).toEqual([]);
    scene.accept(true);
    expect(await scene.until(id, 'completed')).toMatchObject({ mirrored: 40, failed: 0 });
    await broughtOver('refused', 40);
  });

  it('when v2 denies us too many users, until a person has given the role', async () => {
    await people('denied', 150);
    const id = await begin('denied', { rate: 40 });
    await waitFor(async () => (await scene.view(id)).finished > 10, { what: 'some are brought over' });
    scene.roles.instance = [];
    onTestFinished(() => {
      scene.roles.instance = ['IAM_OWNER'];
    });
    const view = await held(id, 'backend_forbidden');
    // Where it had worked nobody is given up for it.
    expect(view).toMatchObject({ failed: 0, notInEffect: 150 - (view.mirrored ?? 0) });
    expect(view.advice).toMatch(/role.*resume/);
    scene.roles.instance = ['IAM_OWNER'];
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'completed')).toMatchObject({ mirrored: 150, failed: 0 });
    await broughtOver('denied', 150);
  });

  it('when v2 locks those who were brought over, until a person has looked; who was locked before is no reason', async () => {
    const before = names('locked-before', 20);
    await scene.people(before.map((id) => ({ id, org: 'locked', state: 'locked' as const })));
    await people('locked', 60);
    const id = await begin('locked', { rate: 1 });
    const done = () => names('locked', 60).filter((user) => scene.sandbox.users.get(user)?.hash);
    const looked = (user: string) =>
      scene.sandbox.calls.filter((each) => each.call === 'GetUserByID' && each.user === user).length;
    await waitFor(async () => done().filter((user) => looked(user) > 1).length > 10, { what: 'they are looked at' });
    expect((await scene.view(id)).state).toMatch(/running|receiving/);
    for (const user of done()) {
      const found = scene.sandbox.users.get(user);
      if (found) found.state = 'locked';
    }
    const view = await held(id, 'users_locked');
    expect(view.advice).toMatch(/resume or cancel/);
    await scene.producer.runs.tune(id, { rate: null });
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'completed')).toMatchObject({ mirrored: 80, failed: 0 });
  });

  it('when more and more are not in step beside those that it could not bring over, until a person has looked', async () => {
    await people('growing', 30);
    const id = await begin('growing', { rate: 1 });
    const first = () => scene.redis.hget(scene.keys.run(id), 'divergedAtFirst');
    await waitFor(async () => (await first()) !== null, { what: 'the list was counted' });
    // As commits of changes leave it when their follower fails; 1,001 real ones would take a while.

    const divergences = createDivergences(scene.redis, scene.keys);
    const found = { follower: 'v2' as const, seq: '1', tries: 1, cause: 'backend_down' };
    const others = names('other', 1_030);
    for (const user of others) await divergences.note({ org: 'growing', user }, found, undefined);
    const view = await held(id, 'divergence_grows');
    expect(view.advice).toMatch(/divergences.*resume or cancel/);
    for (const user of others) await divergences.settle({ org: 'growing', user }, '1');
    // It stays so until somebody says so.
    expect((await scene.view(id)).state).toBe('holding');
    await scene.producer.runs.tune(id, { rate: null });
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'completed')).toMatchObject({ mirrored: 30, failed: 0 });
  });
});

it('a migration whose probe cannot log in with a kind of hash holds before anybody is written', async () => {
  const scene = await startMigrationScene({ orgs: ['probed'] });
  const believing = createV2Zitadel({
    ...{ url: scene.sandbox.url, credential: credential({ value: 'token-of-the-worker' }), deadlineMs: 2_000 },
    verifiers: ['bcrypt', 'pbkdf2'],
  });
  onTestFinished(() => believing.close());
  await scene.worker({ v2: believing, stages: { default: 'v1', organizations: { probed: 'dual-v1' } } });
  const ids = names('probed', 8);
  await scene.people(ids.map((id) => ({ id, org: 'probed' })));
  const hash = await makeHash('pbkdf2-sha256', { rounds: 1_000 }, Buffer.from('Known-to-few-1'));
  await scene.sql.query(`update "users" set "password_hash" = $1 where "id" = any($2::text[])`, [hash, ids]);
  const opened = await scene.migrate('execute', ['probed']);
  if ('busy' in opened) throw new Error('another one is open');
  const { id } = opened.view;
  const held = await scene.until(id, 'holding');
  expect(held).toMatchObject({ reason: 'hash_probe_failed', finished: 0 });
  for (const user of ids) expect(scene.sandbox.users.get(user)?.changes, user).toEqual([]);
  await scene.producer.runs.order(id, 'resume');
  const done = await scene.until(id, 'completed');
  expect(done).toMatchObject({ finished: 8, failed: 8 });
  expect(Object.values(await scene.rejects(done))).toEqual(ids.map(() => 'hash_refused'));
  for (const user of ids) expect(scene.sandbox.users.get(user)?.changes, user).toEqual([]);
});
