import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { rowJobId } from '../ids.ts';
import { queueNames } from '../job.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from '../ledger/evaluate.ts';
import { prelude } from '../ledger/lua.ts';
import type { Pages } from '../ledger/pages.ts';
import type { RunControl } from '../ledger/run-control.ts';
import { optionsNow } from '../ledger/run-options.ts';
import { turns } from '../ledger/turns.ts';
import type { Log } from '../log.ts';
import { pageRows } from '../page.ts';
import type { JobKey } from '../signature.ts';
import { isWithin } from '../window.ts';
import { firstOpenPage, openRows } from './open-rows.ts';
import { rowJob } from './rows.ts';
import type { RunHolds } from './run-holds.ts';
import type { RunMails } from './run-mails.ts';
import { createRunPace, type RunPace } from './run-pace.ts';

const everyMs = 250;
/** Put into the queue together: fewer answers of Redis to wait for. */
const pagesAtOnce = 4;
/** Whoever feeds holds the lease this much longer than a round. */
const leaseMs = 5_000;
/** Nothing ended for so long: the queue may have lost rows, so a run is fed again from its first open page. */
const lostMs = 60_000;
/** Rounds go on this fast while a run may have only a few rows in the queue. */
const pacedMs = 25;

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
  /** What runs hold for by themselves. Default: nothing. */
  holds?: RunHolds;
  /** Keeps back rows that would send mails. Default: none. */
  mails?: RunMails;
  /** How fast they may go. Default: as their options say. */
  pace?: RunPace;
  /** Rows of all runs together that are in the queue or at work. Default 2,000. */
  windowRows?: number;
}) {
  const { redis, keys, jobKey, pages, runs, log, windowRows = 2_000 } = options;
  const pace = options.pace ?? createRunPace({ redis, keys });
  const token = randomUUID();
  const queue = new Queue(queueNames.rows, { connection: redis, prefix: keys.bullPrefix, skipVersionCheck: true });
  queue.on('error', () => {});
  const begun = new Set<string>();
  let stopped = false;
  let paced = false;
  let rounds = 0;
  let working: Promise<void> | undefined;

  async function round(): Promise<void> {
    const [mine, active] = (await evaluate(redis, takeFeed, [keys.feedLease, keys.activeRuns], [token, leaseMs])) as [
      number,
      string[],
    ];
    paced = false;
    if (mine !== 1) return;
    // What several share does not always go to the same one.
    const first = rounds++ % Math.max(1, active.length);
    for (const run of [...active.slice(first), ...active.slice(0, first)]) {
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
    if (now > count('expiresAt')) await runs.order(run, 'expire').catch(() => {});
    if (options.holds && !(await options.holds.mayFeed(run, f))) return;
    const end = options.mails ? await options.mails.fence(run, f) : count('pages');
    if (f.state !== 'running') return void (await evaluateStep(run));
    if (end === 0) return;
    await pace.measure(run, f, now);
    const { notBefore = 0, window: hours } = optionsNow(f);
    if (now < notBefore) return;
    const isOpen = isWithin(hours, now);
    if (isOpen !== (f.limitedBy !== 'window')) {
      await (isOpen ? redis.hdel(keys.run(run), 'limitedBy') : redis.hset(keys.run(run), 'limitedBy', 'window'));
    }
    if (!isOpen) return;
    if (!begun.has(run)) {
      if (options.holds && count('finished') === 0 && !(await options.holds.mayBegin(run, f))) return;
      begun.add(run);
    }
    let page = count('feedPage');
    let open = count('fed') - count('finished');
    let after = count('feedRow');
    const lost = open > 0 && now - count('movedAt') > lostMs;
    if (lost && count('inflight') === 0) log.warn({ run, open }, 'rows that were fed do not end; they are fed again');
    // Rows left the queue while the run stood still, or whoever fed before may have been killed at it.
    if (lost || f.refeed !== undefined || f.feeder !== token) {
      page = await firstOpenPage(redis, keys, run, count('pages'));
      open = 0;
      after = 0;
      await evaluate(redis, feedAgain, [keys.run(run)], [page, token, now]);
    }
    const most = await pace.room(run, f, open);
    if (most !== undefined) {
      paced = true;
      if (page < end) await feedSome(run, f.org as string, page, after, Math.min(most, window - open));
      return;
    }
    while (page < end && !stopped) {
      const room = Math.min(pagesAtOnce, Math.ceil((window - open) / pageRows), end - page);
      const looked = await Promise.all(
        Array.from({ length: Math.max(1, room) }, (_, i) => openRows(pages, jobKey, run, page + i)),
      );
      const rows: number[] = [];
      let next = page;
      for (const found of looked) {
        const all = open + rows.length;
        if (found === undefined || (found.length > 0 && all > 0 && all + found.length > window)) break;
        rows.push(...found);
        next++;
      }
      if (next === page) return;
      await add(run, f.org as string, next - 1, rows);
      open += rows.length;
      page = next;
    }
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
    const chunks: (typeof jobs)[] = [];
    for (let from = 0; from < jobs.length; from += pageRows) chunks.push(jobs.slice(from, from + pageRows));
    await Promise.all(chunks.map((chunk) => queue.addBulk(chunk)));
    await evaluate(redis, fedPage, [keys.run(run)], [page, rows.length, token, rows.at(-1) ?? '']);
  }

  const evaluateStep = (run: string) => runs.settle(run);

  /** Where a limit lets only some rows of a page go. `after`: rows up to this one are fed. */
  async function feedSome(run: string, org: string, page: number, after: number, most: number): Promise<void> {
    const found = most < 1 ? undefined : (await openRows(pages, jobKey, run, page))?.filter((row) => row > after);
    if (!found) return;
    const rows = found.slice(0, most);
    await add(run, org, rows.length === found.length ? page : page - 1, rows);
    pace.fed(run, rows.length);
  }

  let ticks = 0;
  const timer = setInterval(() => {
    if (!paced && ticks++ % (everyMs / pacedMs) !== 0) return;
    working ??= round()
      .catch((err) => log.debug({ err }, 'runs cannot be fed now'))
      .finally(() => {
        working = undefined;
      });
  }, pacedMs);
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

/** KEYS run · ARGV page, rows, token, the last row. Of somebody who was slow it says nothing. */
const fedPage = `
if redis.call('HGET', KEYS[1], 'feeder') ~= ARGV[3] then return 0 end
redis.call('HINCRBY', KEYS[1], 'fed', ARGV[2])
redis.call('HSET', KEYS[1], 'feedPage', ARGV[1] + 1)
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'feedRow', ARGV[4]) end
return 1
`;

/** KEYS run · ARGV page, token, now. Rows that have ended are left out, those in the queue stay what they are. */
const feedAgain = `
local finished = redis.call('HGET', KEYS[1], 'finished') or '0'
redis.call('HSET', KEYS[1], 'feedPage', ARGV[1], 'fed', finished, 'feeder', ARGV[2], 'movedAt', ARGV[3])
redis.call('HDEL', KEYS[1], 'refeed', 'feedRow')
return 1
`;
