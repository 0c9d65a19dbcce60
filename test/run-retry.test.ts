import { beforeAll, describe, expect, it } from 'vitest';
import { goodPassword, names, type RunBackends, startRunBackends } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** A run that is over: its failed and expired rows go on their way again. */

describe('a retry of a run', () => {
  let scene: RunBackends;

  beforeAll(async () => {
    scene = await startRunBackends();
  });

  const rowsOf = (ids: string[]) => ids.map((user) => ({ user }));
  const retry = (id: string) => scene.producer.runs.retry(id);

  it('opens failed rows again, and only those', async () => {
    const worker = await scene.worker();
    const ids = names('one', 700);
    await scene.addUsers('acme', ids.slice(3));
    const id = await scene.run('acme', rowsOf(ids));
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 697, failed: 3, finished: 700 });
    const before = (await scene.v1.readUser('acme', 'one-650', AbortSignal.timeout(5_000))).passwordChangedAt;

    await scene.addUsers('acme', ids.slice(0, 3), { never: true });
    expect(await retry(id)).toEqual({ reopened: 3, destroyed: 0 });
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 700, failed: 0, finished: 700, notInEffect: 0 });
    expect(await scene.works('acme', 'one-1')).toBe(true);
    expect((await scene.v1.readUser('acme', 'one-650', AbortSignal.timeout(5_000))).passwordChangedAt).toBe(before);

    expect(await retry(id)).toEqual({ reopened: 0, destroyed: 0 });
    expect(await scene.view(id)).toMatchObject({ state: 'completed', set: 700 });
    await worker.close();
  });

  it('fails again what fails again, and counts it once', async () => {
    const worker = await scene.worker();
    await scene.addUsers('globex', names('two', 5));
    const id = await scene.run('globex', rowsOf(names('two', 7)));
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 5, failed: 2 });
    expect(await retry(id)).toEqual({ reopened: 2, destroyed: 0 });
    const again = await waitFor(
      async () => {
        const view = await scene.view(id);
        return view.state === 'completed' && view;
      },
      { what: 'the run to end again' },
    );
    expect(again).toMatchObject({ set: 5, failed: 2, finished: 7, accepted: 7 });
    expect(scene.sandbox.users.get('two-1')?.changes.length).toBe(1);
    await worker.close();
  });

  it('gives expired rows, begun or not, the same time again', async () => {
    const ids = names('three', 20);
    await scene.addUsers('acme', ids);
    const id = await scene.run('acme', rowsOf(ids), { expiresInMs: 1 });
    let worker = await scene.worker();
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 0, expired: 20, finished: 20 });
    await worker.close();
    // Longer than it had, so that there is time to look.
    await scene.redis.hset(scene.keys.run(id), 'lifeMs', '600000');
    expect(await retry(id)).toEqual({ reopened: 20, destroyed: 0 });
    expect(await scene.view(id)).toMatchObject({ state: 'running', expired: 0, finished: 0 });
    worker = await scene.worker();
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 20, expired: 0, finished: 20 });
    expect(await scene.works('acme', 'three-20')).toBe(true);
    await worker.close();
  });

  it('is finished by repeating it, wherever it was cut off', async () => {
    let worker = await scene.worker();
    const ids = names('four', 1_010);
    await scene.addUsers(
      'acme',
      ids.filter((_, i) => i % 500 !== 7),
    );
    const id = await scene.run('acme', rowsOf(ids));
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 1_007, failed: 3 });
    await worker.close();
    // Cut off after its first page: what the next one reads is not there for a moment.
    const page = scene.keys.page(id, 1);
    await scene.redis.rename(page, `${page}:away`);
    await scene.redis.set(page, 'not a page');
    await expect(retry(id)).rejects.toMatchObject({ reason: 'redis_down' });
    expect(await scene.view(id)).toMatchObject({ state: 'completed', failed: 2 });
    await scene.redis.rename(`${page}:away`, page);
    expect(await retry(id)).toEqual({ reopened: 3, destroyed: 0 });
    await scene.addUsers('acme', ids, { never: true });
    worker = await scene.worker();
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 1_010, failed: 0, finished: 1_010 });
    await worker.close();
  });

  it('says when the passwords are destroyed, and changes nothing then', async () => {
    const worker = await scene.worker();
    const id = await scene.run('acme', rowsOf(names('five', 4)));
    expect(await scene.until(id, 'completed')).toMatchObject({ failed: 4 });
    await scene.redis.del(scene.keys.pageSecret(id, 0));
    await expect(retry(id)).rejects.toMatchObject({ reason: 'secret_destroyed' });
    expect(await scene.view(id)).toMatchObject({ state: 'completed', failed: 4, finished: 4 });
    await worker.close();
  });

  it('is refused for a run that is unknown, not over, or was cancelled', async () => {
    const id = await scene.run('acme', rowsOf(names('six', 4)));
    await expect(retry(id)).rejects.toMatchObject({ reason: 'run_not_over' });
    await scene.producer.runs.order(id, 'cancel');
    await expect(retry(id)).rejects.toMatchObject({ reason: 'run_ended' });
    await expect(retry(`${id.slice(0, -1)}0`)).rejects.toMatchObject({ reason: 'run_unknown' });
  });

  it('never overtakes what was set since', async () => {
    const worker = await scene.worker();
    const id = await scene.run('acme', [{ user: 'seven-1' }, { user: 'seven-2' }]);
    await scene.until(id, 'completed');
    await scene.addUsers('acme', names('seven', 2));
    const newer = await scene.run('acme', [{ user: 'seven-1', password: 'Newer-password-1!' }]);
    await scene.until(newer, 'completed');
    await retry(id);
    // The users came later than the file: what they were given is a later choice, unless it is told to overwrite.
    const done = await scene.until(id, 'completed');
    expect(done.superseded + done.stale).toBeGreaterThanOrEqual(1);
    expect(await scene.works('acme', 'seven-1', 'Newer-password-1!')).toBe(true);
    expect(await scene.works('acme', 'seven-1', goodPassword('seven-1'))).toBe(false);
    await worker.close();
  });
});
