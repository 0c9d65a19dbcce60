import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';

/** A user whose follower has not what its leader has. */
export interface Divergence {
  org: string;
  user: string;
  /** The backend that is not in step. */
  follower: BackendName;
  /** Of the change that it lacks; 0: none of ours. */
  seq: bigint;
  /** Redis time, ms since the epoch. */
  since: number;
  /** How often it was tried in vain. */
  tries: number;
  /** Why: `pending` until it was tried, else the reason of the last try. `ahead`: the follower has a later choice of its user. */
  cause: string;
  /** When it is tried again, ms since the epoch; absent: when somebody asks. */
  nextTry?: number;
}

/** Left alone for so long by all but whoever has just written the leader, ms. */
export const firstTryMs = 5_000;

/** What the record of a divergence begins as: `follower seq since tries cause`. */
export const divergenceText = (follower: BackendName, seq: string, tries: number, cause: string): string =>
  `${follower} ${seq} 0 ${tries} ${cause}`;

/**
 * For scripts. A newer divergence takes the place of an older one and keeps its beginning; one that is brought in step goes unless a
 * newer one took its place.
 */
export const divergenceSteps = `
local function divergence_seq(value) return value and tonumber(string.match(value, '^%S+ (%d+)')) or -1 end
local function diverge(behind, due, divergent, org, user, member, value, now, due_at)
  local before = redis.call('HGET', behind, user)
  if before and divergence_seq(before) > divergence_seq(value) then return end
  local since = before and string.match(before, '^%S+ %S+ (%d+)') or string.format('%.0f', now)
  value = string.gsub(value, '^(%S+ %S+) %S+', '%1 ' .. since)
  redis.call('HSET', behind, user, value)
  redis.call('SADD', divergent, org)
  if due_at then redis.call('ZADD', due, due_at, member) else redis.call('ZREM', due, member) end
end
local function converge(behind, due, divergent, org, user, member, seq)
  local before = redis.call('HGET', behind, user)
  if not before then return 0 end
  if divergence_seq(before) > tonumber(seq) then return 0 end
  redis.call('HDEL', behind, user)
  redis.call('ZREM', due, member)
  if redis.call('HLEN', behind) == 0 then redis.call('SREM', divergent, org) end
  return 1
end
`;

/** KEYS for {@link divergenceSteps}: those behind, those that are due, organizations with any. */
export const divergenceKeys = (keys: Keys, org: string): [string, string, string] => [
  keys.behind(org),
  keys.mirrorDue,
  keys.divergent,
];

/** A user in the list of those that are due. */
export const dueMember = (org: string, user: string): string => JSON.stringify([org, user]);

export type Divergences = ReturnType<typeof createDivergences>;

/** Who is not in step: an exact list, by organization. Errors of all: `redis_down`. */
export function createDivergences(redis: Redis, keys: Keys) {
  const at = ({ org, user }: { org: string; user: string }) => [org, user, dueMember(org, user)];

  return {
    /** How many users of an organization are not in step. */
    count: (org: string): Promise<number> => redis.hlen(keys.behind(org)),

    /** Organizations that have any. */
    organizations: (): Promise<string[]> => redis.smembers(keys.divergent),

    async of(org: string, user: string): Promise<Divergence | undefined> {
      const stored = await redis.hget(keys.behind(org), user);
      if (stored === null) return undefined;
      const next = await redis.zscore(keys.mirrorDue, dueMember(org, user));
      return parse(org, user, stored, next);
    },

    /**
     * Some of an organization, in no order; each is told once, though perhaps not those that come or go meanwhile.
     * @param cursor `0` at first; what is returned at last is `0` again.
     */
    async list(org: string, cursor: string, limit: number): Promise<{ list: Divergence[]; cursor: string }> {
      const [next, fields] = await redis.hscan(keys.behind(org), cursor, 'COUNT', limit);
      const users = fields.filter((_, i) => i % 2 === 0);
      const scores =
        users.length === 0
          ? []
          : await redis.zmscore(
              keys.mirrorDue,
              users.map((user) => dueMember(org, user)),
            );
      const list = users.map((user, i) => parse(org, user, fields[2 * i + 1] as string, scores[i] ?? null));
      return { list, cursor: next };
    },

    /** Those whose time has come, the oldest first. */
    async due(limit: number): Promise<{ org: string; user: string }[]> {
      const members = (await evaluate(redis, dueNow, [keys.mirrorDue], [limit])) as string[];
      return members.map((member) => {
        const [org = '', user = ''] = JSON.parse(member) as string[];
        return { org, user };
      });
    },

    /** Somebody is not in step, of which no commit tells: found by reading, or by a failed try. @param inMs absent: when somebody asks. */
    async note(
      place: { org: string; user: string },
      found: { follower: BackendName; seq: string; tries: number; cause: string },
      inMs: number | undefined,
    ): Promise<void> {
      const value = divergenceText(found.follower, found.seq, found.tries, found.cause);
      await evaluate(redis, note, divergenceKeys(keys, place.org), [...at(place), value, inMs ?? '']);
    },

    /** In step again, up to a sequence, and the hash that waited for v1 goes; a newer change, and its hash, stays. */
    async settle(place: { org: string; user: string }, seq: string): Promise<void> {
      const names = [...divergenceKeys(keys, place.org), keys.follow(place.org, place.user)];
      await evaluate(redis, settle, names, [...at(place), seq]);
    },

    /** All of an organization with a cause (default: any) are tried at once. Returns how many. */
    async redrive(org: string, cause?: string): Promise<number> {
      let cursor = '0';
      let driven = 0;
      do {
        const found = await this.list(org, cursor, 500);
        const chosen = found.list.filter((each) => cause === undefined || each.cause === cause);
        if (chosen.length > 0) {
          const members = chosen.map(({ user }) => dueMember(org, user));
          driven += Number(await evaluate(redis, dueAt, [keys.mirrorDue], members));
        }
        cursor = found.cursor;
      } while (cursor !== '0');
      return driven;
    },
  };
}

function parse(org: string, user: string, stored: string, next: string | null): Divergence {
  const [follower, seq, since, tries, cause = 'pending'] = stored.split(' ');
  return {
    ...{ org, user, follower: follower as BackendName, seq: BigInt(seq ?? 0), cause },
    ...{ since: Number(since), tries: Number(tries) },
    ...(next !== null && { nextTry: Number(next) }),
  };
}

/** KEYS due · ARGV limit */
const dueNow = `${prelude}
return redis.call('ZRANGEBYSCORE', KEYS[1], 0, now_ms(), 'LIMIT', 0, ARGV[1])
`;

/** KEYS behind, due, divergent · ARGV org, user, member, value, inMs */
const note = `${prelude}${divergenceSteps}
local now = now_ms()
diverge(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], now, ARGV[5] ~= '' and now + tonumber(ARGV[5]) or nil)
return 1
`;

/** KEYS behind, due, divergent, follow · ARGV org, user, member, seq */
const settle = `${divergenceSteps}
local before = redis.call('HGET', KEYS[1], ARGV[2])
local done = converge(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
if done == 1 and string.match(before, '^%S+') == 'v1' then redis.call('DEL', KEYS[4]) end
return done
`;

/** KEYS due · ARGV members */
const dueAt = `${prelude}
local now = now_ms()
for _, member in ipairs(ARGV) do redis.call('ZADD', KEYS[1], now, member) end
return #ARGV
`;
