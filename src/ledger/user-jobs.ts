import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import type { JobRecord, Records } from './records.ts';

/** So many of the newest jobs of a user can be listed; older ones are still read by their id. */
export const userJobsKept = 100;

/** The jobs of a user that were asked for one by one; rows of imports are listed with their run. */
export function createUserJobs(redis: Redis, keys: Keys, { job }: Pick<Records, 'job'>) {
  return {
    /** Newest first. @param below only what was accepted before this sequence. What has gone is taken out on the way. */
    async userJobs(org: string, user: string, below?: string): Promise<JobRecord[]> {
      const index = keys.userJobs(org, user);
      const ids = await redis.zrevrangebyscore(index, below === undefined ? '+inf' : `(${below}`, '-inf');
      const records = await Promise.all(ids.map((id) => job(id)));
      const gone = ids.filter((_, i) => records[i] === undefined);
      if (gone.length > 0) await redis.zrem(index, ...gone);
      return records.filter((record) => record !== undefined);
    },
  };
}
