import { PassferryError } from '../errors.ts';
import { failure, type Outcome } from '../job.ts';
import { redisError } from '../ledger/evaluate.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { type HeldJob, type HeldJobs, quarantineAfter } from '../ledger/quarantine.ts';
import { asData } from '../ledger/records.ts';

/** What is needed of the queues. */
interface Queue {
  getJob(jobId: string): Promise<QueuedJob | undefined>;
  remove(jobId: string): Promise<number>;
}
interface QueuedJob {
  getState(): Promise<string>;
  retry(state: 'failed'): Promise<void>;
}

const longestList = 1_000;

/** What a person does with jobs that crashed their worker too often (P11). Errors of all: `redis_down`. */
export function createQuarantineDesk(options: {
  ledger: Ledger;
  held: HeldJobs;
  quarantine: Queue;
  /** Where jobs are held by workers that have no quarantine process. */
  others: Queue[];
}) {
  const { ledger, held, quarantine, others } = options;

  async function find(jobId: string) {
    for (const queue of [quarantine, ...others]) {
      const job = await queue.getJob(jobId);
      if (job) return { job, alone: queue === quarantine };
    }
    return undefined;
  }

  return {
    /** The jobs of an organization that wait for a person, longest first; up to 1,000. */
    list: (org: string): Promise<HeldJob[]> =>
      held.list(org, longestList).catch((error) => {
        throw redisError(error);
      }),

    isHeld: (jobId: string): Promise<boolean> => held.isHeld(jobId),

    /**
     * Lets the job run again, alone: three more crashes and it is held again. May be repeated when its answer was lost.
     * Errors: `job_not_quarantined`, `secret_destroyed` (nothing is left to run).
     */
    async release(jobId: string, by: string, reason: string): Promise<void> {
      const record = await ledger.job(jobId);
      if (!record || record.outcome) throw new PassferryError('job_not_quarantined');
      const found = await find(jobId);
      if (!found) throw new PassferryError(record.quarantined ? 'secret_destroyed' : 'job_not_quarantined');
      // The ledger first: who takes it from the queue must not find it held, and a retry alone can be repeated.
      const was = await held.letGo(record.org, jobId, found.alone ? quarantineAfter : 0, by, reason);
      const failed = (await found.job.getState()) === 'failed';
      if (!was && !failed) throw new PassferryError('job_not_quarantined');
      if (failed) {
        await found.job.retry('failed').catch(async (error) => {
          if ((await found.job.getState()) === 'failed') throw error;
        });
      }
    },

    /** Ends it as `canceled`, reason `dropped`; its sealed password goes at once. Error: `job_not_quarantined`. */
    async drop(jobId: string, by: string, reason: string): Promise<Outcome> {
      const record = await ledger.job(jobId);
      if (!record || record.outcome || !record.quarantined) throw new PassferryError('job_not_quarantined');
      await held.noteDrop(jobId, by, reason);
      // The secret first: what is cut short here is still listed and can be dropped again.
      for (const queue of [quarantine, ...others]) await queue.remove(jobId);
      return ledger.commit(asData(record), failure(new PassferryError('dropped'), 0));
    },
  };
}
