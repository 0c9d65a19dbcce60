/** What the ledger's scripts should do, in plain TypeScript: no Redis, no clock but the one that the steps move. */

export type Ending = 'set' | 'superseded' | 'refused' | 'expired' | 'run_canceled';

export interface ModelJob {
  id: string;
  org: string;
  user: ModelUser;
  /** v1: the backend decides the order itself. */
  exact: boolean;
  row?: number;
  seq: bigint;
  expired: boolean;
  starts: number;
  attempts: number;
  /** An attempt is on record and nobody knows its end. */
  attempt: boolean;
  /** It may have been made, though nobody has recorded it. */
  uncertain: boolean;
  /** A row has one only while it is at work. */
  record: boolean;
  ending?: Ending;
}

export interface ModelUser {
  name: string;
  lease?: { job: ModelJob; token: string; live: boolean } | undefined;
  open?: { job: ModelJob; live: boolean } | undefined;
  /** The highest applied, as the ledger knows it. */
  applied?: { job: ModelJob; changedAt: number } | undefined;
}

export type ModelBegun =
  | 'done'
  | 'busy'
  | 'expired'
  | 'superseded'
  | 'poison'
  | 'go'
  | 'canceled'
  | 'run_waits'
  | 'run_over';

export interface ModelRun {
  state: 'running' | 'pausing' | 'paused' | 'cancelling' | 'cancelled' | 'completed';
  accepted: number;
  finished: number;
  inflight: number;
  closed: boolean;
  endings: Record<Ending, number>;
}

/** Where a run goes by itself. */
export function settle(run: ModelRun): void {
  const open = run.accepted - run.finished;
  if (run.state === 'pausing' && run.inflight === 0) run.state = 'paused';
  else if (run.state === 'cancelling' && run.inflight === 0) {
    run.state = 'cancelled';
    run.endings.run_canceled += open;
    run.finished += open;
  } else if (run.state === 'running' && run.closed && open === 0) run.state = 'completed';
}

/** False: refused. */
export function order(run: ModelRun, what: 'pause' | 'resume' | 'cancel'): boolean {
  const { state } = run;
  if (state === 'completed') return false;
  if (state === 'cancelling' || state === 'cancelled') return what === 'cancel';
  if (what === 'pause' && state !== 'paused') run.state = 'pausing';
  if (what === 'resume') run.state = 'running';
  if (what === 'cancel') run.state = 'cancelling';
  settle(run);
  return true;
}

/** A row leaves the work. */
function forget(job: ModelJob, run: ModelRun | undefined): void {
  if (!run || job.row === undefined || !job.record) return;
  job.record = false;
  job.starts = 0;
  job.attempts = 0;
  job.uncertain = false;
  run.inflight--;
}

export function begin(job: ModelJob, token: string, startLimit: number, run: ModelRun | undefined): ModelBegun {
  const { user } = job;
  if (job.ending) return 'done';
  if (run && job.row !== undefined) {
    const mayBeMade = job.attempt || job.uncertain || job.starts > 0;
    if (!mayBeMade && run.state !== 'running') {
      if (run.state !== 'pausing' && run.state !== 'paused') return job.record ? 'canceled' : 'run_over';
      const hadRecord = job.record;
      forget(job, run);
      if (hadRecord) settle(run);
      return 'run_waits';
    }
    if (!job.record) run.inflight++;
    job.record = true;
  }
  if (isBlocked(job)) return 'busy';
  // What was sent must be settled, however late it is.
  if (!job.attempt && job.expired) return 'expired';
  if (!job.exact && isNewer(user.applied?.job, job)) return 'superseded';
  if (job.starts >= startLimit) return 'poison';
  user.lease = { job, token, live: true };
  job.starts++;
  return 'go';
}

/** What the sweeper is told about a job past its expiry. */
export function sweep(job: ModelJob, run: ModelRun | undefined): ModelBegun {
  if (run && job.row !== undefined && run.state !== 'running' && !job.attempt && !job.uncertain && job.starts === 0) {
    return begin(job, '', Number.MAX_SAFE_INTEGER, run);
  }
  if (isBlocked(job) || (job.user.lease?.job === job && job.user.lease.live) || job.attempt) return 'busy';
  return 'expired';
}

/** May it be sent now? */
export function record(job: ModelJob, token: string): boolean {
  const { user } = job;
  if (user.lease?.token !== token || !user.lease.live || job.ending || !job.record) return false;
  job.attempt = true;
  job.attempts++;
  user.open = { job, live: true };
  return true;
}

export function close(job: ModelJob, token: string, mayLand: boolean): void {
  // Somebody who lost the lease knows nothing about the attempt that is open now.
  if (job.user.lease?.token !== token) return;
  job.attempt = false;
  if (mayLand && job.record) job.uncertain = true;
  if (job.user.open?.job === job) job.user.open = undefined;
}

export function release(job: ModelJob, token: string, effect: 'none' | 'unknown', run: ModelRun | undefined): void {
  if (job.user.lease?.token === token) {
    job.user.lease = undefined;
    job.starts = Math.max(0, job.starts - 1);
    if (effect === 'unknown' && job.record) job.uncertain = true;
  }
  if (!run || job.row === undefined || !job.record || job.starts > 0 || job.attempt || job.uncertain) return;
  forget(job, run);
  settle(run);
}

/** May this start still say what it read? Of a job that has ended anybody may hear the end. */
export function leads(job: ModelJob, token: string): boolean {
  return job.ending !== undefined || (job.user.lease?.token === token && job.user.lease.live);
}

/** The ending that is recorded: the first one, and never `set` beside a newer one that was applied. */
export function commit(
  job: ModelJob,
  ending: Ending,
  how: { token: string; changedAt?: number; assumed?: boolean; countAttempt?: boolean; run?: ModelRun | undefined },
): Ending {
  const { user } = job;
  const giveBack = () => {
    if (user.lease?.token !== how.token) return;
    user.lease = undefined;
    // An attempt that another start has under way goes on blocking the user.
    if (user.open?.job === job) user.open = undefined;
  };
  if (job.ending) {
    giveBack();
    const answered = !job.exact && how.changedAt !== undefined && !how.assumed;
    // Made after its end: still ours, and no person's.
    if (answered && !isNewer(user.applied?.job, job) && (how.changedAt ?? 0) > (user.applied?.changedAt ?? 0)) {
      user.applied = { job, changedAt: how.changedAt as number };
    }
    return job.ending;
  }
  let recorded = ending;
  if (how.changedAt !== undefined) {
    if (isNewer(user.applied?.job, job)) recorded = 'superseded';
    else user.applied = { job, changedAt: how.changedAt };
  }
  if (how.countAttempt) job.attempts++;
  job.ending = recorded;
  job.attempt = false;
  giveBack();
  if (how.run && job.row !== undefined) {
    forget(job, how.run);
    how.run.finished++;
    how.run.endings[recorded]++;
    settle(how.run);
  }
  return recorded;
}

function isNewer(one: ModelJob | undefined, than: ModelJob): boolean {
  return one !== undefined && one.seq > than.seq;
}

function isBlocked(job: ModelJob): boolean {
  const { lease, open } = job.user;
  return Boolean((lease && lease.job !== job && lease.live) || (open && open.job !== job && open.live));
}
