import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { rowJobId } from '../ids.ts';
import { queueNames } from '../job.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from '../ledger/evaluate.ts';
import { prelude } from '../ledger/lua.ts';
import { endAt, type Pages } from '../ledger/pages.ts';
import type { RunControl } from '../ledger/run-control.ts';
import { turns } from '../ledger/turns.ts';
import type { Log } from '../log.ts';
import { pageRows } from '../page.ts';
import { unpackRow } from '../row-outcome.ts';
import { type RunOptions, rowCounts } from '../run.ts';
import type { JobKey } from '../signature.ts';
import { rowJob } from './rows.ts';

/** Rows of all runs together that are in the queue or at work. */
const windowRows = 2_000;
const everyMs = 250;
/** Whoever feeds holds the lease this much longer than a round. */
const leaseMs = 5_000;
/** Nothing ended for so long: the queue may have lost rows, so a run is fed again from its first open page. */
const lostMs = 60_000;
/** The rate is what ended in so long. */
const rateMs = 5_000;

/** What may keep all runs from being fed, and lets them go on by itself. */
export type FeedStop = () => Promise<'redis_memory' | undefined>;

/**
 * Feeds pages of runs to the queue: one of all workers at a time, run by run in turn, no more at once than a window. Rows that have
 * ended are left out and ids are always the same, so feeding again is harmless.
 */
export function startFeeder(options: {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  pages: Pages;
  runs: RunControl;
  log: Log;
  /** Before the first row of a run is fed: may it be? Holds the run itself when not. */
  mayBegin?: (run: string) => Promise<boolean>;
}) {
  const { redis, keys, jobKey, pages, runs, log } = options;
  const token = randomUUID();
  const queue = new Queue(queueNames.rows, { connection: redis, prefix: keys.bullPrefix, skipVersionCheck: true });
  queue.on('error', () => {});
  const begun = new Set<string>();
  let stopped = false;
  let working: Promise<void> | undefined;

  async function round(): Promise<void> {
    const [mine, active] = (await evaluate(redis, takeFeed, [keys.feedLease, keys.activeRuns], [token, leaseMs])) as [
      number,
      string[],
    ];
    if (mine !== 1) return;
    for (const run of active) {
      if (stopped) return;
      await feed(run, Math.max(pageRows, Math.floor(windowRows / active.length))).catch((err) =>
        log.warn({ err, run }, 'a run could not be fed; it is tried again'),
      );
    }
  }

  async function feed(run: string, window: number): Promise<void> {
    const f = await redis.hgetall(keys.run(run));
    const count = (name: string) => Number(f[name] ?? 0);
    if (!f.id) {
      await redis.zrem(keys.activeRuns, run);
      return;
    }
    const now = await redisNow(redis);
    if (now > count('expiresAt')) return void (await runs.order(run, 'expire').catch(() => {}));
    if (f.state !== 'running') return void (await evaluateStep(run));
    await measure(run, f, now);
    const { notBefore = 0 } = JSON.parse(f.options ?? '{}') as RunOptions;
    if (now < notBefore) return;
    if (!begun.has(run)) {
      if (options.mayBegin && count('finished') === 0 && !(await options.mayBegin(run))) return;
      begun.add(run);
    }
    let page = count('feedPage');
    let open = count('fed') - count('finished');
    const lost = open > 0 && count('inflight') === 0 && now - count('movedAt') > lostMs;
    if (lost) log.warn({ run, open }, 'rows that were fed do not end; they are fed again');
    // Rows left the queue while the run stood still, or whoever fed before may have been killed at it.
    if (lost || f.refeed !== undefined || f.feeder !== token) {
      page = Number(await evaluate(redis, feedAgain, [keys.run(run)], [token, now]));
      open = 0;
    }
    while (page < count('pages') && !stopped) {
      const rows = await openRows(run, page);
      if (rows === undefined) return;
      if (rows.length > 0 && open > 0 && open + rows.length > window) return;
      await add(run, f.org as string, page, rows);
      open += rows.length;
      page++;
    }
  }

  /** Rows of a page that have not ended; undefined: the page is not stored yet. */
  async function openRows(run: string, page: number): Promise<number[] | undefined> {
    const ends = await pages.ends(run, page);
    if (ends.length === 0) return undefined;
    const rows: number[] = [];
    for (let place = 0; endAt(ends, place).length > 0; place++) {
      const row = page * pageRows + place + 1;
      const end = unpackRow(jobKey, run, row, endAt(ends, place));
      // One that was forged is open: whoever takes it looks again.
      if (end === undefined || end === 'forged') rows.push(row);
    }
    return rows;
  }

  async function add(run: string, org: string, page: number, rows: number[]): Promise<void> {
    const turnsOfRows = (await evaluate(
      redis,
      takeTurns,
      [keys.line(queueNames.rows), keys.rowTurns],
      [`${org}/${run}`, rows.length],
    )) as string[];
    const jobs = rows.map((row, i) => ({
      name: rowJob.name,
      data: rowJob,
      opts: { ...rowOptions, jobId: rowJobId(run, row), priority: Number(turnsOfRows[i]) },
    }));
    if (jobs.length > 0) await queue.addBulk(jobs);
    await evaluate(redis, fedPage, [keys.run(run)], [page, rows.length, token]);
  }

  const evaluateStep = (run: string) => runs.settle(run);

  /** Rows a second, for whoever looks; and when something moved last. */
  async function measure(run: string, f: Record<string, string>, now: number): Promise<void> {
    const finished = rowCounts.reduce((sum, name) => sum + Number(f[name] ?? 0), 0);
    const since = now - Number(f.rateAt ?? 0);
    if (f.rateAt !== undefined && since < rateMs) return;
    const moved = finished - Number(f.rateFinished ?? 0);
    const rate = f.rateAt === undefined ? 0 : (moved * 1_000) / since;
    await redis.hset(keys.run(run), {
      rateAt: now,
      rateFinished: finished,
      rate: rate.toFixed(2),
      ...((moved > 0 || f.movedAt === undefined) && { movedAt: now }),
    });
  }

  const timer = setInterval(() => {
    working ??= round()
      .catch((err) => log.debug({ err }, 'runs cannot be fed now'))
      .finally(() => {
        working = undefined;
      });
  }, everyMs);
  timer.unref();

  return {
    async stop(): Promise<void> {
      stopped = true;
      clearInterval(timer);
      await working;
      await redis.eval(giveFeed, 1, keys.feedLease, token).catch(() => {});
      void queue.close().catch(() => {});
    },
  };
}

