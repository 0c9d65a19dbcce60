import { beforeAll, describe, expect, it } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { makeHash } from '../src/hashes/make.ts';
import { goodPassword, names, type RunBackends, startRunBackends } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** Workers hash for the target, and what is told of hashes is looked for in it. */

const csv = (rows: [user: string, password: string][]) =>
  ['userId,password', ...rows.map(([user, password]) => `${user},"${password}"`)].join('\n');
const here = { hashHere: 10 } as const;

describe('passwords that workers hash', () => {
  let scene: RunBackends;
  beforeAll(async () => {
    scene = await startRunBackends({ orgs: ['dual'] });
    await scene.worker({ stages: { default: 'v1', organizations: { globex: 'v2', dual: 'dual-v2' } } });
  });

  const passwordCalls = (from: number) =>
    scene.sandbox.calls.slice(from).filter(({ call }) => /^(SetPassword|UpdateUser|UpdateHumanUser)$/.test(call));

  it('are stored as bcrypt hashes, and their logins are proved', async () => {
    const users = names('here', 6);
    await scene.addUsers('globex', users);
    const before = scene.sandbox.calls.length;
    const id = await scene.upload('globex', csv(users.map((user) => [user, goodPassword(user)])), {
      ...here,
      proofShare: 1,
    });
    const done = await scene.until(id, 'completed');
    expect(done).toMatchObject({ set: 6, failed: 0, proof: { works: 6, fails: 0, unknown: 0 } });
    // They were not hashes in the file.
    expect(done.hashes).toBeUndefined();
    expect(new Set(passwordCalls(before).map(({ call }) => call))).toEqual(new Set(['UpdateUser']));
    for (const user of users) {
      const stored = scene.sandbox.users.get(user);
      expect(stored?.hash).toMatch(/^\$2b\$10\$/);
      expect(stored?.changes.length).toBe(1);
      expect(stored?.changeRequired).toBe(true);
      expect(await scene.works('globex', user)).toBe(true);
    }
  });

  it('are refused by the policy with the reasons that the target itself has, and nothing of them is sent', async () => {
    const bad: [string, string][] = [
      ['bad-1', 'Aa1!'],
      ['bad-2', 'aaaaaaa1!'],
      ['bad-3', 'AAAAAAA1!'],
      ['bad-4', 'Aaaaaaaa!'],
      ['bad-5', 'Aaaaaaaa1'],
    ];
    await scene.addUsers(
      'globex',
      bad.map(([user]) => user),
    );
    const ends = async (id: string) => {
      await scene.until(id, 'completed');
      return Promise.all(bad.map((_, i) => scene.ended(id, i + 1)));
    };
    const plain = await ends(await scene.upload('globex', csv(bad)));
    const before = scene.sandbox.calls.length;
    const hashed = await ends(await scene.upload('globex', csv(bad), here));
    expect(hashed).toEqual(plain);
    expect(new Set(hashed).size).toBe(5);
    expect(passwordCalls(before)).toEqual([]);
  });

  it('cost what the dry run foretells', async () => {
    const users = names('dry', 3);
    await scene.addUsers('globex', users);
    const rows = csv([...users.map((user): [string, string] => [user, goodPassword(user)]), ['dry-1', 'short']]);
    const dear = await scene.until(await scene.upload('globex', rows, { hashHere: 16, dryRun: true }), 'completed');
    expect(dear).toMatchObject({ wouldSet: 3, failed: 1, forecast: { limitedBy: 'hashing' } });
    expect(dear.forecast?.coreHours).toBeGreaterThan(0);
    const plain = await scene.until(await scene.upload('globex', rows, { dryRun: true }), 'completed');
    expect(plain.forecast).not.toHaveProperty('coreHours');
    for (const user of users) expect(scene.sandbox.users.get(user)?.changes).toEqual([]);
  });

  it('go on to v1 in dual-v2: the same hash', async () => {
    await scene.sandbox.addUser({ id: 'both', org: 'dual', userName: 'both', password: 'Old-password-1' });
    await scene.v1.addUsers([{ id: 'both', org: 'dual', password: 'Old-password-1' }]);
    const id = await scene.upload('dual' as 'globex', csv([['both', goodPassword('both')]]), here);
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 1 });
    await waitFor(() => scene.works('dual', 'both'), { what: 'v1 to follow' });
    const { hash } = await scene.v1.readHash('dual', 'both', AbortSignal.timeout(5_000));
    expect(hash?.reveal()).toBe(scene.sandbox.users.get('both')?.hash);
  });

  it('a lost answer is settled by reading: one effect', async () => {
    await scene.addUsers('globex', ['lost']);
    const away = scene.sandbox.faults.add({ call: 'UpdateUser', user: 'lost', times: 1, fault: { kind: 'cut-after' } });
    const id = await scene.upload('globex', csv([['lost', goodPassword('lost')]]), here);
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 1 });
    away();
    expect(scene.sandbox.users.get('lost')?.changes.length).toBe(1);
    expect(await scene.works('globex', 'lost')).toBe(true);
  });

  it('rows of an organization in v1 end with a reason, and nothing is set', async () => {
    await scene.addUsers('acme', ['v1-here']);
    const id = await scene.upload('acme', csv([['v1-here', goodPassword('v1-here')]]), here);
    await scene.until(id, 'completed');
    expect(await scene.ended(id, 1)).toBe('ability_missing');
    expect(await scene.works('acme', 'v1-here', 'Old-password-1')).toBe(true);
  });

  it('workers say in which backend they can', async () => {
    await waitFor(() => scene.producer.can('globex', 'hashHere'), { what: 'the word of a worker' });
    expect(await scene.producer.can('acme', 'hashHere')).toBe(false);
    // Its leader decides.
    expect(await scene.producer.can('dual', 'hashHere')).toBe(true);
    const [one, four] = await Promise.all(
      [10, 12].map((hashHere) =>
        waitFor(
          async () => {
            const plan = await scene.producer.plan('globex', { rows: 1_000_000, hashHere });
            return plan.limitedBy === 'hashing' ? plan : undefined;
          },
          { what: 'the cost of a hash' },
        ),
      ),
    );
    expect((four?.coreHours ?? 0) / (one?.coreHours ?? 1)).toBeCloseTo(4, 1);
    expect((await scene.producer.plan('globex', { rows: 1_000_000 })).coreHours).toBeNull();
  });
});

