import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { evaluate } from './evaluate.ts';

/**
 * What an organization has open: jobs that were asked for one by one, and what they take. Moved in the same step in which a
 * job is accepted, ends or is opened again, so it is exact after any crash. Rows of imports are not counted here: their run does.
 */
export interface Load {
  jobs: number;
  /** Estimated, by {@link storedBytes}. */
  bytes: number;
}

/** How much one organization may have open before more is refused (`org_quota`). */
export type OrgLimit = Load;

export const defaultOrgLimit: OrgLimit = { jobs: 100_000, bytes: 512 * 1024 * 1024 };

/** What the queue and the ledger keep of one open job, without its names; measured, rounded up. */
const baseBytes = 3_840;
/** The names of organization and user stand in the job, its record and their keys. */
const nameTimes = 7;

/** What one open job takes in Redis, about. Sealed passwords have one length. */
export const storedBytes = ({ org, user }: { org: string; user: string }): number =>
  baseBytes + nameTimes * (Buffer.byteLength(org) + Buffer.byteLength(user));

/** KEYS for {@link counting}: which jobs are counted and with how much, the sums. */
export const loadKeys = (keys: Keys): [string, string] => [keys.counted, keys.load];

/**
 * For scripts. Each job is counted once, by its id, with its size and organization: its record may be gone when it ends.
 * Sums that come to nothing go.
 */
export const counting = `
local function count(counted, load, id, bytes, org)
  if redis.call('HSETNX', counted, id, bytes .. ':' .. org) == 0 then return end
  redis.call('HINCRBY', load, 'jobs:' .. org, 1)
  redis.call('HINCRBY', load, 'bytes:' .. org, bytes)
end
local function uncount(counted, load, id)
  local known = redis.call('HGET', counted, id)
  if not known then return end
  redis.call('HDEL', counted, id)
  local bytes, org = string.match(known, '^(%d+):(.*)$')
  if redis.call('HINCRBY', load, 'jobs:' .. org, -1) > 0 then redis.call('HINCRBY', load, 'bytes:' .. org, '-' .. bytes)
  else redis.call('HDEL', load, 'jobs:' .. org, 'bytes:' .. org, 'turn:' .. org) end
end
`;

/** KEYS open, counted, load · ARGV jobId. A job whose record is gone is open no more. */
const forget = `${counting}
redis.call('ZREM', KEYS[1], ARGV[1])
uncount(KEYS[2], KEYS[3], ARGV[1])
return 1
`;

export async function forgetOpen(redis: Redis, keys: Keys, jobId: string): Promise<void> {
  await evaluate(redis, forget, [keys.open, ...loadKeys(keys)], [jobId]);
}

/** What an organization has open now. */
export async function readLoad(redis: Redis, keys: Keys, org: string): Promise<Load> {
  const [jobs, bytes] = await redis.hmget(keys.load, `jobs:${org}`, `bytes:${org}`);
  return { jobs: Number(jobs ?? 0), bytes: Number(bytes ?? 0) };
}
