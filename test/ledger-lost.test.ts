import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { redisKeys } from '../src/keys.ts';
import { createEpoch } from '../src/ledger/epoch.ts';
import type { WorkerOptions } from '../src/worker/options.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { jobKey, never, type Scene, sandbox, scene, server, toleranceMs, v2Token } from './kit/ledger-scene.ts';
import { waitFor } from './kit/wait.ts';

/** A Redis that was wiped or restored from an older copy. */

const both = ['v1', 'v2'] as const;

describe('a wiped Redis', () => {
  it('holds every backend, accepts on, sends nothing, and a release lets it go on', async () => {
    const s = await scene();
    await s.work();
    const users = { v1: await s.addUser('v1'), v2: await s.addUser('v2') };
    for (const name of both) await s.producer.wait(await s.ask(name, users[name]), 10_000);
    await s.redis.flushall();
    const held = await s.isLost();
    expect(held.map(({ by }) => by)).toEqual(['worker', 'worker']);
    expect(held[0]?.reason).toContain('docs/backup.md');
    expect(s.logged).toContainEqual(expect.objectContaining({ level: 50, backends: ['v1', 'v2'] }));
    const passwords = { v1: newPassword(), v2: newPassword() };
    const jobs = { v1: await s.ask('v1', users.v1, passwords.v1), v2: await s.ask('v2', users.v2, passwords.v2) };
    for (const name of both) {
      await s.waits(jobs[name]);
      expect(await s.effects(name, users[name])).toBe(1);
    }
    await s.release();
    for (const name of both) {
      expect(await s.producer.wait(jobs[name], 10_000)).toMatchObject({ result: 'set', inEffect: true });
      expect(await s.works(name, users[name], passwords[name])).toBe(true);
    }
    expect((await s.holds.all()).holds).toEqual([]);
  });

  it.each(both)('is found by the first job that starts, before any tick: %s', async (name) => {
    const s = await scene();
    await s.work({ epochMs: never });
    await s.redis.flushall();
    // The order is there, so that jobs come through; only the epoch tells.
    await s.ledger.raiseFloor(0n);
    const user = await s.addUser(name);
    const job = await s.ask(name, user);
    await s.isLost();
    await s.waits(job);
    expect(await s.effects(name, user)).toBe(0);
    await s.release();
    expect(await s.producer.wait(job, 10_000)).toMatchObject({ result: 'set' });
  });

  it('is found at the start of a worker that has only its file', async () => {
    const s = await scene();
    const epochFile = join(tempDir(), 'state', 'epoch');
    const backend = createV2Zitadel({ url: sandbox.url, credential: credential({ value: v2Token }) });
    const alone = { epochFile, backends: { v2: { backend, limit: 1 } }, stages: { default: 'v2', organizations: {} } };
    const first = await s.work(alone as Partial<WorkerOptions>);
    await first.close();
    expect(statSync(epochFile).mode & 0o777).toBe(0o600);
    const copied = Number(readFileSync(epochFile, 'utf8'));
    expect(copied).toBeGreaterThan(0);
    await s.redis.flushall();
    await s.work(alone as Partial<WorkerOptions>);
    expect((await s.holds.all()).holds).toMatchObject([{ backend: 'v2', by: 'worker' }]);
    expect(await s.reached()).toBeGreaterThan(copied);
  });

  it("says so in a person's hold that stands too", async () => {
    const s = await scene();
    await s.work({ epochMs: never });
    await s.holds.put('v1', 'upgrade', 'ann');
    await s.redis.del(s.keys.epoch);
    await s.work({ epochMs: never });
    const [held] = await s.isLost();
    expect(held?.reason).toMatch(/^ledger_lost: .* held before by ann: upgrade$/);
  });
});

describe('a Redis restored from an older copy', () => {
  it.each([
    ['v1', 'superseded'],
    ['v2', 'stale'],
  ] as const)('%s: what was overtaken since ends %s, and no older password comes back', async (name, result) => {
    const s = await scene();
    const user = await s.addUser(name);
    const bystander = await s.addUser(name);
    await (await s.work()).close();
    const [older, newer] = [newPassword(), newPassword()];
    const old = await s.ask(name, user, older);
    const accepted = Date.parse((await s.producer.job(old))?.acceptedAt ?? '');
    const restore = await s.backup();

    await s.work();
    expect(await s.producer.wait(old, 10_000)).toMatchObject({ result: 'set' });
    // v2 tells what came later only beyond the tolerance for clocks that differ.
    await waitFor(() => Date.now() > accepted + toleranceMs, { what: 'the tolerance to pass' });
    expect(await s.producer.wait(await s.ask(name, user, newer), 10_000)).toMatchObject({ result: 'set' });
    expect(await s.effects(name, user)).toBe(2);

    await restore();
    await s.isLost();
    await s.waits(old);
    const next = await s.ask(name, bystander);
    await s.waits(next);
    expect([await s.effects(name, user), await s.effects(name, bystander)]).toEqual([2, 0]);

    await s.release();
    expect(await s.producer.wait(old, 10_000)).toMatchObject({ result, inEffect: false });
    expect(await s.producer.wait(next, 10_000)).toMatchObject({ result: 'set' });
    expect(await s.effects(name, user)).toBe(2);
    expect(await s.works(name, user, newer)).toBe(true);
    expect((await s.holds.all()).holds).toEqual([]);
  });

  it('is found when no worker ran meanwhile', async () => {
    const s = await scene();
    await (await s.work({ epochMs: never })).close();
    const restore = await s.backup();
    // Every start moves on: even the shortest life after the copy is seen.
    await (await s.work({ epochMs: never })).close();
    await restore();
    await s.work({ epochMs: never });
    expect(await s.isLost()).toHaveLength(2);
  });

  it('is none when Redis was killed and came back with its own file', async () => {
    const s = await scene();
    await s.work();
    const before = await s.reached();
    await server.kill9();
    await server.restart();
    await waitFor(async () => (await s.reached()) > before, { what: 'the epoch to move on' });
    const user = await s.addUser('v1');
    expect(await s.producer.wait(await s.ask('v1', user), 10_000)).toMatchObject({ result: 'set' });
    expect((await s.holds.all()).holds).toEqual([]);
  });
});