describe('hashes that a target takes and does not store', () => {
  const hashes = async (users: string[]) => {
    const passwordHash = await makeHash('bcrypt', { cost: 10 }, Buffer.from('Zebra-Crossing-7'));
    return users.map((userId) => JSON.stringify({ userId, passwordHash })).join('\n');
  };
  let scene: RunBackends;
  beforeAll(async () => {
    scene = await startRunBackends();
    await scene.worker();
  });

  it('hold the run, and none of these rows counts as set', async () => {
    const users = names('liar', 40);
    await scene.addUsers('globex', users);
    const away = scene.sandbox.faults.add({ call: 'UpdateUser', fault: { kind: 'no-effect' } });
    const id = await scene.upload('globex', await hashes(users));
    const held = await scene.until(id, 'holding');
    away();
    expect(held).toMatchObject({ reason: 'proof_failed' });
    const ends = await waitFor(
      async () => {
        const all = await Promise.all(users.map((_, i) => scene.ended(id, i + 1)));
        return all.includes('proof_failed') ? all : undefined;
      },
      { what: 'the row to end' },
    );
    expect(ends).not.toContain('set');
    expect((await scene.view(id)).hashes?.stored?.missing).toBeGreaterThan(0);
    await scene.producer.runs.order(id, 'cancel');
  });

  it('are told from those that are stored: each of the sample is seen', async () => {
    const users = names('honest', 8);
    await scene.addUsers('globex', users);
    const id = await scene.upload('globex', await hashes(users), { proofShare: 1 });
    expect(await scene.until(id, 'completed')).toMatchObject({
      set: 8,
      hashes: { stored: { seen: 8, missing: 0, unknown: 0 } },
    });
  });

  it('are not looked for when nobody is to be proved', async () => {
    await scene.addUsers('globex', ['unproved']);
    const id = await scene.upload('globex', await hashes(['unproved']), { proofShare: 0 });
    expect((await scene.until(id, 'completed')).hashes).not.toHaveProperty('stored');
  });
});

describe('a target whose policy may not be read', () => {
  it('gets no hash of a password that nobody has checked', async () => {
    const scene = await startRunBackends();
    const blind = createV2Zitadel({
      ...{ url: scene.sandbox.url, credential: credential({ value: 'token-of-the-worker' }), deadlineMs: 2_000 },
    });
    await scene.worker({ v2: blind });
    await scene.addUsers('globex', ['unread']);
    const away = scene.sandbox.faults.add({ call: 'GetPasswordComplexitySettings', fault: { kind: '503' } });
    const id = await scene.upload('globex', csv([['unread', goodPassword('unread')]]), here);
    await waitFor(() => scene.sandbox.calls.some(({ call }) => call === 'GetPasswordComplexitySettings'), {
      what: 'the policy to be asked for',
    });
    expect(scene.sandbox.users.get('unread')?.changes).toEqual([]);
    away();
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 1 });
    await blind.close();
  });
});
