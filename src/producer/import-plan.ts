import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { Beat, LaneFacts } from '../ledger/beats.ts';
import { redisError } from '../ledger/evaluate.ts';
import type { RunOptions } from '../run.ts';
import { leaderOf } from './stages/places.ts';
import type { StatusDesk } from './status.ts';

/** What an import would come to, by the word of the workers. Null: nobody can know now. */
export interface ImportPlan {
  rows: number | null;
  org: string;
  backend: BackendName | null;
  /** What it may do at most, rows a second, when it has the workers for itself; and what sets that limit. */
  rowsPerSecond: number | null;
  limitedBy: 'hashing' | 'backend_rate' | 'rate' | null;
  /** Hours of one core for its hashes. */
  coreHours: number | null;
  /** With the other imports that run now and take their turns. */
  seconds: number | null;
  /** RFC 3339, when it was begun now. */
  endsAt: string | null;
  /** 0: the backend sends none about a change. Null: workers ask it before the first row. */
  mails: 0 | null;
  /** Why it would not begin now: a name of `advice`. */
  reason?: string;
}

const mostRuns = 200;

/** Computed from Redis alone. Errors: `redis_down`. */
export function createImportPlans(redis: Redis, keys: Keys, status: StatusDesk) {
  /** Rows of others that have their turn before the last of these: runs are fed in turn. */
  async function before(rows: number, placeOf: (org: string) => Promise<BackendName | undefined>, own: BackendName) {
    const ids = await redis.zrange(keys.activeRuns, 0, mostRuns - 1);
    const all = await Promise.all(
      ids.map((id) => redis.hmget(keys.run(id), 'state', 'org', 'accepted', 'finished', 'options')),
    );
    const open = await Promise.all(
      all.map(async ([state, org, accepted, finished, options]) => {
        const { dryRun } = JSON.parse(options ?? '{}') as RunOptions;
        if (state !== 'running' || !org || dryRun || (await placeOf(org)) !== own) return 0;
        return Math.min(rows, Math.max(0, Number(accepted) - Number(finished)));
      }),
    );
    return open.reduce((sum, each) => sum + each, 0);
  }

  return async (org: string, asked: { rows?: number; rate?: number; hashHere?: number }): Promise<ImportPlan> => {
    const { now, beats, backends } = await status.facts();
    const workers = beats.filter(({ kind, ready, healthy }) => kind === 'worker' && ready && healthy);
    const placeOf = async (each: string) =>
      workers.length > 0 ? leaderOf(await status.places.known(each, workers), each) : undefined;
    const backend = (await placeOf(org)) ?? null;
    const lanes =
      backend === null ? [] : workers.flatMap(({ lanes: all }) => hashingHere(all[backend], asked.hashHere) ?? []);
    const health = backends.find((each) => each.backend === backend);
    const goes = health?.health === 'ok' || health?.health === 'slow';
    const { rowsPerSecond, limitedBy } = speedOf(lanes, asked.rate);
    const { rows = null } = asked;
    const cost = costOf(lanes);
    let seconds: number | null = null;
    if (goes && rows !== null && rowsPerSecond !== null && backend !== null) {
      const others = await before(rows, placeOf, backend).catch((error) => {
        throw redisError(error);
      });
      // What is limited by its own rate does not wait for the others.
      const full = limitedBy === 'rate' ? rows : rows + others;
      seconds = Math.ceil(full / rowsPerSecond);
    }
    const reason = goes ? undefined : (health?.reason ?? reasonOf(beats, workers));
    return {
      ...{ rows, org, backend, rowsPerSecond, limitedBy, seconds },
      coreHours: cost === undefined || rows === null ? null : Math.round((rows * cost) / 3_600) / 1_000,
      endsAt: seconds === null ? null : new Date(now + seconds * 1_000).toISOString(),
      mails: sendsNone(lanes) ? 0 : null,
      ...(reason !== undefined && { reason }),
    };
  };
}

function reasonOf(beats: Beat[], workers: Beat[]): string {
  if (workers.length > 0) return 'stage_unknown';
  return beats.some(({ kind }) => kind === 'worker') ? 'worker_starting' : 'no_worker';
}

/** A worker that is to make hashes of this cost for a backend that hashes elsewhere. */
function hashingHere(lane: LaneFacts | undefined, cost: number | undefined): LaneFacts | undefined {
  if (!lane?.here || cost === undefined) return lane;
  return { ...lane, coreMs: lane.here.coreMs * 2 ** (cost - 10), cores: lane.here.cores };
}

/** ms of one core; undefined: hashed elsewhere, or not timed. */
function costOf(lanes: LaneFacts[]): number | undefined {
  const told = lanes.flatMap(({ coreMs }) => coreMs ?? []);
  return told.length > 0 ? told.reduce((sum, each) => sum + each, 0) / told.length : undefined;
}

/** Rows a second that a worker hashes. */
const hashedBy = ({ limit, cores = limit, coreMs = 1 }: LaneFacts) => (cores * 1_000) / coreMs;

function speedOf(lanes: LaneFacts[], ownRate: number | undefined): Pick<ImportPlan, 'rowsPerSecond' | 'limitedBy'> {
  const hashed = lanes.filter(({ coreMs }) => coreMs !== undefined && coreMs > 0);
  const rates = lanes.flatMap(({ rate }) => rate ?? []);
  const limits: [ImportPlan['limitedBy'], number][] = [
    ...(hashed.length > 0 ? [['hashing', hashed.reduce((sum, each) => sum + hashedBy(each), 0)] as const] : []),
    ...(rates.length > 0 ? [['backend_rate', Math.min(...rates)] as const] : []),
    ...(ownRate !== undefined ? [['rate', ownRate] as const] : []),
  ].map(([by, rows]) => [by, rows]);
  const [limitedBy, rows] = limits.sort((a, b) => a[1] - b[1])[0] ?? [null, null];
  return { rowsPerSecond: rows === null ? null : Math.round(rows * 10) / 10 || 0.1, limitedBy };
}

/** Workers that do not tell their abilities may have it. */
const sendsNone = (lanes: LaneFacts[]) =>
  lanes.length > 0 && lanes.every(({ can }) => can !== undefined && !can.includes('mailsOnChange'));
