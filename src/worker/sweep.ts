import { PassferryError } from '../errors.ts';
import { failure, type SetPasswordData } from '../job.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { JobRecord } from '../ledger/records.ts';

const everyMs = 5_000;
const atOnce = 200;

/** Ends what is older than its expiry and that no worker has in hand, also when the queue has lost it (P6, P7). */
export function startSweeper(ledger: Ledger, onError: (error: unknown) => void) {
  let running: Promise<void> | undefined;

  async function sweep(): Promise<void> {
    // Those at work stay in the line: looked past, or a few of them would keep all others from their end.
    for (let passed = 0; ; ) {
      const records = await ledger.overdue(atOnce, 1_000, passed);
      for (const record of records) {
        const data = asData(record);
        const begun = await ledger.begin(data, { token: '', leaseMs: 0, backend: 'v1', exact: true });
        if (begun.kind === 'expired') await ledger.commit(data, failure(new PassferryError('job_expired'), 0));
        else passed++;
      }
      if (records.length < atOnce) return;
    }
  }

  const timer = setInterval(() => {
    running ??= sweep()
      .catch(onError)
      .finally(() => {
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

/** What the ledger needs of a job to end it; nothing here was ever secret. */
function asData(record: JobRecord): SetPasswordData {
  return {
    v: 1,
    name: 'set-password',
    jobId: record.jobId,
    caller: record.caller,
    org: record.org,
    user: record.user,
    seq: record.seq,
    acceptedAt: record.acceptedAt,
    expiresAt: record.expiresAt,
    changeRequired: true,
    admin: false,
    overwriteNewer: false,
    dataKey: '',
    sealed: '',
    mac: '',
    ...(record.run !== undefined && record.row !== undefined ? { run: record.run, row: record.row } : {}),
  };
}
