import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Backend } from '../../adapters/port.ts';
import { PassferryError, toPassferryError } from '../../errors.ts';
import type { BackendName } from '../../job.ts';
import type { Keys } from '../../keys.ts';
import { evaluate } from '../../ledger/evaluate.ts';
import { countField, createMigrations } from '../../ledger/migrations.ts';
import type { Pages } from '../../ledger/pages.ts';
import type { RunControl } from '../../ledger/run-control.ts';
import type { Log } from '../../log.ts';
import type { MigrationOptions } from '../../migration.ts';
import { makeOpenPage, type PageHead, type PageRow, pageRows } from '../../page.ts';
import { packRow, rowBytes } from '../../row-outcome.ts';
import type { RunOptions } from '../../run.ts';
import type { JobKey } from '../../signature.ts';
import { trace } from '../../trace.ts';
import { under } from '../../under.ts';
import type { Lane } from '../lane.ts';
import { createCompletion } from './complete.ts';

type Tally = Record<string, number>;
type Fields = Record<string, string>;

const everyMs = 250;
const leaseMs = 20_000;
/** One run is read for so long before others have their turn, ms. */
const turnMs = 2_000;
/** A request for fewer users is not worth it: then the page stays a little short. */
const fewUsers = 100;
const readMs = 15_000;
/** A migration that was announced and never begun: its producer has ended. */
const forgottenMs = 60_000;
/** The same page under the same number, whoever stores it: where it begins stands in the one before. */
const print = 'users';
/** Rows of v1 that are told as numbers alone. */
const countedOnly = new Set(['deleted', 'machine']);

/**
 * Reads the users of v1 into the pages of migrations, one worker at a time: producers know no backend. Where a page ends stands in the
 * page itself, so that a crash anywhere leaves neither a gap nor a user twice. What is over is put on record here too.
 */
