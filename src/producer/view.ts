import { isFailure, type JobState, type JobView, type QueueName, type ToldOutcome } from '../job.ts';
import { redisError } from '../ledger/evaluate.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { JobRecord } from '../ledger/records.ts';

/** What is asked of a queue: where the job is now. */
type Queues = Record<QueueName, { getJobState(jobId: string): Promise<string> }>;

const time = (ms: number) => new Date(ms).toISOString();

/** Records of the ledger → what whoever may see a job sees of it. */
export function createView(ledger: Ledger, queues: Queues) {
  /** @param record as it was just read; else it is read here. Undefined after the job's retention. Error: `redis_down`. */
  return (jobId: string, record?: JobRecord): Promise<JobView | undefined> =>
    view(jobId, record).catch((error) => {
      throw redisError(error);
    });

  async function view(jobId: string, record: JobRecord | undefined): Promise<JobView | undefined> {
    const known = record ?? (await ledger.job(jobId));
    if (!known) return undefined;
    const { outcome } = known;
    const state = outcome ? ('code' in outcome ? 'failed' : 'completed') : await queueState(jobId, known);
    const until = await ledger.retryUntil(known);
    const { at, ...told } = outcome ?? { at: 0 };
    return {
      id: jobId,
      state,
      done: outcome !== undefined,
      user: known.user,
      org: known.org,
      ...(known.run && { run: known.run, row: known.row as number }),
      acceptedAt: time(known.acceptedAt),
      expiresAt: time(known.expiresAt),
      ...(outcome && {
        finishedAt: time(at),
        ended: isFailure(outcome) ? outcome.code : outcome.result,
        outcome: told as ToldOutcome,
      }),
      attempts: known.attempts,
      ...(known.waitingFor && !outcome && { waitingFor: known.waitingFor }),
      ...(until !== undefined && { retryUntil: time(until) }),
      ...(known.reopened && { reopened: known.reopened, reopenedBy: known.reopenedBy ?? '' }),
      ...(known.overwriteNewerBy && { overwriteNewerBy: known.overwriteNewerBy }),
      ...(known.droppedBy && outcome && { dropped: { by: known.droppedBy, reason: known.dropReason ?? '' } }),
    };
  }

  async function queueState(jobId: string, { run, queue }: JobRecord): Promise<JobState> {
    const state = await queues[run || queue === 'rows' ? 'rows' : 'interactive'].getJobState(jobId);
    if (state === 'active' || state === 'delayed') return state;
    return 'waiting';
  }
}
