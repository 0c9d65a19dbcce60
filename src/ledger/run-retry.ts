import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { type PageHead, pageRows, resignPage } from '../page.ts';
import { inEffect, isResult, rowBytes, unpackRow } from '../row-outcome.ts';
import type { JobKey } from '../signature.ts';
import { evaluate } from './evaluate.ts';
import { keepDataKey } from './failed.ts';
import { prelude } from './lua.ts';
import { endAt, type Pages } from './pages.ts';
import { rowEnds } from './row-ends.ts';

/** What a retry has done. */
export interface RetriedRun {
  /** Rows that are on their way again. */
  reopened: number;
  /** Failed and expired rows whose passwords are destroyed already: import them again. */
  destroyed: number;
}

/** A data key outlives what it seals by this much, ms. */
const graceMs = 3_600_000;

/** Failed and expired rows of a run that is over are opened again, page by page. */
export function createRunRetry(redis: Redis, keys: Keys, jobKey: JobKey, pages: Pages) {
  /** Failed or expired: what is counted for it; undefined: it stays as it is. */
  function counterOf(end: string | undefined, neverBegan: string): string | undefined {
    if (end === undefined || end === 'forged') return neverBegan === 'expired' ? 'expired' : undefined;
    if (isResult(end) || inEffect.has(end)) return undefined;
    if (end === 'job_expired') return 'expired';
    return canceled.has(end) ? undefined : 'failed';
  }

  async function reopenPage(run: string, page: number, begun: Begun): Promise<RetriedRun> {
    const read = await pages.read(run, page);
    if (!read) return { reopened: 0, destroyed: 0 };
    const rows: (string | number | Buffer)[] = [];
    read.page.rows.forEach((row, place) => {
      if (row.refused !== undefined) return;
      const bytes = Buffer.from(endAt(read.ends, place));
      const number = page * pageRows + place + 1;
      const counter = counterOf(unpackRow(jobKey, run, number, bytes), begun.neverBegan);
      if (counter) rows.push(number, place * rowBytes, bytes, counter);
    });
    if (rows.length === 0) return { reopened: 0, destroyed: 0 };
    const head: PageHead = { ...read.page.head, expiresAt: begun.expiresAt };
    const stored = resignPage(jobKey, head, await redis.hgetBuffer(keys.page(run, page), 'clear'));
    await keepDataKey(redis, keys, head.dataKey, begun.ttlMs + graceMs);
    const reply = (await evaluate(
      redis,
      reopenRows,
      [
        ...[keys.run(run), keys.page(run, page), keys.pageSecret(run, page), keys.pageEnds(run, page)],
        ...[keys.runNotes(run), keys.dataKey(head.dataKey)],
      ],
      [begun.number, stored.head, stored.mac, begun.ttlMs, ...rows],
    )) as [string, number];
    const [kind, n] = reply;
    return kind === 'destroyed' ? { reopened: 0, destroyed: n } : { reopened: n, destroyed: 0 };
  }

  return {
    /**
     * Opens the failed and expired rows of a completed run again and lets it go on, with as much time as it had. Rows that a cancelling
     * has ended stay so. Repeating is harmless, and finishes what was interrupted. Errors: `run_unknown`, `run_ended` (it was
     * cancelled), `run_not_over`, `secret_destroyed` (of all of them).
     */
    async retry(run: string): Promise<RetriedRun> {
      const reply = (await evaluate(redis, beginRetry, [keys.run(run)], [])) as string[];
      if (reply[0] === 'unknown') throw new PassferryError('run_unknown');
      if (reply[0] === 'cancelled') throw new PassferryError('run_ended');
      if (reply[0] === 'running') throw new PassferryError('run_not_over');
      const [, number, count, neverBegan, expiresAt, ttlMs] = reply as [string, string, string, string, string, string];
      const begun: Begun = { number, neverBegan, expiresAt: Number(expiresAt), ttlMs: Number(ttlMs) };
      const all: RetriedRun = { reopened: 0, destroyed: 0 };
      for (let page = 0; page < Number(count); page++) {
        const one = await reopenPage(run, page, begun);
        all.reopened += one.reopened;
        all.destroyed += one.destroyed;
      }
      const total = (await evaluate(
        redis,
        endRetry,
        [keys.run(run), keys.activeRuns],
        [number, expiresAt, ttlMs],
      )) as number;
      if (total === 0 && all.destroyed > 0) throw new PassferryError('secret_destroyed');
      return { ...all, reopened: total };
    },
  };
}

