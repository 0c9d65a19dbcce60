import { beforeAll, describe, expect, it } from 'vitest';
import { createDivergences, type Divergence } from '../src/ledger/divergence.ts';
import { type MigrationScene, passwordOf, startMigrationScene } from './kit/migration-scene.ts';
import { names } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** What the target cannot do, or does not let us do: told by the plan, before anything changes. */

const orgs = Array.from({ length: 10 }, (_, i) => `org-${i}`);
const denied = 'org-4';
const sizeOf = (org: string) => (org === denied ? 30 : 5);
const stages = {
  default: 'v1' as const,
  organizations: Object.fromEntries([...orgs, 'acme'].map((org) => [org, 'dual-v1' as const])),
};

const idOf = (opened: Awaited<ReturnType<MigrationScene['migrate']>>) => {
  if ('busy' in opened) throw new Error('another one is open');
  return opened.view.id;
};

describe('a target of a version that stores no hashes', () => {
  let scene: MigrationScene;

  beforeAll(async () => {
    scene = await startMigrationScene({ unknownCalls: ['UpdateUser', 'UpdateHumanUser'] });
    await scene.worker({ stages });
    await scene.people(names('a', 3).map((id) => ({ id })));
  });

  it.each(['plan', 'execute'] as const)('is told by a %s before a user is looked at', async (mode) => {
    const id = idOf(await scene.migrate(mode, ['acme']));
    const view = await scene.until(id, 'holding');
    expect(view).toMatchObject({ reason: 'target_unsupported', finished: 0 });
    expect(view.advice).toMatch(/version that takes no hashes/);
    expect(scene.sandbox.calls.filter(({ user }) => user?.startsWith('a-'))).toEqual([]);
    await scene.producer.runs.order(id, 'cancel');
    await scene.until(id, 'cancelled');
  });

  it('is compared all the same: that only reads', async () => {
    expect((await scene.done('reconcile', ['acme'])).migration?.verdicts).toEqual({ behind: 3 });
  });
});

describe('a permission that is missing in one of ten organizations', () => {
  let scene: MigrationScene;

  beforeAll(async () => {
    scene = await startMigrationScene({ orgs });
    await scene.worker({ stages, organizationMs: 1_000 });
    for (const org of orgs) await scene.people(names(org, sizeOf(org)).map((id) => ({ id, org })));
    scene.roles.instance = [];
    scene.roles.orgs = Object.fromEntries(orgs.filter((org) => org !== denied).map((org) => [org, ['ORG_OWNER']]));
  });

  const others = orgs.filter((org) => org !== denied);
  const reasons = Object.fromEntries(names(denied, sizeOf(denied)).map((id) => [id, 'backend_forbidden']));
  const verdicts = (verdict: string) =>
    Object.fromEntries(
      orgs.map((org) => [org, org === denied ? { backend_forbidden: sizeOf(org) } : { [verdict]: sizeOf(org) }]),
    );

  async function behind(): Promise<Divergence[]> {
    const divergences = createDivergences(scene.redis, scene.keys);
    const { list } = await divergences.list(denied, '0', 1_000);
    return list;
  }

  it('is told by the plan, for that organization alone', async () => {
    const plan = await scene.done('plan', orgs);
    expect(plan.migration?.organizations).toEqual(verdicts('would_mirror'));
    expect(plan).toMatchObject({ wouldMirror: 45, failed: 30 });
    // Nobody can tell whether users there would be mailed: it is asked for before the start.
    expect(plan.migration?.forecast?.mails).toBe(30);
    expect(await scene.rejects(plan)).toEqual(reasons);
    for await (const row of scene.producer.runs.rejects(plan)) {
      expect(row).toMatchObject({ org: denied, code: 'permission_denied', reason: 'backend_forbidden' });
    }
    expect([...scene.sandbox.users.values()].flatMap(({ changes }) => changes)).toEqual([]);
  });

  it('keeps nobody else: the nine go through, of the tenth nothing is written and everybody is named', async () => {
    const done = await scene.done('execute', orgs, { mails: 'allow' });
    expect(done.migration?.organizations).toEqual(verdicts('mirrored'));
    expect(done).toMatchObject({ mirrored: 45, failed: 30, finished: 75 });
    expect(await scene.rejects(done)).toEqual(reasons);
    for (const org of others) {
      for (const id of names(org, sizeOf(org))) expect(await scene.sandbox.verify(id, passwordOf(id)), id).toBe(true);
    }
    for (const id of names(denied, sizeOf(denied))) expect(scene.sandbox.users.get(id)?.changes, id).toEqual([]);
    const list = await behind();
    expect(Object.fromEntries(list.map(({ user, cause }) => [user, cause]))).toEqual(reasons);
  });

  it('is made up for by itself once the role is given', async () => {
    scene.roles.orgs = { ...scene.roles.orgs, [denied]: ['ORG_OWNER'] };
    await waitFor(async () => (await behind()).length === 0, { what: 'everybody is in step' });
    for (const id of names(denied, sizeOf(denied))) expect(await scene.sandbox.verify(id, passwordOf(id))).toBe(true);
  });

  it('is found at the first write where we may read and not write, and stops nobody else', async () => {
    scene.roles.orgs = { ...scene.roles.orgs, [denied]: ['ORG_OWNER_VIEWER'] };
    for (const org of orgs) for (const id of names(org, sizeOf(org))) await scene.writeV1(id, 'Of-the-application-1!');
    const done = await scene.done('execute', orgs, { mails: 'allow' });
    expect(done.migration?.organizations).toEqual(verdicts('mirrored'));
    for (const id of names(denied, sizeOf(denied)))
      expect(await scene.sandbox.verify(id, passwordOf(id)), id).toBe(true);
    expect((await behind()).map(({ cause }) => cause)).toEqual(Array(30).fill('backend_forbidden'));
  });
});
