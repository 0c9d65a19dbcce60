import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { isFailure, type JobView, type SetPasswordData } from '../job.ts';
import { redisError } from '../ledger/evaluate.ts';
import { canRetry, type Place } from '../ledger/failed.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { destroySecret, findQueued, type JobQueue, redrive } from '../ledger/queued.ts';
import type { JobRecord } from '../ledger/records.ts';
import { type JobKey, jobParts, sign } from '../signature.ts';

/** Which failed jobs of an organization; what is absent matches all. */
export interface FailedFilter {
  org: string;
  reason?: string;
  user?: string;
  caller?: string;
}

export interface RetryOptions {
  /** Who asks; the record and the log keep it. */
  by: string;
  /** May jobs be retried that were made with the permission admin? */
  admin: boolean;
  /** A person's later choice in the backend does not end the job `stale`. Needs `admin`. Default false. */
  overwriteNewer?: boolean;
}

export interface RetryCounts {
  /** Jobs that match and were looked at now. */
  matched: number;
  retried: number;
  /** Reason → how many were left as they are. */
  skipped: Record<string, number>;
  /** Where to go on; absent when all were seen. */
  next?: string;
}

/** From a retry to the expiry: as long as an asynchronous request. */
const expiresInMs = 24 * 3_600_000;
/** Looked at by one call at most, whatever matches: a call must end. */
const scanned = 5_000;
const atOnce = 32;

