import { beforeAll, describe, expect, it } from 'vitest';
import type { RunBackends } from './kit/run-backends.ts';
import { names, startRunBackends } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** What a run waits for by itself, and how fast it may go. */

describe('a run', () => {
  let scene: RunBackends;

  beforeAll(async () => {
    scene = await startRunBackends({ redisExtra: ['--maxmemory', '128mb'] });
    await scene.worker({ v2Rate: 40 });
  });

  async function users(org: 'acme' | 'globex', prefix: string, n: number) {
    const ids = names(prefix, n);
    await scene.addUsers(org, ids);
    return ids.map((user) => ({ user }));
  }

  it('holds while its backend is down, and goes on by itself', async () => {
    const rows = await users('acme', 'down', 800);
    await scene.postgres.stop();
    const id = await scene.run('acme', rows);
    const held = await scene.until(id, 'holding').finally(() => scene.postgres.restart());
    expect(held).toMatchObject({
      reason: 'backend_down',
      set: 0,
      failed: 0,
      advice: expect.stringContaining('by itself'),
    });
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 800, failed: 0 });
  });

  it('holds while its backend asks to slow down', async () => {
    const rows = await users('globex', 'limited', 30);
    const away = scene.sandbox.faults.add({ call: 'SetPassword', fault: { kind: '429', retryAfter: 3 } });
    const id = await scene.run('globex', rows, { proofShare: 0 });
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'backend_limited' });
    away();
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 30, failed: 0 });
  });

  it('holds while a person holds its backend; others go on', async () => {
    const rows = await users('acme', 'held', 20);
    const others = await users('globex', 'notheld', 5);
    await scene.producer.holds.put('v1', 'maintenance', 'ops');
    const id = await scene.run('acme', rows);
    const other = await scene.run('globex', others);
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'backend_held' });
    expect(await scene.until(other, 'completed')).toMatchObject({ set: 5 });
    expect(await scene.view(id)).toMatchObject({ state: 'holding', set: 0 });
    await scene.producer.holds.lift('v1');
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 20 });
  });

  it('holds while Redis has little memory left', async () => {
    const rows = await users('acme', 'memory', 5);
    const used = async () => Number(/used_memory:(\d+)/.exec(await scene.redis.info('memory'))?.[1]);
    while ((await used()) < 0.92 * 128 * 1024 * 1024) await scene.redis.rpush('ballast', Buffer.alloc(1024 * 1024));
    const id = await scene.run('acme', rows);
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'redis_memory' });
    await scene.redis.del('ballast');
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 5 });
  });

  it.each(['acme', 'globex'] as const)(
    'holds before its first row when none of its first users exists (%s)',
    async (org) => {
      const before = scene.sandbox.calls.length;
      const id = await scene.run(
        org,
        names(`ghost-${org}`, 120).map((user) => ({ user })),
      );
      const held = await scene.until(id, 'holding');
      expect(held).toMatchObject({ reason: 'columns_swapped', finished: 0, inflight: 0 });
      expect(scene.sandbox.calls.slice(before).some(({ call }) => call === 'SetPassword')).toBe(false);
      // The person knows better.
      await scene.producer.runs.order(id, 'resume');
      expect(await scene.until(id, 'completed')).toMatchObject({ failed: 120 });
    },
  );

  it('begins when one of its first users exists, or when there are too few to tell', async () => {
    const [known] = await users('acme', 'known', 1);
    const some = await scene.run('acme', [...names('nobody', 60).map((user) => ({ user })), known as { user: string }]);
    expect(await scene.until(some, 'completed')).toMatchObject({ set: 1, failed: 60 });
    const few = await scene.run(
      'acme',
      names('few', 4).map((user) => ({ user })),
    );
    expect(await scene.until(few, 'completed')).toMatchObject({ failed: 4 });
  });

  it('holds when more rows fail than it allows, and counts anew when a person goes on', async () => {
    const [known] = await users('acme', 'allowed', 1);
    const rows = [known as { user: string }, ...names('missing', 900).map((user) => ({ user }))];
    const id = await scene.run('acme', rows, { maxFailures: 10 });
    const held = await scene.until(id, 'holding');
    expect(held.reason).toBe('too_many_failures');
    await waitFor(async () => (await scene.view(id)).inflight === 0, { what: 'the rest to end' });
    const first = (await scene.view(id)).failed;
    expect(first).toBeGreaterThanOrEqual(10);
    expect(first).toBeLessThan(40);
    await scene.producer.runs.order(id, 'resume');
    await waitFor(async () => (await scene.view(id)).failed >= first + 10, { what: 'it to hold again' });
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'too_many_failures' });
    await scene.producer.runs.order(id, 'cancel');
    expect(await scene.until(id, 'cancelled')).toMatchObject({ finished: 901 });
  });

  it('has no more rows in the queue and at work than it may', async () => {
    const rows = await users('acme', 'few-at-once', 60);
    const id = await scene.run('acme', rows, { concurrency: 3 });
    let most = 0;
    await waitFor(
      async () => {
        const { bullPrefix } = scene.keys;
        const [waiting, active] = await Promise.all([
          scene.redis.zrange(scene.keys.line('rows'), 0, -1),
          scene.redis.lrange(`${bullPrefix}:rows:active`, 0, -1),
        ]);
        most = Math.max(most, new Set([...waiting, ...active].filter((job) => job.startsWith(id))).size);
        return (await scene.view(id)).state === 'completed';
      },
      { what: 'the run to end' },
    );
    expect(most).toBeLessThanOrEqual(3);
    expect(await scene.view(id)).toMatchObject({ set: 60 });
  });

  it('goes no faster than it may, and says why', async () => {
    const rows = await users('acme', 'slow', 30);
    const began = performance.now();
    const id = await scene.run('acme', rows, { rate: 10 });
    expect(await waitFor(async () => (await scene.view(id)).limitedBy, { what: 'the limit' })).toBe('rate');
    await scene.until(id, 'completed');
    // 10 at once, and 20 more at 10 a second.
    expect(performance.now() - began).toBeGreaterThan(1_900);
  });

  it('shares the rate of v2 with all other runs, and never loses a row to it', async () => {
    const one = await scene.run('globex', await users('globex', 'share', 60), { proofShare: 0 });
    const two = await scene.run('globex', await users('globex', 'other', 60), { proofShare: 0 });
    const at = () =>
      scene.sandbox.calls.filter(({ call, user }) => call === 'SetPassword' && /^(share|other)/.test(user ?? ''));
    expect(await scene.until(one, 'completed')).toMatchObject({ set: 60 });
    expect(await scene.until(two, 'completed')).toMatchObject({ set: 60 });
    const times = at().map((call) => call.at);
    expect(times.length).toBe(120);
    // 40 of them may go at once.
    expect((times.at(-1) as number) - (times[0] as number)).toBeGreaterThan(1_800);
  });

  it('begins no row before its time', async () => {
    const rows = await users('acme', 'later', 5);
    const notBefore = Date.now() + 1_500;
    const id = await scene.run('acme', rows, { notBefore });
    await scene.until(id, 'completed');
    const first = await scene.v1.readUser('acme', 'later-1', AbortSignal.timeout(5_000));
    expect(first.passwordChangedAt).toBeGreaterThanOrEqual(notBefore);
  });
});