export function startFiller(options: {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  pages: Pages;
  runs: RunControl;
  lanes: Partial<Record<BackendName, Lane>>;
  /** Looks at each open migration. */
  watch: (run: string, f: Fields, migration: MigrationOptions) => Promise<void>;
  log: Log;
}) {
  const { redis, keys, jobKey, pages, runs, lanes, log } = options;
  const migrations = createMigrations(redis, keys);
  const complete = createCompletion(redis, keys, jobKey);
  const token = randomUUID();
  const stopping = new AbortController();
  let working: Promise<void> | undefined;

  const isMine = async () => (await evaluate(redis, takeFill, [keys.fillLease], [token, leaseMs])) === 1;

  async function round(): Promise<void> {
    const open = await migrations.open();
    if (open.length === 0 || !(await isMine())) return;
    for (const { run, since } of open) {
      if (stopping.signal.aborted) return;
      await look(run, since).catch((err) => {
        if (!stopping.signal.aborted) log.warn({ err, runId: run }, 'a migration could not go on; it is tried again');
      });
    }
  }

  async function look(run: string, since: number): Promise<void> {
    const f = await redis.hgetall(keys.run(run));
    if (!f.id) {
      const [seconds] = (await redis.time()) as unknown as [string];
      if (Number(seconds) * 1_000 - since > forgottenMs) await migrations.release(run, []);
      return;
    }
    const { migration } = JSON.parse(f.options ?? '{}') as RunOptions;
    if (!migration) return migrations.release(run, []);
    if (f.state === 'completed' || f.state === 'cancelled') {
      await complete(run, f, migration);
      return migrations.release(run, migration.orgs);
    }
    if (f.state === 'running') await options.watch(run, f, migration);
    if (f.state === 'running' && f.input === 'open') await fill(run, f, migration);
  }

  async function fill(run: string, f: Fields, migration: MigrationOptions): Promise<void> {
    const lane = lanes.v1;
    const users = lane?.backend.users?.bind(lane.backend);
    if (!lane || !users) throw new PassferryError('ability_missing', { scope: 'backend' });
    if (await lane.mustWait(f.org as string)) return;
    const orgs = new Set(migration.orgs);
    const until = performance.now() + turnMs;
    let number = Number(f.pages ?? 0);
    let last = number === 0 ? undefined : (await pages.read(run, number - 1))?.page.head.migration;
    if (number > 0 && !last) throw new PassferryError('internal');
    try {
      while (!stopping.signal.aborted) {
        if (last && last.next === undefined) return await close(run, number, last.tally);
        const tally: Tally = { ...last?.tally };
        const read = await readUsers(users, last?.next, orgs, tally, f.org as string, number);
        lane.worked(f.org as string);
        if (read.rows.length === 0) return await close(run, number, tally);
        const { mode, create, repair } = migration;
        const said: NonNullable<PageHead['migration']> = {
          ...{ mode, tally },
          ...(create && { create }),
          ...(repair && { repair }),
          ...(last?.next !== undefined && { from: last.next }),
          ...(read.next !== undefined && { next: read.next }),
        };
        await store(run, f, number, read.rows, said);
        trace('migration:page', { jobId: run });
        last = said;
        number++;
        if (performance.now() > until || !(await isMine())) return;
      }
    } catch (thrown) {
      const error = toPassferryError(thrown);
      if (stopping.signal.aborted || error.reason === 'run_ended') return;
      if (error.reason !== 'redis_down') lane.waitAfter(error, f.org as string);
      throw error;
    }
  }

  /** A page full of users, or nearly: what is of other organizations is passed over. */
  async function readUsers(
    users: NonNullable<Backend['users']>,
    from: string | undefined,
    orgs: Set<string>,
    tally: Tally,
    home: string,
    number: number,
  ): Promise<{ rows: PageRow[]; next: string | undefined }> {
    const rows: PageRow[] = [];
    const add = (row: Omit<PageRow, 'line'>) => rows.push({ line: number * pageRows + rows.length + 1, ...row });
    const count = (field: string) => {
      tally[field] = (tally[field] ?? 0) + 1;
    };
    let after = from;
    do {
      const last = after;
      const page = await under([stopping.signal, AbortSignal.timeout(readMs)], (signal) =>
        users(last, pageRows - rows.length, signal),
      );
      for (const { user, org, id } of page.users) {
        if (!orgs.has(org)) continue;
        add({ user, ...(org !== home && { org }), ...(id !== user && { columns: { v1Id: id } }) });
      }
      for (const { id, org, why } of page.leftOut ?? []) {
        if (org === undefined || !orgs.has(org)) continue;
        if (countedOnly.has(why)) count(countField.leftOut(why));
        else {
          add({ ...(org !== home && { org }), refused: why, columns: { v1Id: id } });
          count(countField.verdict(why));
          count(countField.ofOrg(org, why));
        }
      }
      after = page.next;
      if (after !== undefined && !(await isMine())) throw new PassferryError('aborted', { scope: 'backend' });
    } while (after !== undefined && (rows.length === 0 || pageRows - rows.length >= fewUsers));
    return { rows, next: after };
  }

  async function store(
    run: string,
    f: Fields,
    page: number,
    rows: PageRow[],
    migration: NonNullable<PageHead['migration']>,
  ): Promise<void> {
    const ttlMs = await redis.pttl(keys.run(run));
    if (ttlMs <= 0) throw new PassferryError('run_ended');
    const reserved = await pages.reserve(run, page, rows.length, ttlMs);
    // Somebody else was faster: what it stored goes, and is read in the next round.
    if (reserved.kind === 'stored') throw new PassferryError('aborted', { scope: 'backend' });
    const head: PageHead = {
      ...{ v: 1, run, page, rows: rows.length, base: reserved.base, org: f.org as string, caller: f.caller as string },
      ...{ runAt: Number(f.acceptedAt), acceptedAt: reserved.acceptedAt, expiresAt: Number(f.expiresAt) },
      ...{ overwriteNewer: false, migration, dataKey: '' },
    };
    const ends = Buffer.alloc(rows.length * rowBytes);
    let rejected = 0;
    rows.forEach((row, i) => {
      if (row.refused === undefined) return;
      rejected++;
      packRow(jobKey, run, page * pageRows + i + 1, row.refused).bytes.copy(ends, i * rowBytes);
    });
    const counts = { rejected, accepted: rows.length - rejected };
    await pages.store(run, page, makeOpenPage(jobKey, head, rows), { print, ends, ...counts, ttlMs });
    await tell(run, migration.tally, ttlMs);
  }

  async function close(run: string, number: number, tally: Tally): Promise<void> {
    await tell(run, tally, await redis.pttl(keys.run(run)));
    await runs.closeInput(run, number);
  }

  /** What was counted beside rows: all of it so far, so that telling it twice is harmless. */
  async function tell(run: string, tally: Tally, ttlMs: number): Promise<void> {
    if (Object.keys(tally).length === 0) return;
    await redis.hset(keys.runVerdicts(run), tally);
    await redis.pexpire(keys.runVerdicts(run), Math.max(1, ttlMs));
  }

  const timer = setInterval(() => {
    working ??= round()
      .catch((err) => log.debug({ err }, 'migrations cannot be looked at now'))
      .finally(() => {
        working = undefined;
      });
  }, everyMs);
  timer.unref();

  return {
    async stop(): Promise<void> {
      clearInterval(timer);
      stopping.abort();
      await working;
      await redis.eval(giveFill, 1, keys.fillLease, token).catch(() => {});
    },
  };
}

/** KEYS lease · ARGV token, leaseMs → 1 | 0 */
const takeFill = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`;

const giveFill = `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1`;
