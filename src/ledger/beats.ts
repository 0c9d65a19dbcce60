import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { evaluate, redisError } from './evaluate.ts';

/** The way to one backend, as one worker sees it. Times are ages, so that clocks need not agree; ms. */
export interface LaneFacts {
  /** Fault after which nothing is sent now; absent: none, or no job has met one. */
  waitingFor?: string;
  /** Until one job tries again; 0: the next job that comes tries. */
  retryInMs?: number;
  /** A hold of this worker alone: `file` or `signal`. */
  localHold?: string;
  /** Organizations in which we lack the permission. */
  forbidden: number;
  /** Changes under way, how many may be now, and how many at most. */
  inside: number;
  room: number;
  limit: number;
  /** What a change costs this machine, ms of one core, timed; absent: hashed elsewhere, or not timed yet. */
  coreMs?: number;
  /** So many cores at once; absent: a worker of an older version. */
  cores?: number;
  /** The same of a bcrypt hash of cost 10 that this worker makes for a backend that hashes elsewhere, and so many at once. */
  here?: { coreMs: number; cores: number };
  /** Rows of imports a second towards it, by all workers together; absent: no limit. */
  rate?: number;
  /** Abilities that not every backend has; absent: a worker of an older version. */
  can?: string[];
  /** Since the backend answered well; absent: it has not yet. */
  lastOkMs?: number;
}

/** Which backend an organization lives in, and which one decides the outcome. */
export interface Placed {
  stage: string;
  leads: BackendName;
}

export interface StageTable {
  /** For organizations that are not named. */
  default: Placed;
  organizations: Record<string, Placed>;
}

/** What a worker says of itself every two seconds. */
export interface Beat {
  /** Made by the process at its start. */
  id: string;
  /** `quarantine`: it takes nothing but jobs that crashed their worker. */
  kind: 'worker' | 'quarantine';
  version: string;
  upMs: number;
  /** The order is confirmed and jobs are taken. */
  ready: boolean;
  healthy: boolean;
  stuckForMs: number;
  /** Jobs that ended here within the last minute and the last five. */
  ended: { last1m: number; last5m: number };
  lanes: Partial<Record<BackendName, LaneFacts>>;
  /** Names the table of stages of this worker; two tables are two names. */
  stages: { digest: string; default: Placed; organizations: number };
}

/** Told so often, ms. */
export const beatEveryMs = 2_000;
/** A worker that was silent for so long does not count as alive, ms. */
const beatKeptMs = 10_000;
const stagesKeptMs = 60_000;
/** Read at most. */
const mostWorkers = 200;
const atOnce = 500;

/** KEYS beats, beat · ARGV id, stored, now, keptMs */
const put = `
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, tonumber(ARGV[3]) - tonumber(ARGV[4]))
return 1
`;

export type Beats = ReturnType<typeof createBeats>;

/**
 * What workers say of themselves in Redis, for a producer that knows no backend: signed, with the time of Redis in it, so that
 * neither a made-up beat nor an old one counts. Errors of all: `redis_down`.
 */
export function createBeats(redis: Redis, keys: Keys, jobKey: JobKey) {
  const nowMs = async () => {
    const [seconds, micros] = (await redis.time()) as unknown as [string, string];
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  };
  const macOf = (id: string, body: string) => sign(jobKey, 'beat', [keys.namespace, id, body]);
  const stageParts = (digest: string, org: string, placed: string) => [keys.namespace, digest, org, placed];

  function decode(id: string, stored: string, now: number): Beat | undefined {
    const [, mac = '', body = ''] = /^(\S+) (.*)$/s.exec(stored) ?? [];
    if (!verify(jobKey, 'beat', [keys.namespace, id, body], mac)) return undefined;
    const { at, ...beat } = JSON.parse(body) as Beat & { at: number };
    // An old one, put back by whoever may write Redis.
    return now - at <= beatKeptMs ? beat : undefined;
  }

  return {
    async tell(beat: Beat): Promise<void> {
      try {
        const now = await nowMs();
        const body = JSON.stringify({ ...beat, at: now });
        const stored = `${macOf(beat.id, body)} ${body}`;
        await evaluate(redis, put, [keys.beats, keys.beat(beat.id)], [beat.id, stored, now, beatKeptMs]);
      } catch (error) {
        throw redisError(error);
      }
    },

    /** It ends by its own will: it is gone at once. */
    async withdraw(id: string): Promise<void> {
      await redis.multi().del(keys.beat(id)).zrem(keys.beats, id).exec();
    },

    /** Writes a table of stages where it is not known yet, and keeps it: workers with the same table share it. */
    async tellStages(digest: string, { organizations }: StageTable): Promise<void> {
      const key = keys.stages(digest);
      if (Object.keys(organizations).length === 0 || (await redis.pexpire(key, stagesKeptMs)) === 1) return;
      const all = Object.entries(organizations).map(([org, { stage, leads }]) => {
        const placed = `${stage} ${leads}`;
        return [org, `${placed} ${sign(jobKey, 'stage', stageParts(digest, org, placed))}`] as const;
      });
      for (let i = 0; i < all.length; i += atOnce) {
        const part = Object.fromEntries(all.slice(i, i + atOnce));
        await redis.multi().hset(key, part).pexpire(key, stagesKeptMs).exec();
      }
    },

    /** Workers that are alive, the newest word first, and how many beats were not ours. */
    async alive(): Promise<{ now: number; beats: Beat[]; forged: number }> {
      try {
        const now = await nowMs();
        const since = now - beatKeptMs;
        const ids = await redis.zrevrangebyscore(keys.beats, '+inf', since, 'LIMIT', 0, mostWorkers);
        const stored = ids.length > 0 ? await redis.mget(ids.map((id) => keys.beat(id))) : [];
        const there = stored.flatMap((each, i) => (each === null ? [] : [[ids[i] as string, each] as const]));
        const beats = there.flatMap(([id, each]) => decode(id, each, now) ?? []);
        return { now, beats, forged: there.length - beats.length };
      } catch (error) {
        throw redisError(error);
      }
    },

    /** Where an organization starts by the table of a worker, and whether that names it; undefined when that cannot be read. */
    async configured(
      { digest, default: usual, organizations }: Beat['stages'],
      org: string,
    ): Promise<{ placed: Placed; named: boolean } | undefined> {
      if (organizations === 0) return { placed: usual, named: false };
      const key = keys.stages(digest);
      const [there, stored] = await Promise.all([redis.exists(key), redis.hget(key, org)]).catch((error) => {
        throw redisError(error);
      });
      if (there === 0) return undefined;
      if (stored === null) return { placed: usual, named: false };
      const [stage = '', leads = '', mac = ''] = stored.split(' ');
      if (!verify(jobKey, 'stage', stageParts(digest, org, `${stage} ${leads}`), mac)) return undefined;
      return { placed: { stage, leads: leads as BackendName }, named: true };
    },
  };
}

/** A table's name: the same for the same table, whatever its order. */
export function digestOf({ default: usual, organizations }: StageTable): string {
  const sorted = Object.entries(organizations).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([usual, sorted]))
    .digest('base64url')
    .slice(0, 22);
}
