import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';

/** So many starts cut short by the end of their process, and a job runs alone. */
export const quarantineAfter = 3;
/** So many, those in quarantine with them, and it is held for a person. */
export const heldAfter = 6;

/** KEYS job, quarantined of the organization · ARGV jobId → ms of the holding, or 0: it has ended. The first time stays. */
const hold = `${prelude}
local f = redis.call('HMGET', KEYS[1], 'outcome', 'quarantined', 'seq')
if f[1] or not f[3] then return '0' end
local at = f[2] or text(now_ms())
redis.call('HSET', KEYS[1], 'quarantined', at, 'waitingFor', 'quarantined')
redis.call('ZADD', KEYS[2], at, ARGV[1])
return at
`;

/** KEYS job, quarantined of the organization · ARGV jobId, starts, by, reason → 1, or 0: it was not held. */
const letGo = `
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], 'quarantined') == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'waitingFor')
redis.call('HSET', KEYS[1], 'starts', ARGV[2], 'releasedBy', ARGV[3], 'releaseReason', ARGV[4])
return 1
`;

/** A job that ended its process too often. */
export interface HeldJob {
  id: string;
  user: string;
  org: string;
  /** RFC 3339, by the clock of Redis. */
  quarantinedAt: string;
  expiresAt: string;
  /** Starts that were cut short. */
  starts: number;
}

export type HeldJobs = ReturnType<typeof createHeldJobs>;

/** The jobs that wait for a person (P11). Their ledger entries stay open until release, drop or expiry. Errors: `redis_down`. */
export function createHeldJobs(redis: Redis, keys: Keys) {
  const both = (org: string, jobId: string) => [keys.job(jobId), keys.quarantined(org)];
  return {
    /** False: it has ended meanwhile. Repeating changes nothing. */
    async hold(org: string, jobId: string): Promise<boolean> {
      return (await evaluate(redis, hold, both(org, jobId), [jobId])) !== '0';
    },

    async isHeld(jobId: string): Promise<boolean> {
      return (await redis.hexists(keys.job(jobId), 'quarantined')) === 1;
    },

    /** Takes the hold away; the job goes on with `starts` cut-short starts. False: it was not held. */
    async letGo(org: string, jobId: string, starts: number, by: string, reason: string): Promise<boolean> {
      return (await evaluate(redis, letGo, both(org, jobId), [jobId, starts, by, reason])) === 1;
    },

    /** Who gives it up, and why; its outcome is committed after this. */
    async noteDrop(jobId: string, by: string, reason: string): Promise<void> {
      await redis.hset(keys.job(jobId), { droppedBy: by, dropReason: reason, secretDestroyed: '1' });
    },

    /** Those of an organization, longest held first. Entries of jobs that have ended are taken out on the way. */
    async list(org: string, limit: number): Promise<HeldJob[]> {
      const ids = await redis.zrange(keys.quarantined(org), 0, limit - 1);
      const found = await Promise.all(
        ids.map(async (jobId): Promise<HeldJob | undefined> => {
          const [user, heldAt, expiresAt, starts, outcome] = await redis.hmget(
            keys.job(jobId),
            ...['user', 'quarantined', 'expiresAt', 'starts', 'outcome'],
          );
          if (user && heldAt && !outcome) {
            const at = (ms: string | null | undefined) => new Date(Number(ms)).toISOString();
            const times = { quarantinedAt: at(heldAt), expiresAt: at(expiresAt) };
            return { id: jobId, user, org, ...times, starts: Number(starts) };
          }
          await redis.zrem(keys.quarantined(org), jobId);
          return undefined;
        }),
      );
      return found.filter((each) => each !== undefined);
    },
  };
}
