import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { evaluate } from './evaluate.ts';

/**
 * Notes what an open job would be recognized by, for repeats that come without a key by way of another process. A job that has ended is
 * left alone. Error: `redis_down`.
 */
export async function keepJoinable(redis: Redis, keys: Keys, jobId: string, fingerprint: string): Promise<void> {
  await evaluate(redis, script, [keys.job(jobId)], [fingerprint]);
}

/** KEYS job · ARGV fingerprint */
const script = `
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'outcome') == 0 then
  redis.call('HSET', KEYS[1], 'joinable', ARGV[1])
end
return 1
`;
