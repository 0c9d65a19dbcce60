import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import type { MigrationCounts } from '../migration.ts';
import { evaluate, redisError } from './evaluate.ts';
import { prelude } from './lua.ts';

/** Names of fields of what a migration has counted. */
export const countField = {
  verdict: (verdict: string) => `v ${verdict}`,
  ofOrg: (org: string, verdict: string) => `o ${verdict} ${org}`,
  hash: (kind: string) => `h ${kind}`,
  state: (state: string) => `s ${state}`,
  leftOut: (why: string) => `l ${why}`,
} as const;

/** Which migrations are open, and of which organizations. Errors of all: `redis_down`. */
export function createMigrations(redis: Redis, keys: Keys) {
  return {
    /**
     * Takes the organizations of a run: each has one open migration that is more than a plan. Repeating is harmless. `busy`: one of them
     * is taken, by that run, and nothing is changed.
     * @param exclusive false: a plan, which may go beside everything.
     */
    async take(run: string, orgs: string[], exclusive: boolean): Promise<{ busy?: { run: string; org: string } }> {
      const names = exclusive ? orgs : [];
      const [taken, org] = (await evaluate(
        redis,
        takeOrgs,
        [keys.migrating, keys.migrations],
        [run, keys.run(''), ...names],
      )) as string[];
      return taken ? { busy: { run: taken, org: org as string } } : {};
    },

    /** Gives them back: the run is over and its end is on record. */
    async release(run: string, orgs: string[]): Promise<void> {
      await evaluate(redis, giveBack, [keys.migrating, keys.migrations], [run, ...orgs]);
    },

    /** Those whose end is not on record yet, the oldest first; `since` in ms by Redis. */
    async open(): Promise<{ run: string; since: number }[]> {
      const found = await redis.zrange(keys.migrations, 0, -1, 'WITHSCORES').catch((error) => {
        throw redisError(error);
      });
      return found.flatMap((run, i) => (i % 2 === 0 ? [{ run, since: Number(found[i + 1]) }] : []));
    },

    counts: (run: string): Promise<MigrationCounts> => readCounts(redis, keys, run),
  };
}

export async function readCounts(redis: Redis, keys: Keys, run: string): Promise<MigrationCounts> {
  const fields = await redis.hgetall(keys.runVerdicts(run)).catch((error) => {
    throw redisError(error);
  });
  const counts: MigrationCounts = { verdicts: {}, organizations: {}, hashes: {}, states: {}, leftOut: {} };
  const groups = { v: counts.verdicts, h: counts.hashes, s: counts.states, l: counts.leftOut };
  for (const [name, value] of Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [, group = '', rest = ''] = /^(.) (.*)$/s.exec(name) ?? [];
    if (group === 'o') {
      const at = rest.indexOf(' ');
      const org = rest.slice(at + 1);
      counts.organizations[org] = { ...counts.organizations[org], [rest.slice(0, at)]: Number(value) };
    } else if (Object.hasOwn(groups, group)) groups[group as keyof typeof groups][rest] = Number(value);
  }
  return counts;
}

/** KEYS migrating, migrations · ARGV run, beginning of the keys of runs, orgs … → {run, org} of who is in the way | {} */
const takeOrgs = `${prelude}
for i = 3, #ARGV do
  local holder = redis.call('HGET', KEYS[1], ARGV[i])
  if holder and holder ~= ARGV[1] and redis.call('ZSCORE', KEYS[2], holder) then
    -- One that is over is in nobody's way, though its end is not on record yet.
    local state = redis.call('HGET', ARGV[2] .. holder, 'state')
    if state ~= 'completed' and state ~= 'cancelled' then return {holder, ARGV[i]} end
  end
end
for i = 3, #ARGV do redis.call('HSET', KEYS[1], ARGV[i], ARGV[1]) end
redis.call('ZADD', KEYS[2], 'NX', now_ms(), ARGV[1])
return {}
`;

/** KEYS migrating, migrations · ARGV run, orgs … */
const giveBack = `
for i = 2, #ARGV do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
`;
