import { PassferryError } from '../errors.ts';
import { isRowJobId } from '../ids.ts';
import { isFailure, type JobView } from '../job.ts';
import { redisError } from '../ledger/evaluate.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { destroySecret, type JobQueue } from '../ledger/queued.ts';
import type { JobRecord } from '../ledger/records.ts';

/** Taking a request back while nothing was done for it. */
export function createCancelDesk(options: {
  ledger: Ledger;
  queues: JobQueue[];
  view: (jobId: string, record?: JobRecord) => Promise<JobView | undefined>;
}) {
  const { ledger, queues, view } = options;

  async function cancel(jobId: string): Promise<JobView> {
    // It has a record only while it is at work.
    if (isRowJobId(jobId)) throw new PassferryError((await view(jobId)) ? 'row_of_import' : 'job_unknown');
    const record = await ledger.job(jobId);
    if (!record) throw new PassferryError('job_unknown');
    const cancelled = await ledger.cancel(record);
    if (cancelled.kind === 'begun') throw new PassferryError('job_begun');
    if (cancelled.kind === 'quarantined') throw new PassferryError('quarantined');
    if (cancelled.kind === 'gone') throw new PassferryError('job_unknown');
    const { outcome } = cancelled;
    if (!isFailure(outcome) || outcome.code !== 'canceled') throw new PassferryError('job_done');
    // Nowhere: it may be on its way into the queue, and the sweeper looks again.
    const found = await Promise.all(queues.map((queue) => queue.getJob(jobId)));
    if (found.some((job) => job)) await destroySecret(ledger, queues, jobId);
    const told = await view(jobId);
    if (!told) throw new PassferryError('job_unknown');
    return told;
  }

  /**
   * Ends a job that no worker has begun: `canceled`, reason `job_canceled`; its sealed password goes, whoever waits is told.
   * Repeating gives the same. Errors: `job_unknown`, `row_of_import`, `job_begun`, `job_done`, `quarantined`, `redis_down` (then it is unknown:
   * repeat).
   */
  return (jobId: string): Promise<JobView> =>
    cancel(jobId).catch((error) => {
      throw redisError(error);
    });
}
