import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { SetPasswordData } from '../src/job.ts';
import { redisKeys } from '../src/keys.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { createStageTable, type Placed } from '../src/ledger/stages.ts';
import { connectRedis } from '../src/redis.ts';
import { leader, stageNames, stageOfUser } from '../src/stage.ts';
import { atEnd } from './kit/files.ts';
import { startRedis } from './kit/redis.ts';

/** Changes of stages against a model, with the real scripts: nobody's write ever goes by two settings at a time. */

const server = await startRedis({ appendonly: false });
const redis = connectRedis({ url: server.url }, 'worker');
atEnd(() => redis.disconnect());
const jobKey = { current: randomBytes(32) };
const seed = Number(process.env.PASSFERRY_SEED ?? 20_261_128);
const config = { default: 'v1', organizations: {} } as const;
const orgs = ['one', 'two', 'three'];
const users = ['a', 'b', 'c', 'd'];

function random(start: number) {
  let state = start >>> 0;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    below: (n: number) => Math.floor(next() * n),
    of: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T,
  };
}

interface Held {
  org: string;
  user: string;
  token: string;
  data: SetPasswordData;
  /** What it goes by. */
  stored: string;
}

function world() {
  const keys = redisKeys(`m${randomBytes(6).toString('hex')}`);
  const table = createStageTable(redis, keys, jobKey);
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
  let seq = Date.now() * 1_000;
  const job = (org: string, user: string): SetPasswordData => {
    const now = Date.now();
    return {
      ...{ v: 1, name: 'set-password', jobId: `j-${++seq}`, caller: 'c', org, user, seq: String(seq) },
      ...{ acceptedAt: now, expiresAt: now + 600_000, changeRequired: true, admin: false, overwriteNewer: false },
      ...{ dataKey: 'd', sealed: 's', mac: 'm' },
    };
  };
  const begin = (data: SetPasswordData, placed: Placed) => {
    const stage = stageOfUser(placed, data.org, data.user);
    const options = { token: data.jobId, leaseMs: 600_000, backend: leader(stage), exact: leader(stage) === 'v1' };
    return ledger.begin(data, { ...options, stage: placed.stored });
  };
  const end = async ({ data, token }: Held, how: 'commit' | 'release') => {
    if (how === 'release') return ledger.release(data, token, 'aborted', 'none');
    await ledger.commit(
      data,
      { result: 'set', inEffect: true, backend: 'v1', at: 0 },
      { token, changedAt: Date.now() },
    );
  };
  return { keys, table, job, begin, end };
}

/** What the model says drains: leases that go by another text than the present one. */
async function drains(table: ReturnType<typeof world>['table'], held: Iterable<Held>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { org, stored } of held) {
    if (stored !== (await table.of(org, config)).stored) counts[org] = (counts[org] ?? 0) + 1;
  }
  return counts;
}

const told = async (table: ReturnType<typeof world>['table']) =>
  Object.fromEntries([...(await table.draining())].map(([org, { leases }]) => [org, leases]));

test.each(Array.from({ length: 12 }, (_, i) => seed + i))(
  'a random walk, seed %i',
  async (start) => {
    const { table, job, begin, end } = world();
    const dice = random(start);
    const held = new Map<string, Held>();
    const versions = new Map<string, number>();
    /** What each of some workers has read of stages, perhaps long ago. */
    const known = Array.from({ length: 4 }, () => new Map<string, Placed>());

    for (let i = 0; i < 120; i++) {
      const org = dice.of(orgs);
      const user = dice.of(users);
      const at = `${org} ${user}`;
      const memory = dice.of(known);
      switch (dice.below(6)) {
        case 0: {
          const name = dice.below(4) === 0 ? '*' : org;
          const before = await table.of(name, config);
          const seen = await table.stored(name);
          const next = () => ({ stage: dice.of(stageNames), percent: dice.below(100), by: 'm' });
          // Several at once: one of them is first.
          const all = await Promise.allSettled(
            Array.from({ length: 1 + dice.below(3) }, () => table.set(name, seen, next(), before)),
          );
          const done = all.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
          expect(done).toHaveLength(1);
          expect(done[0]?.version).toBe(before.version + 1);
          expect(done[0]?.version).toBeGreaterThan(versions.get(name) ?? 0);
          versions.set(name, done[0]?.version as number);
          break;
        }
        case 1:
          memory.set(org, await table.of(org, config));
          break;
        case 2:
        case 3: {
          const placed = memory.get(org) ?? (await table.of(org, config));
          const data = job(org, user);
          const begun = await begin(data, placed);
          const isPresent = placed.stored === (await table.of(org, config)).stored;
          if (held.has(at)) expect(begun.kind).toBe('busy');
          else if (!isPresent) expect(begun.kind).toBe('stage_moved');
          else expect(begun.kind).toMatch(/^(go|superseded)$/);
          if (begun.kind === 'go') held.set(at, { org, user, token: data.jobId, data, stored: placed.stored });
          break;
        }
        default: {
          const one = held.get(at);
          if (!one) break;
          await end(one, dice.below(2) === 0 ? 'commit' : 'release');
          held.delete(at);
        }
      }
      expect(await told(table)).toEqual(await drains(table, held.values()));
    }
    for (const each of held.values()) await end(each, 'release');
    expect(await told(table)).toEqual({});
  },
  400_000,
);

test('racing writers and operators: of one user one start has the lease, by one setting, and no operator is lost', async () => {
  const { table, job, begin, end } = world();
  const dice = random(seed);
  let version = 0;
  for (let round = 0; round < 60; round++) {
    const before = await table.of('one', config);
    const old = await table.stored('one');
    const [starts, sets] = await Promise.all([
      Promise.all(
        users.flatMap((user) =>
          Array.from({ length: 4 }, async () => {
            const placed = dice.below(2) === 0 ? before : await table.of('one', config);
            const data = job('one', user);
            return { user, data, stored: placed.stored, begun: await begin(data, placed) };
          }),
        ),
      ),
      Promise.allSettled(
        Array.from({ length: 3 }, () =>
          table.set('one', old, { stage: dice.of(stageNames), percent: dice.below(100), by: 'm' }, before),
        ),
      ),
    ]);
    expect(sets.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const after = await table.of('one', config);
    expect(after.version).toBe(++version);
    const go = starts.filter(({ begun }) => begun.kind === 'go');
    expect(new Set(go.map(({ user }) => user)).size).toBe(go.length);
    for (const { stored } of go) expect([before.stored, after.stored]).toContain(stored);
    const older = go.filter(({ stored }) => stored !== after.stored).length;
    expect(await told(table)).toEqual(older === 0 ? {} : { one: older });
    const held = go.map(({ user, data, stored }) => ({ org: 'one', user, token: data.jobId, data, stored }));
    await Promise.all(held.map((each) => end(each, dice.below(2) === 0 ? 'commit' : 'release')));
    expect(await told(table)).toEqual({});
  }
});
