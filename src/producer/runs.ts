import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { rowJobId } from '../ids.ts';
import { failure, type JobView, type Outcome } from '../job.ts';
import type { Keys } from '../keys.ts';
import { createFoundUsers } from '../ledger/found-users.ts';
import { endAt, type Pages } from '../ledger/pages.ts';
import { rowEnd } from '../ledger/row-end.ts';
import type { RunControl } from '../ledger/run-control.ts';
import { type Page, type PageRow, pageOf, pageRows, placeOf } from '../page.ts';
import { asAsked, factsOf, inEffect, isResult, onlyRead } from '../row-outcome.ts';
import type { RunView } from '../run.ts';
import type { JobKey } from '../signature.ts';
import { importReasons } from './import/reasons.ts';
import { rowAdvice } from './import/row-advice.ts';
import { migrationReasons } from './migration/reasons.ts';

/** A row of a run as whoever may see the run sees it: never its secret. */
export interface RowView {
  row: number;
  line: number;
  byte?: number;
  userId?: string;
  org?: string;
  /** Its job, unless it was refused when it was read. */
  job?: string;
  done: boolean;
  result?: string;
  code?: string;
  reason?: string;
  message?: string;
  /** What a person does about it. */
  advice?: string;
  /** The column that is wrong. */
  field?: string;
  inEffect: boolean;
  /** The file's own columns, without secrets. */
  columns?: Record<string, string>;
}

const rowReasons = { ...importReasons, ...migrationReasons };

const resultTexts: Record<string, string> = {
  superseded: 'A newer password for this user was set first.',
  stale: 'The password was changed later than the time that this one is of.',
  link_sent: 'The backend took the order to mail a reset link; no password was set.',
};

/** Reading the rows of runs, whatever has become of them. */
export function createRunDesk(redis: Redis, keys: Keys, jobKey: JobKey, pages: Pages, runs: RunControl) {
  const found = createFoundUsers(redis, keys, jobKey);

  async function toView(run: RunView, page: Page, place: number, ends: Buffer): Promise<RowView> {
    const row = page.head.page * pageRows + place + 1;
    const stored = page.rows[place] as PageRow;
    const end = stored.refused ?? (await endOf(run, row, endAt(ends, place)));
    const user = stored.user ?? (stored.find && (await found.read({ run: run.id, row })));
    const about = {
      row,
      line: stored.line,
      ...(stored.byte !== undefined && { byte: stored.byte }),
      ...(user !== undefined && { userId: user }),
      ...(stored.refused === undefined && { org: stored.org ?? page.head.org, job: rowJobId(run.id, row) }),
      ...(stored.field !== undefined && { field: stored.field }),
      ...columnsOf(run, stored),
    };
    if (end === undefined) return { ...about, done: false, inEffect: false };
    if (onlyRead.has(end)) return { ...about, done: true, result: end, inEffect: false };
    if (isResult(end)) {
      const message = resultTexts[end];
      return {
        ...about,
        done: true,
        result: end,
        reason: end,
        ...(message && { message }),
        ...adviceFor(end),
        inEffect: inEffect.has(end),
      };
    }
    return { ...about, done: true, ...factsOf(end, rowReasons), ...adviceFor(end), inEffect: false };
  }

  /** Rows that never began end as their run does. */
  async function endOf(run: RunView, row: number, bytes: Buffer): Promise<string | undefined> {
    const end = await rowEnd(redis, keys, jobKey, { run: run.id, row, bytes });
    if (end !== undefined && end !== 'forged') return end;
    if (run.state === 'cancelled') return 'run_canceled';
    return run.state === 'completed' ? 'job_expired' : undefined;
  }

  return {
    /** One row, from 1. Undefined: there is none of that number (any more). */
    async row(run: RunView, row: number): Promise<RowView | undefined> {
      const read = await pages.read(run.id, pageOf(row));
      if (!read || placeOf(row) >= read.page.rows.length) return undefined;
      return toView(run, read.page, placeOf(row), read.ends);
    },

    /** Every row that ended without its password being in force, in file order. */
    async *rejects(run: RunView): AsyncGenerator<RowView> {
      // Pages of a migration need not be full.
      const stored = Number(await redis.hget(keys.run(run.id), 'pages'));
      for (let page = 0; page < stored; page++) {
        const read = await pages.read(run.id, page);
        if (!read) continue;
        for (let place = 0; place < read.page.rows.length; place++) {
          const view = await toView(run, read.page, place, read.ends);
          const end = view.result ?? '';
          if (view.done && !onlyRead.has(end) && !asAsked.has(end)) yield view;
        }
      }
    },

    /** A row as a job, once its record is gone: in work it has one. */
    async asJob(jobId: string): Promise<JobView | undefined> {
      const [, id, number] = /^(r0-[0-9a-z]{26})-(\d{1,9})$/.exec(jobId) ?? [];
      const run = id === undefined ? undefined : await runs.view(id);
      // A dry run asks for nothing: its rows are no jobs.
      if (!run || run.options.dryRun || run.options.migration || number === undefined) return undefined;
      const row = Number(number);
      const read = await pages.read(run.id, pageOf(row));
      const stored = read?.page.rows[placeOf(row)];
      if (!read || !stored || stored.refused !== undefined) return undefined;
      const view = await toView(run, read.page, placeOf(row), read.ends);
      const { at: _, ...outcome } = outcomeOf(view) ?? { at: 0 };
      return {
        id: jobId,
        state: view.done ? (view.code ? 'failed' : 'completed') : 'waiting',
        done: view.done,
        user: view.userId ?? '',
        org: view.org as string,
        ...{ run: run.id, row },
        acceptedAt: new Date(read.page.head.acceptedAt).toISOString(),
        expiresAt: run.expiresAt,
        attempts: 0,
        ...(view.done && { ended: (view.result ?? view.code) as never, outcome: outcome as never }),
      };
    },
  };
}

function adviceFor(reason: string): { advice?: string } {
  const advice = rowAdvice(reason);
  return advice === undefined ? {} : { advice };
}

/** As the row stands in the file: what its user and organization say already is not stored twice. */
function columnsOf({ options: { map = {} } }: RunView, { user, find, org, columns }: PageRow) {
  const name = user ?? (find && ('email' in find ? find.email : find.userName));
  const all = {
    ...(map.userId !== undefined && name !== undefined && { [map.userId]: name }),
    ...(map.orgId !== undefined && org !== undefined && { [map.orgId]: org }),
    ...columns,
  };
  return Object.keys(all).length > 0 ? { columns: all } : {};
}

function outcomeOf(view: RowView): Outcome | undefined {
  if (!view.done) return undefined;
  if (view.result !== undefined) return { result: view.result as never, inEffect: view.inEffect, at: 0 };
  return failure(
    new PassferryError(view.reason ?? 'refused', { code: view.code as never, message: view.message as never }),
    0,
  );
}
