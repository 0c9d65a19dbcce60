import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import { optionsNow } from '../ledger/run-options.ts';
import type { RunLimit } from '../run.ts';

export type RunPace = ReturnType<typeof createRunPace>;

/** A run that may go at a rate has rows for so long in the queue: more would come at once after an outage. */
const aheadSeconds = 5;
/** The rate is what ended in so long. */
const rateMs = 5_000;

/** How fast runs may go, and how fast they do. Only one worker feeds at a time, so what it counts holds for all of them. */
export function createRunPace(options: {
  redis: Redis;
  keys: Keys;
  /** Rows of runs a second towards v2, of all of them together. Default: no limit. */
  v2Rate?: number;
  backendsOf?: (run: string, f: Record<string, string>) => Promise<ReadonlySet<BackendName>>;
}) {
  const { redis, keys, v2Rate } = options;
  const buckets = new Map<string, { rows: number; at: number }>();

  /** Whole rows that a rate has left. */
  function left(name: string, rate: number): number {
    const now = performance.now();
    const bucket = buckets.get(name) ?? { rows: 1, at: now };
    if (!buckets.has(name) && buckets.size > 1_000) buckets.clear();
    const rows = Math.min(Math.max(1, rate), bucket.rows + ((now - bucket.at) * rate) / 1_000);
    buckets.set(name, { rows, at: now });
    return Math.floor(rows);
  }

  function spend(name: string, rows: number): void {
    const bucket = buckets.get(name);
    if (bucket) bucket.rows -= rows;
  }

  return {
    /** Rows that may be fed now while `open` are in the queue or at work; undefined: nothing limits it. `f`: fields of the run. */
    async room(run: string, f: Record<string, string>, open: number): Promise<number | undefined> {
      const { rate, concurrency } = optionsNow(f);
      const limits: [RunLimit, number][] = [];
      if (concurrency !== undefined) limits.push(['concurrency', concurrency - open]);
      if (rate !== undefined) limits.push(['rate', Math.min(left(run, rate), ahead(rate) - open)]);
      if (v2Rate !== undefined && (await options.backendsOf?.(run, f))?.has('v2')) {
        limits.push(['backend_rate', Math.min(left('v2', v2Rate), ahead(v2Rate) - open)]);
      }
      const [by, rows] = limits.sort((a, b) => a[1] - b[1])[0] ?? [];
      if (f.limitedBy !== by && by !== undefined) await redis.hset(keys.run(run), 'limitedBy', by);
      return rows;
    },

    /** So many were fed. */
    fed(run: string, rows: number): void {
      spend(run, rows);
      spend('v2', rows);
    },

    /** Rows a second, for whoever looks; and when something moved last. */
    async measure(run: string, f: Record<string, string>, now: number): Promise<void> {
      const finished = Number(f.finished ?? 0);
      const since = now - Number(f.rateAt ?? 0);
      if (f.rateAt !== undefined && since < rateMs) return;
      const moved = finished - Number(f.rateFinished ?? 0);
      const rate = f.rateAt === undefined ? 0 : (Math.max(0, moved) * 1_000) / since;
      await redis.hset(keys.run(run), {
        rateAt: now,
        rateFinished: finished,
        rate: rate.toFixed(2),
        ...((moved !== 0 || f.movedAt === undefined) && { movedAt: now }),
      });
    },
  };
}

const ahead = (rate: number) => Math.max(1, Math.ceil(rate * aheadSeconds));
