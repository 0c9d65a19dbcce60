import type { Redis } from 'ioredis';
import { isFailure, type Outcome, type SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from './evaluate.ts';
import { counting, loadKeys, storedBytes } from './load.ts';
import { prelude } from './lua.ts';
import type { JobRecord, Records } from './records.ts';

/** A place in the list of failed jobs, newest first. */
export interface Place {
  /** When the outcome was recorded, ms since the epoch. */
  at: number;
  jobId: string;
}

/** How a reopening went: `open` already was; `gone`: no record; `destroyed`: no secret any more; `changed`: another outcome. */
export type Reopened = 'reopened' | 'open' | 'gone' | 'destroyed' | 'changed';

/** The data key outlives the new expiry by this: as long as that of a new job. */
const dataKeyGraceMs = 25 * 3_600_000;
const page = 200;

/** Failed and expired jobs are work: found, reopened, or dropped. A cancelled one was given up by a person and stays so. */
export const canRetry = (outcome: Outcome | undefined): boolean =>
  outcome !== undefined && isFailure(outcome) && outcome.code !== 'canceled';

/** Listing, reopening and dropping of jobs that ended badly; and the end of their secrets. */
export function createFailed(redis: Redis, keys: Keys, retentionMs: number, { job }: Pick<Records, 'job'>) {
  const stored = (jobId: string) => redis.hmget(keys.job(jobId), 'outcome', 'outcomeMac');

  return {
    /** Failed and expired jobs of an organization, newest first, from after `after`. What failed again meanwhile does not come twice. */
    async *failedJobs(org: string, after?: Place): AsyncGenerator<Place & { record: JobRecord | undefined }> {
      let from = after;
      let offset = 0;
      for (;;) {
        const max = from === undefined ? '+inf' : from.at;
        const found = await redis.zrevrangebyscore(keys.failed(org), max, '-inf', 'WITHSCORES', 'LIMIT', offset, page);
        const places: Place[] = [];
        for (let i = 0; i < found.length; i += 2) places.push({ jobId: found[i] as string, at: Number(found[i + 1]) });
        const passed = from;
        const fresh = places.filter((each) => !passed || each.at < passed.at || each.jobId < passed.jobId);
        const records = await Promise.all(fresh.map((each) => job(each.jobId)));
        for (const [i, each] of fresh.entries()) {
          const record = records[i];
          if (!record) await redis.zrem(keys.failed(org), each.jobId);
          yield { ...each, record: record && canRetry(record.outcome) ? record : undefined };
        }
        const last = places.at(-1);
        if (!last) return;
        // Many may have ended in one millisecond: they are passed by their number.
        offset = last.at === from?.at ? offset + places.length : 0;
        if (last.at !== from?.at || fresh.length > 0) from = last;
      }
    },

    /**
     * Takes the outcome of a failed or expired job away, visibly: attempts stay, the run's counters move back once. The caller
     * has put `data`, signed with its new expiry, into the queue before.
     */
    async reopen(data: SetPasswordData, by: string, overwriteNewerBy?: string): Promise<Reopened> {
      const record = await job(data.jobId);
      if (!record) return 'gone';
      if (!record.outcome) return 'open';
      // Read again as it is stored: the script compares it, so that only what was verified is taken away.
      const [body, mac] = await stored(data.jobId);
      if (!canRetry(record.outcome)) return 'changed';
      return (await evaluate(
        redis,
        reopen,
        [
          keys.job(data.jobId),
          keys.open,
          keys.failed(data.org),
          keys.failedSecrets,
          keys.dataKey(data.dataKey),
          keys.reopened,
          ...loadKeys(keys),
        ],
        [
          data.jobId,
          body ?? '',
          mac ?? '',
          data.expiresAt,
          by,
          overwriteNewerBy ?? '',
          retentionMs,
          dataKeyGraceMs,
          storedBytes(data),
          data.org,
        ],
      )) as Reopened;
    },

    /** Says who gave the job up and why, and that its secret goes at once. False: it has no failure (any more). */
    async drop(record: JobRecord, by: string, reason: string): Promise<boolean> {
      const [body, mac] = await stored(record.jobId);
      const both = [keys.job(record.jobId), keys.failed(record.org), keys.failedSecrets];
      return (await evaluate(redis, drop, both, [record.jobId, body ?? '', mac ?? '', by, reason])) === 1;
    },

    /** Failed jobs whose secret has come to its time, the longest overdue first. */
    async dueSecrets(limit: number, offset = 0): Promise<string[]> {
      const [seconds] = (await redis.time()) as unknown as [string, string];
      return redis.zrangebyscore(keys.failedSecrets, 0, Number(seconds) * 1000, 'LIMIT', offset, limit);
    },

    /**
     * From here on nothing reopens this job, so that whoever asks may remove it from the queue. False: it was reopened
     * meanwhile and must be left alone.
     */
    async condemnSecret(jobId: string): Promise<boolean> {
      return (await evaluate(redis, condemn, [keys.job(jobId), keys.failedSecrets], [jobId])) === 1;
    },

    /** It is removed. */
    async secretDestroyed(jobId: string): Promise<void> {
      await redis.zrem(keys.failedSecrets, jobId);
    },

    /** Until when a failed job can be retried, ms since the epoch; undefined when it cannot. */
    async retryUntil({ jobId, outcome, secretDestroyed }: JobRecord): Promise<number | undefined> {
      if (!canRetry(outcome) || secretDestroyed) return undefined;
      const until = Number(await redis.zscore(keys.failedSecrets, jobId));
      return until > 0 ? until : undefined;
    },

    /** Reopened jobs that the queue may not know of yet. */
    reopenedJobs: (limit: number): Promise<string[]> => redis.zrange(keys.reopened, 0, limit - 1),

    async redriven(jobId: string): Promise<void> {
      await redis.zrem(keys.reopened, jobId);
    },
  };
}

/**
 * KEYS job, open, failed, failed secrets, data key, reopened, counted, load · ARGV jobId, outcome, mac, expiresAt, by,
 * overwriteNewerBy, retentionMs, dataKeyGraceMs, bytes, org → reopened | open | gone | destroyed | changed
 */
const reopen = `${prelude}${counting}
local now = now_ms()
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local f = redis.call('HMGET', KEYS[1], 'outcome', 'outcomeMac', 'secretDestroyed')
if not f[1] then return 'open' end
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return 'changed' end
local key_left = redis.call('PTTL', KEYS[5])
if f[3] or key_left == -2 then return 'destroyed' end
local left = tonumber(ARGV[4]) - now
if key_left >= 0 and key_left < left + tonumber(ARGV[8]) then
  redis.call('PEXPIRE', KEYS[5], text(left + tonumber(ARGV[8])))
end
local kept = left + tonumber(ARGV[7]) + 86400000
redis.call('HDEL', KEYS[1], 'outcome', 'outcomeMac', 'finishedAt', 'event', 'waitingFor')
redis.call('HSET', KEYS[1], 'expiresAt', ARGV[4], 'reopenedBy', ARGV[5], 'starts', '0')
redis.call('HINCRBY', KEYS[1], 'reopened', 1)
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'overwriteNewerBy', ARGV[6]) end
local function keep(key)
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 and ttl < kept then redis.call('PEXPIRE', key, text(kept)) end
end
keep(KEYS[1])
-- Its idempotency key lives as long as it does, unless that names another job by now.
local named = redis.call('HGET', KEYS[1], 'key')
if named and redis.call('GET', named) == ARGV[1] then keep(named) end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[6], text(now), ARGV[1])
count(KEYS[7], KEYS[8], ARGV[1], ARGV[9], ARGV[10])
return 'reopened'
`;

/** Lets a data key live for at least `ms` from now; one that is gone stays gone. */
export async function keepDataKey(redis: Redis, keys: Keys, id: string, ms: number): Promise<void> {
  await evaluate(redis, keep, [keys.dataKey(id)], [ms]);
}

/** KEYS data key · ARGV ms */
const keep = `
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
`;

/** KEYS job, failed, failed secrets · ARGV jobId, outcome, mac, by, reason → 1 | 0. Due at once, also when we end here. */
const drop = `
local f = redis.call('HMGET', KEYS[1], 'outcome', 'outcomeMac')
if not f[1] or f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'droppedBy', ARGV[4], 'dropReason', ARGV[5], 'secretDestroyed', '1')
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], '0', ARGV[1])
return 1
`;

/** KEYS job, failed secrets · ARGV jobId → 1 | 0 */
const condemn = `${prelude}
local due = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not due or tonumber(due) > now_ms() then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'secretDestroyed', '1') end
return 1
`;
