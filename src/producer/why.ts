import type { Redis } from 'ioredis';
import { runOf } from '../ids.ts';
import { type BackendName, isFailure, type Outcome } from '../job.ts';
import type { Keys } from '../keys.ts';
import { createDivergences, type Divergence } from '../ledger/divergence.ts';
import { redisError } from '../ledger/evaluate.ts';
import { backendNames } from '../ledger/holds.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { JobRecord } from '../ledger/records.ts';
import { type AtUser, readUserState, type UserState } from '../ledger/user-state.ts';
import type { JobKey } from '../signature.ts';
import { leader, stageOfUser } from '../stage.ts';
import { type Advice, advise, isAdvice } from './advice.ts';
import type { StatusDesk } from './status.ts';

/** The change that we applied last in one backend. */
export interface LastApplied {
  backend: BackendName;
  leads: boolean;
  job: string;
  sequence: string;
  /** When the backend says it was made, else when its outcome was recorded. Null: neither is known any more. */
  at: string | null;
  /** The caller that asked for it; absent when its job is no longer kept. */
  by?: string;
  run?: string;
}

/** A job of the user, in short. */
export interface UserJob {
  id: string;
  sequence: string;
  by: string;
  acceptedAt: string;
  expiresAt: string;
  attempts: number;
  waitingFor?: string;
  quarantinedAt?: string;
  finishedAt?: string;
  /** Result or code. */
  ended?: string;
  reason?: string;
  retryUntil?: string;
}

/** Who is at the user: the id of a job, `repair`, or `mirror`: what v1 has is being brought to v2. */
export interface Busy {
  by: string;
  until: string;
}

export interface Why {
  user: string;
  org: string;
  /** Anything at all is on record here. */
  known: boolean;
  /** Of this user. Null: nobody tells. */
  stage: string | null;
  leads: BackendName | null;
  applied: LastApplied[];
  /** In which backend our newest change is. Null: nothing was applied. */
  ahead: BackendName | 'equal' | null;
  /** Backends whose record is not signed by us and counts as absent. */
  forged: BackendName[];
  lease?: Busy;
  attempt?: Busy;
  repair?: { backend: BackendName; since: string };
  /** This backend has not the newest password: why, how often it was tried, and when it is tried again by itself. */
  divergence?: { backend: BackendName; cause: string; since: string; tries: number; nextTry?: string };
  /** Open jobs, the newest first, at most ten; rows of imports are not among them. */
  open: UserJob[];
  openCount: number;
  /** Those that failed or expired, the newest first, at most five. */
  failed: UserJob[];
  /** The newest one that has ended. */
  latest?: UserJob;
  next: Advice;
}

const mostOpen = 10;
const mostFailed = 5;
const time = (ms: number) => new Date(ms).toISOString();

interface WhyDeps {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  ledger: Pick<Ledger, 'job' | 'userJobs' | 'retryUntil'>;
  status: StatusDesk;
}