describe('a tick that was cut short', () => {
  async function started() {
    const s = await scene();
    await (await s.work({ epochMs: never })).close();
    return s;
  }
  const unheld = async (s: Scene) => {
    await s.work({ epochMs: never });
    expect((await s.holds.all()).holds).toEqual([]);
    expect(await s.copied()).toBe(await s.reached());
  };

  it('of a fresh Redis, before its first copy: nothing is lost', async () => {
    const s = await scene();
    await s.epoch.advance(await s.epoch.read(), 1);
    await unheld(s);
  });

  it('after Redis and before the copy: nothing is lost', async () => {
    const s = await started();
    await s.epoch.advance(await s.epoch.read(), 9);
    await unheld(s);
  });

  it('a new v1 without a copy gets one', async () => {
    const s = await started();
    await s.sql.query('delete from "passferry_epoch"');
    await unheld(s);
  });

  it('after the holds and before the copy: the release is the last word', async () => {
    const s = await started();
    const copied = (await s.copied()) ?? 0;
    await s.redis.flushall();
    expect(await s.epoch.declareLost(await s.epoch.read(), copied + 1, both)).toBe(true);
    const held = await s.isLost();
    await s.work({ epochMs: never });
    expect((await s.holds.all()).holds).toEqual(held);
    await s.release();
    await unheld(s);
  });

  it('a loss that is found again keeps the first hold', async () => {
    const s = await started();
    await s.epoch.declareLost(await s.epoch.read(), 50, both);
    const held = await s.isLost();
    await s.redis.del(s.keys.epoch);
    await s.work({ epochMs: never });
    expect((await s.holds.all()).holds).toEqual(held);
    expect(await s.reached()).toBe((await s.copied()) ?? 0);
  });

  it('no step acts on an epoch that has changed since it was read', async () => {
    const s = await started();
    const read = await s.epoch.read();
    await s.redis.flushall();
    expect(await s.epoch.advance(read, 99)).toBe(false);
    expect(await s.epoch.declareLost(read, 99, both)).toBe(false);
    expect([await s.reached(), (await s.holds.all()).holds]).toEqual(['none', []]);
  });
});

test('of several workers one moves the epoch on, and all keep what they saw', async () => {
  const s = await scene();
  await Promise.all([s.work(), s.work(), s.work()]);
  await waitFor(async () => Number(await s.reached()) > 6, { what: 'some ticks' });
  await waitFor(async () => (await s.copied()) === (await s.reached()), { what: 'the copy to follow' });
  expect((await s.holds.all()).holds).toEqual([]);
});

test.each(['999999:forged', '0:x', 'nonsense', 'another namespace'])(
  'a forged epoch counts as a loss: %s',
  async (text) => {
    const s = await scene();
    await s.work();
    const other = redisKeys('other');
    await createEpoch(s.redis, other, jobKey).advance({ kind: 'none', stored: '' }, 999_999);
    const forged = text === 'another namespace' ? ((await s.redis.get(other.epoch)) as string) : text;
    await s.redis.set(s.keys.epoch, forged);
    expect(await s.isLost()).toHaveLength(2);
    await waitFor(async () => typeof (await s.reached()) === 'number', { what: 'an epoch of ours' });
  },
);

test('an epoch file that holds no number keeps a worker from starting, and is not overwritten', async () => {
  const s = await scene();
  const epochFile = join(tempDir(), 'epoch');
  writeFileSync(epochFile, 'nonsense');
  const starting = s.work({ epochFile });
  await waitFor(() => s.logged.some(({ err }) => (err as { reason?: string })?.reason === 'config_invalid'), {
    what: 'the warning',
  });
  expect(readFileSync(epochFile, 'utf8')).toBe('nonsense');
  writeFileSync(epochFile, '7');
  await starting;
  expect((await s.holds.all()).holds).toHaveLength(2);
});
