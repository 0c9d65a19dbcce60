import { randomUUID } from 'node:crypto';
import { setTimeout as slowly } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../src/adapters/port.ts';
import { Secret } from '../src/secret.ts';
import { type MigrationScene, passwordOf, startMigrationScene } from './kit/migration-scene.ts';
import { names } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** Users of v2 are read while others are written: what that may not cost. */

describe('who is read before the turn comes', () => {
  let scene: MigrationScene;
  let reads: string[] = [];
  /** Asked before a hash is written. */
  let beforeWrite: (user: string) => Promise<void> = async () => {};

  beforeAll(async () => {
    scene = await startMigrationScene();
    const v2 = Object.create(scene.v2) as Backend;
    v2.readUser = async (org, user, signal) => {
      const found = await scene.v2.readUser(org, user, signal);
      reads.push(user);
      return found;
    };
    v2.setHash = async (request, signal) => {
      await beforeWrite(request.user);
      return (scene.v2.setHash as NonNullable<Backend['setHash']>)(request, signal);
    };
    await scene.worker({
      // One is written at a time, so whoever was read besides is read ahead.
      backends: { v1: { backend: scene.v1, limit: 4 }, v2: { backend: v2, limit: 1 } },
      stages: { default: 'dual-v1', organizations: {} },
    });
  });

  const choose = (user: string, password: string) =>
    scene.v2.setPassword(
      {
        ...{ jobId: randomUUID(), org: 'acme', user, seq: 0n, acceptedAt: 0, changeRequired: false },
        ...{ overwriteNewer: true, password: Secret.fromString(password) },
      },
      AbortSignal.timeout(5_000),
    );

  it('keeps what a person chooses in v2 after that, while the row waits', async () => {
    const late = names('late', 12);
    await scene.people(late.map((id) => ({ id })));
    let chooser = '';
    const written = new Set<string>();
    beforeWrite = async (writing) => {
      written.add(writing);
      if (chooser || !late.includes(writing)) return;
      const ahead = () => reads.find((user) => late.includes(user) && !written.has(user));
      // Who came before the only place was taken is not read ahead; somebody after that is.
      const found = await waitFor(ahead, { what: 'somebody to be read ahead', timeoutMs: 500 }).catch(() => undefined);
      if (found === undefined) return;
      chooser = found;
      await choose(chooser, 'My-own-choice-1!');
      // Longer than a read may be old: as if the turn came late.
      await slowly(400);
    };
    const run = await scene.done('execute', ['acme']);
    expect(run).toMatchObject({ mirrored: 11, failed: 1 });
    expect(await scene.rejects(run)).toEqual({ [chooser]: 'ahead' });
    expect(await scene.sandbox.verify(chooser, 'My-own-choice-1!')).toBe(true);
  });

  it('gets what v1 has, all of them', async () => {
    await scene.people(names('once', 12).map((id) => ({ id, org: 'globex' })));
    reads = [];
    expect(await scene.done('execute', ['globex'])).toMatchObject({ mirrored: 12 });
    expect(new Set(reads)).toEqual(new Set(names('once', 12)));
    for (const user of names('once', 12)) expect(await scene.sandbox.verify(user, passwordOf(user))).toBe(true);
  });
});
