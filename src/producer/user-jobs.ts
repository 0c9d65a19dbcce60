import { PassferryError } from '../errors.ts';
import type { JobState, JobView } from '../job.ts';
import { redisError } from '../ledger/evaluate.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { JobRecord } from '../ledger/records.ts';
import { type FailedFilter, matches } from './retry.ts';

/** The newest jobs of one user. */
export function createUserList(
  ledger: Ledger,
  view: (jobId: string, record?: JobRecord) => Promise<JobView | undefined>,
) {
  async function list(
    filter: FailedFilter & { user: string; state?: JobState },
    limit: number,
    cursor?: string,
  ): Promise<{ jobs: JobView[]; next?: string }> {
    const below = cursor === undefined ? undefined : parseCursor(cursor);
    const jobs: JobView[] = [];
    let last = '';
    for (const record of await ledger.userJobs(filter.org, filter.user, below)) {
      if (jobs.length === limit) return { jobs, next: `s${last}` };
      last = record.seq;
      const seen = matches(record, filter) ? await view(record.jobId, record) : undefined;
      if (seen && (filter.state === undefined || seen.state === filter.state)) jobs.push(seen);
    }
    return { jobs };
  }

  /** Newest first, of the last 100. `next` is the cursor of the rest. Errors: `cursor_invalid`, `redis_down`. */
  return (...query: Parameters<typeof list>) =>
    list(...query).catch((error) => {
      throw redisError(error);
    });
}

function parseCursor(text: string): string {
  const [, seq] = /^s(\d{1,17})$/.exec(text) ?? [];
  if (seq === undefined) throw new PassferryError('cursor_invalid');
  return seq;
}