/** Everything that is known of one user, from the ledger alone. Error: `redis_down`. */
export function createWhy({ redis, keys, jobKey, ledger, status }: WhyDeps) {
  const divergences = createDivergences(redis, keys);

  async function lastApplied(state: UserState, leads: BackendName | undefined): Promise<LastApplied[]> {
    const found = backendNames.flatMap((backend) => {
      const applied = state.applied[backend];
      return applied ? [{ backend, applied }] : [];
    });
    return Promise.all(
      found.map(async ({ backend, applied: { seq, jobId, changedAt } }) => {
        const record = await ledger.job(jobId);
        const at = changedAt > 0 ? changedAt : record?.outcome?.at;
        // The record of a row is gone with its end; its run tells who asked.
        const run = record?.run ?? runOf(jobId);
        const by = record?.caller ?? (run === undefined ? undefined : await redis.hget(keys.run(run), 'caller'));
        return {
          ...{ backend, leads: backend === leads, job: jobId, sequence: seq.toString() },
          at: at === undefined ? null : time(at),
          ...(by && { by }),
          ...(run && { run }),
        };
      }),
    );
  }

  async function toUserJob(record: JobRecord): Promise<UserJob> {
    const { outcome, waitingFor, quarantined } = record;
    const until = await ledger.retryUntil(record);
    return {
      ...{ id: record.jobId, sequence: record.seq, by: record.caller, attempts: record.attempts },
      ...{ acceptedAt: time(record.acceptedAt), expiresAt: time(record.expiresAt) },
      ...(waitingFor && !outcome && { waitingFor }),
      ...(quarantined !== undefined && !outcome && { quarantinedAt: time(quarantined) }),
      ...(outcome && { finishedAt: time(outcome.at), ended: endOf(outcome) }),
      ...(outcome && isFailure(outcome) && { reason: outcome.reason }),
      ...(until !== undefined && { retryUntil: time(until) }),
    };
  }

  async function look(org: string, user: string): Promise<Why> {
    const [state, records, facts] = await Promise.all([
      readUserState(redis, keys, jobKey, { org, user }),
      ledger.userJobs(org, user),
      status.facts(),
    ]);
    const worker = facts.beats.find(({ kind }) => kind === 'worker');
    const [found, divergence] = await Promise.all([status.places.known(org, facts.beats), divergences.of(org, user)]);
    const stage = found === undefined || found === 'forged' ? undefined : stageOfUser(found, org, user);
    const leads = stage && leader(stage);
    const open = records.filter(({ outcome }) => outcome === undefined);
    const failed = records.filter(({ outcome }) => outcome && isFailure(outcome) && outcome.code !== 'canceled');
    const ended = records.find(({ outcome }) => outcome !== undefined);
    const why: Omit<Why, 'next'> = {
      ...{ user, org, known: state.known || records.length > 0 || divergence !== undefined },
      ...{ stage: stage ?? null, leads: leads ?? null },
      applied: await lastApplied(state, leads),
      ahead: aheadOf(state),
      forged: state.forged,
      ...(state.lease && { lease: busy(state.lease) }),
      ...(state.attempt && { attempt: busy(state.attempt) }),
      ...(divergence && { divergence: told(divergence) }),
      ...(state.repair && { repair: { backend: state.repair.backend, since: time(state.repair.since) } }),
      open: await Promise.all(open.slice(0, mostOpen).map(toUserJob)),
      openCount: open.length,
      failed: await Promise.all(failed.slice(0, mostFailed).map(toUserJob)),
      ...(ended && { latest: await toUserJob(ended) }),
    };
    const lane = facts.backends.find(({ backend }) => backend === leads);
    const trouble = found === 'forged' ? 'stage_forged' : worker === undefined ? 'no_worker' : lane?.reason;
    return { ...why, next: nextStep(why, trouble) };
  }

  return (org: string, user: string): Promise<Why> =>
    look(org, user).catch((error) => {
      throw redisError(error);
    });
}

const endOf = (outcome: Outcome): string => (isFailure(outcome) ? outcome.code : outcome.result);

const busy = ({ by, until }: AtUser): Busy => ({ by: typeof by === 'string' ? by : by.jobId, until: time(until) });

const told = ({ follower, cause, since, tries, nextTry }: Divergence): NonNullable<Why['divergence']> => ({
  ...{ backend: follower, cause, since: time(since), tries },
  ...(nextTry !== undefined && { nextTry: time(nextTry) }),
});

function aheadOf({ applied: { v1, v2 } }: UserState): Why['ahead'] {
  if (!v1 || !v2) return v1 ? 'v1' : v2 ? 'v2' : null;
  return v1.seq === v2.seq ? 'equal' : v1.seq > v2.seq ? 'v1' : 'v2';
}

/** The one thing to know first. @param trouble what is wrong with the backend that leads. */
function nextStep(why: Omit<Why, 'next'>, trouble: string | undefined): Advice {
  const { open, latest, leads } = why;
  if (!why.known) return advise('never_seen');
  const poison = open.find(({ quarantinedAt }) => quarantinedAt !== undefined);
  if (poison) return advise('quarantined', { id: poison.id });
  const stops =
    trouble !== undefined && isAdvice(trouble) && trouble !== 'backend_limited' && trouble !== 'backend_forbidden';
  if ((open.length > 0 || why.repair) && stops) return advise(trouble, leads ? { backend: leads } : {});
  const first = open.at(-1);
  if (first) {
    const name = first.waitingFor ?? (why.lease ? 'busy' : 'queued');
    return advise(isAdvice(name) ? name : 'job_waits', { id: first.id, ...(leads && { backend: leads }) });
  }
  if (why.repair) return advise('repair_pending');
  if (why.attempt) return advise('attempt_open');
  if (
    latest?.ended !== undefined &&
    latest.reason !== undefined &&
    latest.ended !== 'canceled' &&
    isNewest(why, latest)
  ) {
    return advise(latest.retryUntil === undefined ? 'failed_for_good' : 'failed', { id: latest.id });
  }
  if (why.divergence) return advise(why.divergence.cause === 'ahead' ? 'ahead' : 'behind');
  if (leads && why.ahead !== null && why.ahead !== 'equal' && why.ahead !== leads) return advise('leader_behind');
  if (latest?.ended === 'stale') return advise('stale', { id: latest.id });
  return advise('in_order');
}

/** Nothing newer was applied since. */
function isNewest({ applied }: Omit<Why, 'next'>, { sequence }: UserJob): boolean {
  return applied.every((each) => BigInt(each.sequence) < BigInt(sequence));
}
