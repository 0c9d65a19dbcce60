import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { JobKey } from '../signature.ts';
import { type Applied, type Place, readApplied } from './applied.ts';
import { redisError } from './evaluate.ts';
import { backendNames } from './holds.ts';

/** Who is at a user, and until when (Redis time, ms): a job, a repair, or a mirror from v1 to v2. */
export interface AtUser {
  by: { jobId: string } | 'repair' | 'mirror';
  until: number;
}

/** What the ledger holds of one user. */
export interface UserState {
  /** Redis time, ms. */
  now: number;
  /** Is anything on record? */
  known: boolean;
  applied: Partial<Record<BackendName, Applied>>;
  /** Backends whose record is not signed by us: it counts as absent. */
  forged: BackendName[];
  /** A start has the user now. */
  lease?: AtUser;
  /** Something was sent, or is about to be, and nobody has settled yet whether it was made. */
  attempt?: AtUser;
  /** An older change was made after a newer one, since when (ms). */
  repair?: { backend: BackendName; since: number };
}

/** Reads, changes nothing. A fixed number of steps. Error: `redis_down`. */
export async function readUserState(redis: Redis, keys: Keys, jobKey: JobKey, place: Place): Promise<UserState> {
  const { org, user } = place;
  const names = ['leaseJob', 'leaseUntil', 'openJob', 'openUntil', ...backendNames];
  const inversions = backendNames.map((backend) => JSON.stringify([org, user, backend]));
  const [[seconds, micros], fields, since] = await Promise.all([
    redis.time() as unknown as Promise<[string, string]>,
    redis.hmget(keys.user(org, user), ...names),
    redis.zmscore(keys.inverted, ...inversions),
  ]).catch((error) => {
    throw redisError(error);
  });
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  const [leaseJob, leaseUntil, openJob, openUntil, ...stored] = fields;
  const records = backendNames.map((backend, i) => {
    const value = stored[i];
    return { backend, value, applied: value ? readApplied(jobKey, place, backend, value) : undefined };
  });
  const lease = atUser(leaseJob, leaseUntil);
  const attempt = atUser(openJob, openUntil);
  const inverted = backendNames.findIndex((_, i) => since[i] !== null && since[i] !== undefined);
  return {
    now,
    known: fields.some((field) => field !== null),
    applied: Object.fromEntries(records.flatMap(({ backend, applied }) => (applied ? [[backend, applied]] : []))),
    forged: records.flatMap(({ backend, value, applied }) => (value && !applied ? [backend] : [])),
    ...(lease && lease.until > now && { lease }),
    ...(attempt && { attempt }),
    ...(inverted >= 0 && {
      repair: { backend: backendNames[inverted] as BackendName, since: Number(since[inverted]) },
    }),
  };
}

function atUser(job: string | null | undefined, until: string | null | undefined): AtUser | undefined {
  if (!job || !until) return undefined;
  return { by: job === 'repair' || job === 'mirror' ? job : { jobId: job }, until: Number(until) };
}
