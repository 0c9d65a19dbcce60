import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type Beat, type Beats, createBeats } from '../ledger/beats.ts';
import { createDivergences } from '../ledger/divergence.ts';
import { tallyOf } from '../ledger/divergence-tally.ts';
import { redisError } from '../ledger/evaluate.ts';
import { createHolds } from '../ledger/holds.ts';
import { readLoad } from '../ledger/load.ts';
import { type QueueDepths, readDepths } from '../ledger/queue-depth.ts';
import type { JobKey } from '../signature.ts';
import { type Advice, advise, isAdvice } from './advice.ts';
import { type BackendHealth, type Health, healthOf } from './backend-health.ts';
import { createPlaces, leaderOf } from './stages/places.ts';

export type Problem = Advice & { backend?: BackendName };

/** How one organization fares. */
export interface OrgStatus {
  id: string;
  /** Null: nobody tells. */
  stage: string | null;
  /** Of its users, those on the next stage already. */
  percent: number;
  /** The backend that decides its outcomes. */
  backend: BackendName | null;
  health: Health;
  reason?: string;
  /** Open jobs that were asked for one by one. */
  open: number;
  /** Jobs that failed or expired within the retention and were not taken up again. */
  failed: number;
  /** Jobs that wait for a person. */
  quarantined: number;
  /** Writes that still go by an older stage. */
  draining: number;
  /** Users whose other backend has not their newest password. */
  notInStep: number;
  /** Those of them who are not just on their way. */
  lasting: number;
  /** How long a new single job waits for its turn, ms; null: nobody can know now. */
  expectedWaitMs: number | null;
}

export type WorkerStatus = Pick<Beat, 'id' | 'kind' | 'version' | 'ready' | 'healthy' | 'stuckForMs'> & {
  since: string;
  ended: Beat['ended'];
};

/** How all of it fares. */
export interface InstallationStatus {
  /** Jobs without an outcome, rows of imports with them. */
  open: number;
  /** Failed jobs whose password is still kept for a retry. */
  retriable: number;
  /** Users whose newest password is about to be sent again. */
  repairs: number;
  queues: QueueDepths;
  /** Jobs that ended within the last minute and the last five, at the workers that are alive. */
  ended: Beat['ended'];
  /** For backends that take jobs; null when none does. */
  expectedWaitMs: number | null;
  backends: BackendHealth[];
  /** The first 50. */
  workers: WorkerStatus[];
  workersAlive: number;
}

export interface Status {
  /** There is no problem. */
  healthy: boolean;
  /** RFC 3339, by the clock of Redis. */
  at: string;
  problems: Problem[];
  org?: OrgStatus;
  installation?: InstallationStatus;
}

const keptMs = 1_000;
const mostTold = 50;

/** What is known of the installation: asked once a second at most, whoever asks how often. */
export interface Facts {
  now: number;
  ready: boolean;
  beats: Beat[];
  backends: BackendHealth[];
  queues: QueueDepths;
  counts: { open: number; retriable: number; repairs: number };
  problems: Problem[];
}

export type StatusDesk = ReturnType<typeof createStatus>;

/** Answers from Redis alone, by a fixed number of steps. Errors: `redis_down`. */
export function createStatus(redis: Redis, keys: Keys, jobKey: JobKey, retentionMs: number) {
  const places = createPlaces(redis, keys, jobKey);
  const divergences = createDivergences(redis, keys);
  const beats: Beats = createBeats(redis, keys, jobKey);
  const holds = createHolds(redis, keys, jobKey);
  let asked: { at: number; facts: Promise<Facts> } | undefined;

  async function look(): Promise<Facts> {
    const [alive, held, queues, ready, open, retriable, repairs] = await Promise.all([
      beats.alive(),
      holds.all(),
      readDepths(redis, keys),
      redis.exists(keys.sequence),
      redis.zcard(keys.open),
      redis.zcard(keys.failedSecrets),
      redis.zcard(keys.inverted),
    ]).catch((error) => {
      throw redisError(error);
    });
    const backends = healthOf(alive.beats, held.holds);
    const known = { now: alive.now, ready: ready === 1, beats: alive.beats, backends, queues };
    const forged = { beats: alive.forged, holds: held.forged };
    return { ...known, counts: { open, retriable, repairs }, problems: problemsOf(known, forged) };
  }

  function facts(): Promise<Facts> {
    if (asked === undefined || performance.now() - asked.at > keptMs) {
      const one = { at: performance.now(), facts: look() };
      one.facts.catch(() => {
        if (asked === one) asked = undefined;
      });
      asked = one;
    }
    return asked.facts;
  }

  async function orgStatus(org: string, known: Facts): Promise<OrgStatus> {
    const [first] = workersOf(known.beats);
    const [found, draining, tally, load, failed, quarantined] = await Promise.all([
      places.known(org, known.beats),
      places.table.draining(),
      tallyOf(divergences, org, { now: known.now, most: 1_000 }),
      readLoad(redis, keys, org),
      redis.zcount(keys.failed(org), known.now - retentionMs, '+inf'),
      redis.zcard(keys.quarantined(org)),
    ]).catch((error) => {
      throw redisError(error);
    });
    const placed = found === 'forged' ? undefined : found;
    const leads = leaderOf(placed, org);
    const lane = leads && known.backends.find(({ backend }) => backend === leads);
    const health = lane?.health ?? 'unknown';
    const unknown = found === 'forged' ? 'stage_forged' : first ? 'stage_unknown' : 'no_worker';
    const reason = lane ? lane.reason : unknown;
    return {
      ...{ id: org, stage: placed?.stage ?? null, percent: placed?.percent ?? 0, backend: leads ?? null, health },
      ...(reason !== undefined && { reason }),
      ...{ open: load.jobs, failed, quarantined, draining: draining.get(org)?.leases ?? 0 },
      ...{ notInStep: tally.count, lasting: tally.ahead + tally.lasting.v1 + tally.lasting.v2 },
      expectedWaitMs: health === 'ok' || health === 'slow' ? expectedWait(known) : null,
    };
  }

  return {
    facts,
    /** The same, asked now. */
    look,
    /** Who changes what is told reads that change at once. */
    forget() {
      asked = undefined;
    },
    places,

    /** @param org told of it alone; @param whole told of everything. */
    async status(org: string | undefined, whole: boolean): Promise<Status> {
      const known = await facts();
      const own = org === undefined ? undefined : await orgStatus(org, known);
      const concerns = ({ backend, problem }: Problem) =>
        !forOperators.has(problem) && (backend === undefined || backend === own?.backend);
      const all = [...(whole ? known.problems : known.problems.filter(concerns)), ...ownProblems(own)];
      return {
        healthy: all.length === 0,
        at: new Date(known.now).toISOString(),
        problems: all,
        ...(own && { org: own }),
        ...(whole && { installation: installationOf(known) }),
      };
    },
  };
}

