import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { queueNames } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { destroySecret, findQueued, redrive } from '../ledger/queued.ts';
import type { JobKey } from '../signature.ts';

/** Looked at in one round. */
const atOnce = 200;
/** Of a queue's failed jobs: the newest, and a further part of the rest each round. */
const newest = 200;
const part = 1_000;

/** The sweeper's share of failed jobs: those whose retry was cut short, and secrets whose time has come. */
export function createFailedSweep(redis: Redis, keys: Keys, ledger: Ledger, jobKey: JobKey) {
  const queues = Object.values(queueNames).map((name) => {
    const queue = new Queue(name, { connection: redis, prefix: keys.bullPrefix, skipVersionCheck: true });
    queue.on('error', () => {});
    return queue;
  });
  const offsets = new Map<Queue, number>();

  /** The queue says failed, the ledger open: whoever failed it, it was not an answer (P6). */
  async function openAmong(ids: string[]): Promise<string[]> {
    const pipeline = redis.pipeline();
    for (const id of ids) pipeline.hmget(keys.job(id), 'seq', 'outcome', 'quarantined');
    const replies = (await pipeline.exec()) ?? [];
    return ids.filter((_, i) => {
      const [error, fields] = replies[i] ?? [];
      const [seq, outcome, quarantined] = (error ? [] : (fields as (string | null)[])) ?? [];
      return seq && !outcome && !quarantined;
    });
  }

  return {
    /** Retries that were cut short between two of their steps, and failures that were the queue's own. */
    async redriveOpen(): Promise<void> {
      for (const id of await ledger.reopenedJobs(atOnce)) await redrive(ledger, queues, jobKey, id);
      for (const queue of queues) {
        const failed = queue.toKey('failed');
        const offset = offsets.get(queue) ?? 0;
        const rest = await redis.zrange(failed, offset, offset + part - 1);
        offsets.set(queue, rest.length < part ? 0 : offset + part);
        const ids = [...new Set([...(await redis.zrange(failed, 0, newest - 1, 'REV')), ...rest])];
        for (const id of ids.length > 0 ? await openAmong(ids) : []) await redrive(ledger, queues, jobKey, id);
      }
    },

    /** Removes the sealed passwords of failed jobs whose time for a retry is over. */
    async destroySecrets(): Promise<void> {
      for (let passed = 0; ; ) {
        const ids = await ledger.dueSecrets(atOnce, passed);
        for (const id of ids) {
          const gone = (await ledger.condemnSecret(id)) && (await destroySecret(ledger, queues, id));
          // In a worker's hand: looked past, asked again in the next round.
          if (!gone) passed++;
        }
        if (ids.length < atOnce) return;
      }
    },

    async dataKeyOf(jobId: string): Promise<string> {
      return (await findQueued(queues, jobId, jobKey))?.data?.dataKey ?? '';
    },

    close: () => Promise.all(queues.map((queue) => queue.close().catch(() => {}))),
  };
}
