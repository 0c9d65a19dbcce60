import { decodeJobData, type SetPasswordData } from '../job.ts';
import { type JobKey, jobParts, verify } from '../signature.ts';
import type { Ledger } from './ledger.ts';

/** What is needed of the queues to bring a job back that the ledger says is open. */
export interface JobQueue {
  getJob(jobId: string): Promise<QueuedJob | undefined>;
  /** 1 when it is gone; not while a worker has it in hand. */
  remove(jobId: string): Promise<number>;
}

export interface QueuedJob {
  id?: string | undefined;
  data: unknown;
  updateData(data: object): Promise<void>;
  getState(): Promise<string>;
  retry(state: 'failed'): Promise<void>;
  promote(): Promise<void>;
}

/** The job in whichever queue has it, and its data when they are signed by us. */
export async function findQueued(
  queues: Iterable<JobQueue>,
  jobId: string,
  jobKey: JobKey,
): Promise<{ job: QueuedJob; data: SetPasswordData | undefined } | undefined> {
  for (const queue of queues) {
    const job = await queue.getJob(jobId);
    if (job) return { job, data: verified(job, jobId, jobKey) };
  }
  return undefined;
}

function verified(job: QueuedJob, jobId: string, jobKey: JobKey): SetPasswordData | undefined {
  try {
    const data = decodeJobData(job.data);
    return data.jobId === jobId && verify(jobKey, 'job', jobParts(data), data.mac) ? data : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The ledger says open, the queue says failed: a retry that was cut short, or a failure that was the queue's own. The queue runs
 * it again. One that waits for a person (P11), is forged or lost is left.
 */
export async function redrive(
  ledger: Ledger,
  queues: Iterable<JobQueue>,
  jobKey: JobKey,
  jobId: string,
): Promise<void> {
  const record = await ledger.job(jobId);
  if (!record || record.outcome || record.quarantined) return ledger.redriven(jobId);
  const queued = await findQueued(queues, jobId, jobKey);
  if (queued?.data) {
    const state = await queued.job.getState();
    // In a worker's hand it may still end by what was read before the reopening: looked at again.
    if (state === 'active') return;
    // Somebody else may be faster: then it is where it belongs.
    if (state === 'failed') await unlessMoved(queued.job, state, queued.job.retry('failed'));
    if (state === 'delayed') await unlessMoved(queued.job, state, queued.job.promote());
  }
  await ledger.redriven(jobId);
}

async function unlessMoved(job: QueuedJob, from: string, step: Promise<void>): Promise<void> {
  await step.catch(async (error) => {
    if ((await job.getState()) === from) throw error;
  });
}

/** Removes the job, and with it the sealed password, from every queue. False: a worker has it in hand; ask again. */
export async function destroySecret(ledger: Ledger, queues: Iterable<JobQueue>, jobId: string): Promise<boolean> {
  for (const queue of queues) {
    const removed = await queue.remove(jobId).catch(() => 0);
    if (removed !== 1 && (await queue.getJob(jobId))) return false;
  }
  await ledger.secretDestroyed(jobId);
  return true;
}
