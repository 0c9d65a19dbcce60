import type { JobEvent } from '../event.ts';
import { isEventId, timeOf } from '../ledger/event-log.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { toJobEvent } from '../ledger/tell.ts';

/**
 * The end of one job as the event log tells it, read from the ledger: so there is one for rows too, and for what is older than
 * the log. `open`: it has none yet; undefined: no record. Error: `redis_down`.
 */
export function createEventOf(ledger: Pick<Ledger, 'job'>) {
  return async (jobId: string): Promise<JobEvent | 'open' | undefined> => {
    const record = await ledger.job(jobId);
    if (!record) return undefined;
    const { outcome, event, attempts } = record;
    if (!outcome) return 'open';
    const id = event !== undefined && isEventId(event) ? event : `${outcome.at}-0`;
    return { id, time: timeOf(id), ...toJobEvent(record, outcome), attempts };
  };
}
