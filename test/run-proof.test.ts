import { beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../src/adapters/port.ts';
import { goodPassword, names, type RunBackends, startRunBackends } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** 200 is not proof (P9): a backend that says "set" and is not so holds the run. */

describe('proof of login', () => {
  let scene: RunBackends;
  /** Users for whom v1 says "set" and sets nothing. */
  const lied = new Set<string>();

  beforeAll(async () => {
    scene = await startRunBackends();
    const lying: Backend = Object.assign(Object.create(scene.v1) as Backend, {
      setPassword: async (...[change, signal]: Parameters<Backend['setPassword']>) => {
        if (!lied.has(change.user)) return scene.v1.setPassword(change, signal);
        const at = new Date().toISOString();
        return {
          result: 'set' as const,
          details: { sequence: '1', creationDate: at, changeDate: at, resourceOwner: change.org },
        };
      },
    });
    await scene.worker({ v1: lying });
  });

  const users = async (org: 'acme' | 'globex', prefix: string, n: number, more = {}) => {
    const ids = names(prefix, n);
    await scene.addUsers(org, ids, more);
    return ids.map((user) => ({ user }));
  };

  it('holds a run towards a v2 that answers 200 and stores nothing, in its first rows', async () => {
    const rows = await users('globex', 'liar', 40);
    const away = scene.sandbox.faults.add({ call: 'SetPassword', fault: { kind: 'no-effect' } });
    const id = await scene.run('globex', rows);
    const held = await scene.until(id, 'holding');
    away();
    expect(held).toMatchObject({ reason: 'proof_failed', advice: expect.stringContaining('resume or cancel') });
    const failed = await waitFor(async () => (await scene.view(id)).failed, { what: 'the row to end' });
    // No more than were under way at once.
    expect(failed).toBeLessThanOrEqual(8);
    const ends = await Promise.all(rows.map((_, i) => scene.ended(id, i + 1)));
    expect(ends.filter((end) => end === 'proof_failed').length).toBe(failed);
    expect(ends).not.toContain('set');
  });

  it('goes on when a person has looked at it, and does not hold for the same again', async () => {
    const rows = await users('globex', 'again', 30);
    const liars = ['again-1', 'again-30'].map((user) =>
      scene.sandbox.faults.add({ call: 'SetPassword', user, fault: { kind: 'no-effect' } }),
    );
    const id = await scene.run('globex', rows, { proofShare: 1 });
    await scene.until(id, 'holding');
    await scene.producer.runs.order(id, 'resume');
    const done = await scene.until(id, 'completed');
    for (const away of liars) away();
    expect(done).toMatchObject({ set: 28, failed: 2, notInEffect: 2, proof: { works: 28, fails: 2 } });
  });

  it('holds a run towards a v1 that lies', async () => {
    const rows = await users('acme', 'v1liar', 30);
    for (const { user } of rows) lied.add(user);
    const id = await scene.run('acme', rows);
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'proof_failed' });
    expect(await scene.works('acme', 'v1liar-1')).toBe(false);
  });

  it('finds a liar behind the first rows by its sample', async () => {
    const rows = await users('acme', 'late', 60);
    for (const { user } of rows.slice(20)) lied.add(user);
    const id = await scene.run('acme', rows, { proofShare: 1 });
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'proof_failed' });
  });

  it('proves nobody when told so', async () => {
    const rows = await users('acme', 'unproved', 10);
    for (const { user } of rows) lied.add(user);
    const id = await scene.run('acme', rows, { proofShare: 0 });
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 10, failed: 0 });
  });

  it('proves no login of locked users, who could not log in with any password', async () => {
    const rows = await users('globex', 'locked', 8, { state: 'locked' });
    const before = scene.sandbox.calls.length;
    const id = await scene.run('globex', rows, { proofShare: 1 });
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 8, proof: { works: 0, fails: 0, unknown: 8 } });
    expect(scene.sandbox.calls.slice(before).some(({ call }) => call === 'CreateSession')).toBe(false);
  });

  it('tells how many logins were proved, and ends each session', async () => {
    const rows = await users('globex', 'honest', 12);
    const before = scene.sandbox.calls.length;
    const id = await scene.run('globex', rows, { proofShare: 1 });
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 12, proof: { works: 12, fails: 0, unknown: 0 } });
    const calls = scene.sandbox.calls.slice(before).map(({ call }) => call);
    expect(calls.filter((call) => call === 'DeleteSession').length).toBe(12);
    expect(await scene.works('globex', 'honest-7', goodPassword('honest-7'))).toBe(true);
  });

  it('does not blame the backend for what a user chose meanwhile', async () => {
    const rows = await users('globex', 'quick', 6);
    // The session is asked for after the user has set another password.
    const away = scene.sandbox.faults.add({ call: 'CreateSession', fault: { kind: 'latency', ms: 300 } });
    const id = await scene.run('globex', rows, { proofShare: 1 });
    const user = scene.sandbox.users.get('quick-1');
    await waitFor(() => user?.changes.length === 1, { what: 'the password to be set' });
    await scene.v2.setPassword(
      {
        ...{ jobId: 'x', org: 'globex', user: 'quick-1', seq: 1n, acceptedAt: Date.now(), changeRequired: false },
        ...{ overwriteNewer: true, password: (await import('../src/secret.ts')).Secret.fromString('Other-pass-1!') },
      },
      AbortSignal.timeout(5_000),
    );
    const done = await scene.until(id, 'completed');
    away();
    expect(done).toMatchObject({ set: 6, proof: { works: 5, unknown: 1 } });
  });
});