const rowOptions = {
  attempts: 1_000_000,
  backoff: { type: 'fixed', delay: 1_000, jitter: 0.5 },
  removeOnComplete: true,
  // How it ended stands in its page.
  removeOnFail: true,
  stackTraceLimit: 0,
} as const;

async function redisNow(redis: Redis): Promise<number> {
  const [seconds, micros] = (await redis.time()) as unknown as [string, string];
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}

/** KEYS lease, active runs · ARGV token, leaseMs → {0} | {1, run ids} */
const takeFeed = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, {}} end
local runs = redis.call('ZRANGE', KEYS[2], 0, -1)
if #runs > 0 or holder then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return {1, runs}
`;

const giveFeed = `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1`;

/** KEYS line of the rows, turns of rows · ARGV who, n → turns */
const takeTurns = `${prelude}${turns}
local n = tonumber(ARGV[2])
if n == 0 then return {} end
local before = row_places(KEYS[1], KEYS[2], ARGV[1], n)
local all = {}
for i = 1, n do all[i] = text(row_turn(before + i - 1)) end
return all
`;

/** KEYS run · ARGV page, rows, token. Of somebody who was slow it says nothing. */
const fedPage = `
if redis.call('HGET', KEYS[1], 'feeder') ~= ARGV[3] then return 0 end
redis.call('HINCRBY', KEYS[1], 'fed', ARGV[2])
redis.call('HSET', KEYS[1], 'feedPage', ARGV[1] + 1)
return 1
`;

/** KEYS run · ARGV token, now → the page at which feeding begins again: rows that have ended are left out, those in the queue stay what they are */
const feedAgain = `
local f = redis.call('HMGET', KEYS[1], 'finished', 'donePages')
redis.call('HSET', KEYS[1], 'feedPage', f[2] or '0', 'fed', f[1] or '0', 'feeder', ARGV[1], 'movedAt', ARGV[2])
redis.call('HDEL', KEYS[1], 'refeed')
return f[2] or '0'
`;
