import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { SetPasswordData } from '../../src/job.ts';
import type { Keys } from '../../src/keys.ts';
import { createPages } from '../../src/ledger/pages.ts';
import { createRunControl } from '../../src/ledger/run-control.ts';
import { type PageRow, pageOf, placeOf } from '../../src/page.ts';
import { createPageWriter } from '../../src/producer/import/page-writer.ts';
import type { RunOptions } from '../../src/run.ts';
import { Secret } from '../../src/secret.ts';
import type { JobKey } from '../../src/signature.ts';

export const runOptions: RunOptions = { format: 'csv', changeRequired: false, overwriteNewer: false };

const dataKey = randomBytes(32);
const print = { id: 'p', key: randomBytes(32) };
const prints = { current: () => print, find: (id: string) => (id === print.id ? print : undefined) };

/** Runs whose rows stand in pages of a real Redis, without a parser before them or workers behind them. */
export function pageScene(redis: Redis, keys: Keys, jobKey: JobKey, retentionMs = 60_000) {
  const runs = createRunControl(redis, keys, retentionMs, jobKey);
  const pages = createPages(redis, keys, jobKey);

  return {
    runs,
    pages,

    /** Stores rows as an upload does: from the first one, the same again is harmless. Returns the number of pages. */
    async store(
      run: { id: string; org: string; expiresInMs?: number; options?: RunOptions },
      rows: (PageRow & { password?: string })[],
    ): Promise<number> {
      const { id, org, expiresInMs = 600_000, options = runOptions } = run;
      const opened = await runs.open({ id, org, caller: 'c', expiresInMs, options });
      const { acceptedAt: runAt, expiresAt, ttlMs } = opened;
      const writer = createPageWriter({
        ...{ pages, jobKey, prints, retentionMs, newKey: async () => ({ id: 'd', bytes: dataKey }) },
        place: { ...{ run: id, org, caller: 'c', runAt, expiresAt, ttlMs }, overwriteNewer: options.overwriteNewer },
      });
      for (const { password = 'A-password-1', ...row } of rows) {
        await writer.add(row, row.refused === undefined ? Secret.fromString(password) : undefined);
      }
      await writer.flush();
      return writer.pages();
    },

    /** A stored row as the job that a worker makes of it; of a row that was refused there is none. */
    async job(run: string, row: number): Promise<SetPasswordData> {
      const read = await pages.read(run, pageOf(row));
      const stored = read?.page.rows[placeOf(row)];
      if (!read || stored?.user === undefined) throw new Error(`row ${row} is not stored`);
      const { caller, org, base, acceptedAt, expiresAt, overwriteNewer } = read.page.head;
      return {
        ...{ v: 1, name: 'set-password', jobId: `${run}-${row}`, caller, user: stored.user, org: stored.org ?? org },
        ...{ seq: String(BigInt(base) + BigInt(placeOf(row))), acceptedAt, expiresAt, overwriteNewer, run, row },
        ...{ changeRequired: false, admin: false, dataKey: 'd', sealed: '', mac: 'm' },
      };
    },
  };
}
