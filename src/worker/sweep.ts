import { PassferryError } from '../errors.ts';
import { failure } from '../job.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { asData } from '../ledger/records.ts';

const everyMs = 5_000;
const atOnce = 200;

/** Ends what is older than its expiry and that no worker has in hand, also when the queue has lost it (P6, P7). */
export function startSweeper(
  ledger: Ledger,
  onError: (error: unknown) => void,
  /** Done in the same rounds, each whatever becomes of the others. */
  more: (() => Promise<void>)[] = [],
  /** The data key of a job in the queue, which must live as long as a retry is possible; '' when it has none. */
  dataKeyOf: (jobId: string) => Promise<string> = async () => '',
) {
  let running: Promise<void> | undefined;

  async function sweep(): Promise<void> {
    // Those at work stay in the line: looked past, or a few of them would keep all others from their end.
    for (let passed = 0; ; ) {
      const records = await ledger.overdue(atOnce, 1_000, passed);
      for (const record of records) {
        const data = asData(record);
        const begun = await ledger.begin(data, { token: '', leaseMs: 0, backend: 'v1', exact: true });
        if (begun.kind === 'expired') {
          const sealed = { ...data, dataKey: await dataKeyOf(record.jobId) };
          await ledger.commit(sealed, failure(new PassferryError('job_expired'), 0));
        } else passed++;
      }
      if (records.length < atOnce) return;
    }
  }

  async function round(parts: (() => Promise<void>)[]): Promise<void> {
    for (const part of parts) await part().catch(onError);
  }

  const timer = setInterval(() => {
    running ??= round([sweep, ...more]).finally(() => {
      running = undefined;
    });
  }, everyMs);
  timer.unref();

  return {
    sweep,
    async stop() {
      clearInterval(timer);
      await running;
    },
  };
}