interface Begun {
  number: string;
  /** How rows without an end are counted. */
  neverBegan: string;
  expiresAt: number;
  ttlMs: number;
}

/** Ended by a person, not by a failure. */
const canceled: ReadonlySet<string> = new Set(['job_canceled', 'run_canceled', 'dropped']);

/**
 * KEYS run → unknown | cancelled | running | {ok, number of the retry, pages, how rows without an end are counted, expiresAt, ttlMs}.
 * The run stays completed until all of its pages are opened: nothing of it begins, and it cannot end twice.
 */
const beginRetry = `${prelude}
local f = redis.call('HMGET', KEYS[1], 'state', 'retry', 'retrying', 'pages', 'endAs', 'acceptedAt', 'expiresAt', 'lifeMs',
  'retryExpiresAt')
if not f[1] then return {'unknown'} end
if f[1] == 'cancelled' or f[1] == 'cancelling' then return {'cancelled'} end
if f[1] ~= 'completed' then return {'running'} end
local life = f[8] or text(tonumber(f[7]) - tonumber(f[6]))
local number, expires = f[2], f[9]
if not f[3] then
  number = text(tonumber(f[2] or '0') + 1)
  expires = text(now_ms() + tonumber(life))
  redis.call('HSET', KEYS[1], 'retry', number, 'retrying', '0', 'lifeMs', life, 'retryExpiresAt', expires)
end
local left = redis.call('PTTL', KEYS[1])
local ttl = math.max(left, tonumber(life) + math.max(left, 86400000))
redis.call('PEXPIRE', KEYS[1], ttl)
return {'ok', number, f[4] or '0', f[5] or '', expires, text(ttl)}
`;

/**
 * KEYS run, page, its secret, its ends, notes, its data key · ARGV number of the retry, head, its mac, ttlMs, then of each row: number, place, bytes, counter
 * → {ok | done, rows} | {destroyed, rows}. A page is opened once for each retry.
 */
const reopenRows = `${prelude}${rowEnds}
local n = (#ARGV - 4) / 4
if redis.call('HGET', KEYS[2], 'retried') == ARGV[1] then return {'done', 0} end
if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('EXISTS', KEYS[6]) == 0 then return {'destroyed', n} end
local opened, reopened = 0, 0
for i = 5, #ARGV, 4 do
  local place = tonumber(ARGV[i + 1])
  local had = string.find(ARGV[i + 2], '[^%z]') and ARGV[i + 2] or nil
  if row_end(KEYS[4], place) == had then
    if had then
      redis.call('SETRANGE', KEYS[4], place, string.rep('\\0', ${rowBytes}))
      redis.call('HDEL', KEYS[5], ARGV[i])
      reopened = reopened + 1
    end
    redis.call('HINCRBY', KEYS[1], ARGV[i + 3], -1)
    opened = opened + 1
  end
end
-- What never began is counted as open still.
redis.call('HINCRBY', KEYS[2], 'open', reopened)
redis.call('HDEL', KEYS[2], 'failed')
redis.call('HSET', KEYS[2], 'retried', ARGV[1], 'head', ARGV[2], 'mac', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'finished', -opened)
redis.call('HINCRBY', KEYS[1], 'retrying', opened)
for _, key in ipairs({KEYS[2], KEYS[3], KEYS[4]}) do redis.call('PEXPIRE', key, ARGV[4]) end
if redis.call('EXISTS', KEYS[5]) == 1 then redis.call('PEXPIRE', KEYS[5], ARGV[4]) end
return {'ok', opened}
`;

/** KEYS run, active runs · ARGV number of the retry, expiresAt, ttlMs → rows that were opened */
const endRetry = `${prelude}
local f = redis.call('HMGET', KEYS[1], 'retry', 'retrying', 'id')
if f[1] ~= ARGV[1] or not f[2] then return 0 end
redis.call('HDEL', KEYS[1], 'retrying', 'retryExpiresAt')
if f[2] == '0' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running', 'expiresAt', ARGV[2], 'refeed', '1', 'failuresForgiven',
  redis.call('HGET', KEYS[1], 'failed') or '0')
redis.call('HDEL', KEYS[1], 'finishedAt', 'endAs', 'reason', 'heldAt')
redis.call('ZADD', KEYS[2], 'NX', now_ms(), f[3])
return tonumber(f[2])
`;