/** Failed jobs are work: listed, sent on their way again, or dropped. */
export function createRetry(options: {
  redis: Redis;
  jobKey: JobKey;
  ledger: Ledger;
  queues: JobQueue[];
  view: (jobId: string, record?: JobRecord) => Promise<JobView | undefined>;
}) {
  const { redis, jobKey, ledger, queues, view } = options;

  /** Newest first: what fails again meanwhile is not met twice. */
  async function find(filter: FailedFilter, limit: number, cursor?: string) {
    const found: JobRecord[] = [];
    let last: Place | undefined = cursor === undefined ? undefined : parseCursor(cursor);
    let seen = 0;
    let more = false;
    for await (const { record, ...place } of ledger.failedJobs(filter.org, last)) {
      if (found.length >= limit || seen >= scanned) {
        more = true;
        break;
      }
      seen++;
      last = place;
      if (record && matches(record, filter)) found.push(record);
    }
    return { found, ...(more && last && { next: `${last.at}-${last.jobId}` }) };
  }

  /**
   * One job again, with its old place in the order: it never overtakes (P3). Order: new signature in the queue, reopened in the
   * ledger, run by the queue; cut short anywhere, the sweeper or a repeat goes on. One that is open already is only helped on.
   * Errors: `job_unknown`, `job_not_failed`, `secret_destroyed`, `permission_missing`, `quarantined`, `redis_down`.
   */
  async function retry(jobId: string, { by, admin, overwriteNewer = false }: RetryOptions): Promise<void> {
    const record = await ledger.job(jobId);
    if (!record) throw new PassferryError('job_unknown');
    if (record.quarantined && !record.outcome) throw new PassferryError('quarantined');
    if (record.outcome && !canRetry(record.outcome)) throw new PassferryError('job_not_failed');
    if (record.secretDestroyed) throw new PassferryError('secret_destroyed');
    const queued = await findQueued(queues, jobId, jobKey);
    // Forged counts as absent.
    if (!queued?.data || queued.data.org !== record.org) throw new PassferryError('secret_destroyed');
    if (queued.data.admin && !admin) throw new PassferryError('permission_missing');
    if (overwriteNewer && !admin) throw new PassferryError('permission_missing');
    if (record.outcome) {
      const data = await signAgain(queued.data, overwriteNewer);
      await queued.job.updateData(data);
      const reopened = await ledger.reopen(data, by, overwriteNewer ? by : undefined);
      if (reopened === 'gone') throw new PassferryError('job_unknown');
      if (reopened === 'destroyed') throw new PassferryError('secret_destroyed');
      if (reopened === 'changed') throw new PassferryError('job_not_failed');
    }
    await redrive(ledger, queues, jobKey, jobId);
  }

  /** The same sealed password and sequence under a new expiry; nothing else changes. */
  async function signAgain(data: SetPasswordData, overwriteNewer: boolean): Promise<SetPasswordData> {
    const [seconds, micros] = (await redis.time()) as unknown as [string, string];
    const { mac: _, ...unsigned } = data;
    const again = {
      ...unsigned,
      expiresAt: Number(seconds) * 1000 + Math.floor(Number(micros) / 1000) + expiresInMs,
      overwriteNewer: data.overwriteNewer || overwriteNewer,
    };
    return { ...again, mac: sign(jobKey, 'job', jobParts(again)) };
  }

  return {
    /** Failed and expired jobs, newest first. `next` is the cursor of the rest. Errors: `cursor_invalid`, `redis_down`. */
    async list(filter: FailedFilter, limit: number, cursor?: string): Promise<{ jobs: JobView[]; next?: string }> {
      const { found, ...rest } = await orRedisDown(find(filter, limit, cursor));
      const views = await orRedisDown(Promise.all(found.map((record) => view(record.jobId, record))));
      return { jobs: views.filter((each) => each !== undefined), ...rest };
    },

    retry: (jobId: string, how: RetryOptions) => orRedisDown(retry(jobId, how)),

    /** Up to `limit` that match, from the cursor on; each by itself, one that cannot be retried stops nobody. */
    async retryMatching(filter: FailedFilter, how: RetryOptions, limit: number, cursor?: string): Promise<RetryCounts> {
      const { found, ...rest } = await orRedisDown(find(filter, limit, cursor));
      const counts: RetryCounts = { matched: found.length, retried: 0, skipped: {}, ...rest };
      for (let i = 0; i < found.length; i += atOnce) {
        await orRedisDown(
          Promise.all(
            found.slice(i, i + atOnce).map(async ({ jobId }) => {
              try {
                await retry(jobId, how);
                counts.retried++;
              } catch (error) {
                if (!(error instanceof PassferryError) || error.scope !== 'user') throw error;
                counts.skipped[error.reason] = (counts.skipped[error.reason] ?? 0) + 1;
              }
            }),
          ),
        );
      }
      return counts;
    },

    /**
     * Gives a failed job up: its secret goes at once, its outcome stays and says who and why. Errors: `job_unknown`,
     * `job_not_failed`, `permission_missing`, `redis_down`.
     */
    drop: (jobId: string, by: string, admin: boolean, reason: string) =>
      orRedisDown(
        (async () => {
          const record = await ledger.job(jobId);
          if (!record) throw new PassferryError('job_unknown');
          if (!canRetry(record.outcome)) throw new PassferryError('job_not_failed');
          const queued = await findQueued(queues, jobId, jobKey);
          if (queued?.data?.admin && !admin) throw new PassferryError('permission_missing');
          if (!record.droppedBy && !(await ledger.drop(record, by, reason))) throw new PassferryError('job_not_failed');
          // In a worker's hand for a moment: the sweeper does it then.
          await destroySecret(ledger, queues, jobId);
        })(),
      ),
  };
}

export function matches({ outcome, user, caller }: JobRecord, filter: FailedFilter): boolean {
  const reason = outcome && isFailure(outcome) ? outcome.reason : undefined;
  return (
    (filter.reason === undefined || filter.reason === reason) &&
    (filter.user === undefined || filter.user === user) &&
    (filter.caller === undefined || filter.caller === caller)
  );
}

function parseCursor(text: string): Place {
  const [, at, jobId] = /^(\d{1,15})-([jr]0-[0-9a-z-]{1,60})$/.exec(text) ?? [];
  if (at === undefined || jobId === undefined) throw new PassferryError('cursor_invalid');
  return { at: Number(at), jobId };
}

/** Whatever the queue throws is Redis' doing; its text stays here. */
async function orRedisDown<T>(step: Promise<T>): Promise<T> {
  return step.catch((error) => {
    throw redisError(error);
  });
}
