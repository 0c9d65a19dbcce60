import type { JobEvent } from '../event.ts';
import { isFailure, type Outcome } from '../job.ts';
import { type JobKey, sign } from '../signature.ts';

/** How long an event can be read again, ms. What is older goes when something new is told. */
export const eventsKeptMs = 24 * 3_600_000;

/** Rows of a run by how they ended, in the order in which an entry holds their counts. */
export const runCounts = [
  'rejected',
  'set',
  'unchanged',
  'superseded',
  'stale',
  'failed',
  'expired',
  'canceled',
] as const;

/** Of an event, what a signature covers: all but its place, its time and the count of attempts. */
export type SignedJobEvent = Omit<JobEvent, 'id' | 'time' | 'attempts'>;

/** Job and outcome → what is told of them: never a text, never what a backend said. */
export function toJobEvent(
  job: { jobId: string; org: string; user: string; run?: string; row?: number },
  outcome: Outcome,
): SignedJobEvent {
  const { inEffect, backend } = outcome;
  return {
    type: isFailure(outcome) ? 'job.failed' : 'job.completed',
    job: job.jobId,
    org: job.org,
    user: job.user,
    ...(job.run !== undefined && job.row !== undefined && { run: job.run, row: job.row }),
    ...(isFailure(outcome) ? { code: outcome.code, reason: outcome.reason } : { result: outcome.result }),
    inEffect,
    ...(backend && { backend }),
  };
}

/**
 * What `commit` adds to the log for a job: the event and its signature. Both are empty for the rows of a run: a million of
 * them would fill Redis, and the run tells its own end.
 */
export function entryOf(
  jobKey: JobKey,
  job: { jobId: string; org: string; user: string; run?: string },
  outcome: Outcome,
): [event: string, mac: string] {
  if (job.run !== undefined) return ['', ''];
  const event = JSON.stringify(toJobEvent(job, outcome));
  return [event, sign(jobKey, 'event', [event])];
}

/** Whose run it is, signed when it is opened: a script cannot sign when it ends. Its counts are as true as its counters. */
export const signRun = (jobKey: JobKey, run: string, org: string) => sign(jobKey, 'run', [run, org]);

/** For scripts, after the prelude. `tell` returns the place of the entry in the log. */
export const telling = `
local function tell(events, now, ...)
  return redis.call('XADD', events, 'MINID', '~', text(now - ${eventsKeptMs}), '*', ...)
end
local function tell_run(events, now, run)
  local r = redis.call('HMGET', run, 'id', 'org', 'orgMac', 'state', ${runCounts.map((each) => `'${each}'`).join(', ')})
  -- Opened by an older version, which signed nothing.
  if not r[3] then return end
  for i = 5, #r do r[i] = r[i] or '0' end
  tell(events, now, 'r', r[1], 'o', r[2], 'm', r[3], 's', r[4], 'c', table.concat(r, ' ', 5))
end
`;