/** Nothing that an organization could do anything about. */
const forOperators = new Set<string>(['hold_forged', 'beat_forged', 'worker_stuck', 'stages_differ']);

function ownProblems(own: OrgStatus | undefined): Problem[] {
  if (!own) return [];
  return [
    ...(own.quarantined > 0 ? [advise('quarantined')] : []),
    ...(own.reason === 'stage_forged' ? [advise('stage_forged')] : []),
    ...(own.lasting > 0 ? [advise('not_in_step', { id: own.id })] : []),
  ];
}

const workersOf = (beats: Beat[]) => beats.filter(({ kind }) => kind === 'worker');

function problemsOf(
  { ready, beats, backends }: Pick<Facts, 'ready' | 'beats' | 'backends'>,
  forged: { beats: number; holds: BackendName[] },
): Problem[] {
  const workers = workersOf(beats);
  return [
    ...(workers.length === 0 ? [advise('no_worker')] : []),
    ...(workers.length > 0 && !workers.some((each) => each.ready) ? [advise('worker_starting')] : []),
    ...(ready ? [] : [advise('ledger_not_ready')]),
    ...backends.flatMap(({ backend, reason }) =>
      reason === undefined || reason === 'no_worker'
        ? []
        : [{ ...advise(isAdvice(reason) ? reason : 'backend_error', { backend }), backend }],
    ),
    ...(beats.some(({ healthy }) => !healthy) ? [advise('worker_stuck')] : []),
    ...(new Set(workers.map(({ stages }) => stages.digest)).size > 1 ? [advise('stages_differ')] : []),
    ...forged.holds.map((backend) => ({ ...advise('hold_forged', { backend }), backend })),
    ...(forged.beats > 0 ? [advise('beat_forged')] : []),
  ];
}

function endedOf(beats: Beat[]): Beat['ended'] {
  const sum = (of: keyof Beat['ended']) => beats.reduce((total, { ended }) => total + ended[of], 0);
  return { last1m: sum('last1m'), last5m: sum('last5m') };
}

/**
 * Single jobs that stand before a new one, by the rate of the last minute: 0 when there are none, null when nothing ended in
 * that minute or nobody takes jobs. It is a guess from above: single jobs go before rows, and a backend may take more than it was given.
 */
export function expectedWait({ beats, queues, backends }: Pick<Facts, 'beats' | 'queues' | 'backends'>): number | null {
  const workers = workersOf(beats).filter(({ ready, healthy }) => ready && healthy);
  if (workers.length === 0) return null;
  const { waiting, active } = queues.interactive;
  const room = backends.reduce((sum, each) => sum + each.room, 0);
  const before = waiting + Math.max(0, active - room);
  if (before === 0) return 0;
  const { last1m } = endedOf(workers);
  const windowMs = Math.min(60_000, Math.max(...workers.map(({ upMs }) => upMs)));
  return last1m === 0 ? null : Math.round((before / last1m) * windowMs);
}

function installationOf(known: Facts): InstallationStatus {
  const { beats, backends, queues, counts, now } = known;
  const stopped = backends.length > 0 && backends.every(({ health }) => health !== 'ok' && health !== 'slow');
  return {
    ...counts,
    queues,
    ended: endedOf(beats),
    expectedWaitMs: stopped ? null : expectedWait(known),
    backends,
    workers: beats.slice(0, mostTold).map(({ id, kind, version, upMs, ready, healthy, stuckForMs, ended }) => {
      const since = new Date(now - upMs).toISOString();
      return { id, kind, version, since, ready, healthy, stuckForMs, ended };
    }),
    workersAlive: workersOf(beats).length,
  };
}
