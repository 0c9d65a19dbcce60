import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { type Page, readPage, type StoredPage } from '../page.ts';
import { rowBytes } from '../row-outcome.ts';
import type { JobKey } from '../signature.ts';
import { evaluate, redisError } from './evaluate.ts';
import { prelude } from './lua.ts';

export type Pages = ReturnType<typeof createPages>;

/** Rows of runs at rest: sealed pages, and beside each how its rows have ended. */
export function createPages(redis: Redis, keys: Keys, jobKey: JobKey, onForged: (what: string) => void = () => {}) {
  return {
    /**
     * The place of a page in the order of all changes; the same for a page that was begun and not stored. Errors:
     * `ledger_not_ready`, `idempotency_key_reused` (the whole input was stored, and this is more), `run_ended` (cancelled or over: nothing
     * more is taken).
     */
    async reserve(
      run: string,
      page: number,
      rows: number,
      ttlMs: number,
    ): Promise<{ kind: 'stored'; print: string } | { kind: 'new'; base: string; acceptedAt: number }> {
      const reply = (await evaluate(
        redis,
        reservePage,
        [keys.run(run), keys.sequence, keys.page(run, page)],
        [rows, ttlMs],
      )) as string[];
      if (reply[0] === 'not_ready') throw new PassferryError('ledger_not_ready', { scope: 'backend' });
      if (reply[0] === 'closed') throw new PassferryError('idempotency_key_reused');
      if (reply[0] === 'ended') throw new PassferryError('run_ended');
      if (reply[0] === 'stored') return { kind: 'stored', print: reply[1] as string };
      return { kind: 'new', base: reply[1] as string, acceptedAt: Number(reply[2]) };
    },

    /**
     * Stored with its counts in one step; once stored a page never changes. `ends` are the bytes of its rows' ends, stored where any was refused. Errors: `run_ended`;
     * `idempotency_key_reused` (another upload was faster, with something else).
     */
    async store(
      run: string,
      page: number,
      stored: StoredPage,
      given: { print: string; ends: Buffer; accepted: number; rejected: number; ttlMs: number },
    ): Promise<void> {
      const kept = await evaluate(
        redis,
        storePage,
        [keys.run(run), keys.page(run, page), keys.pageSecret(run, page), keys.pageEnds(run, page), keys.activeRuns],
        [
          ...[stored.head, stored.clear, stored.sealed, stored.mac],
          ...[given.print, given.ends, given.accepted, given.rejected, page, given.ttlMs, run],
        ],
      );
      if (kept === 'ended') throw new PassferryError('run_ended');
      // The one before was lost on its way: what comes again finds it missing.
      if (kept === 'gap') throw new PassferryError('accept_unknown', { scope: 'backend' });
      if (kept !== given.print) throw new PassferryError('idempotency_key_reused');
    },

    /** A page with how its rows have ended. Undefined: not stored (any more), or not by us. */
    async read(run: string, page: number): Promise<{ page: Page; ends: Buffer } | undefined> {
      const [fields, sealed, ends] = await Promise.all([
        redis.hmgetBuffer(keys.page(run, page), 'head', 'clear', 'mac'),
        redis.getBuffer(keys.pageSecret(run, page)),
        redis.getBuffer(keys.pageEnds(run, page)),
      ]).catch((error) => {
        throw redisError(error);
      });
      const [head, clear, mac] = fields;
      if (!head || !clear || !mac) return undefined;
      const stored = { head: head.toString(), clear, sealed: sealed ?? Buffer.alloc(0), mac: mac.toString() };
      const read = readPage(jobKey, run, page, stored);
      if (!read) onForged('page');
      return read && { page: read, ends: ofAllRows(ends, read.head.rows) };
    },

    /** The sealed part of a page as it is stored now: its own tag binds it to its head. Empty: destroyed, or gone with the run. */
    async sealed(run: string, page: number): Promise<Buffer> {
      const sealed = await redis.getBuffer(keys.pageSecret(run, page)).catch((error) => {
        throw redisError(error);
      });
      return sealed ?? Buffer.alloc(0);
    },

    /** Ends of a page's rows as stored, zeros while none has ended; empty when there is no such page. */
    async ends(run: string, page: number): Promise<Buffer> {
      const [rows, ends] = await Promise.all([
        redis.hget(keys.page(run, page), 'rows'),
        redis.getBuffer(keys.pageEnds(run, page)),
      ]);
      return ofAllRows(ends, Number(rows ?? 0));
    },

    /** Why a row ended, where that has no number. */
    async note(run: string, row: number): Promise<string | undefined> {
      return (await redis.hget(keys.runNotes(run), String(row))) ?? undefined;
    },
  };
}

/** What is not stored is zeros: those rows have not ended. */
function ofAllRows(ends: Buffer | null, rows: number): Buffer {
  const missing = rows * rowBytes - (ends?.length ?? 0);
  return missing > 0 ? Buffer.concat([ends ?? Buffer.alloc(0), Buffer.alloc(missing)]) : (ends as Buffer);
}

/** The bytes of one place. */
export function endAt(ends: Buffer, place: number): Buffer {
  return ends.subarray(place * rowBytes, (place + 1) * rowBytes);
}

/** KEYS run, sequence, page · ARGV rows, ttlMs → not_ready | ended | closed | {stored, print} | {new, base, acceptedAt} */
const reservePage = `${prelude}
local r = redis.call('HMGET', KEYS[1], 'state', 'input')
local state = r[1]
local f = redis.call('HMGET', KEYS[3], 'mac', 'print', 'base', 'acceptedAt')
if f[1] then return {'stored', f[2]} end
if r[2] == 'closed' then return {'closed'} end
if not state or state == 'cancelling' or state == 'cancelled' or state == 'completed' then return {'ended'} end
if f[3] then return {'new', f[3], f[4]} end
local last = redis.call('GET', KEYS[2])
if not last then return {'not_ready'} end
local us = now_us()
local base = math.max(us, tonumber(last) + 1)
redis.call('SET', KEYS[2], text(base + tonumber(ARGV[1]) - 1))
redis.call('HSET', KEYS[3], 'base', text(base), 'acceptedAt', text(math.floor(us / 1000)))
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return {'new', text(base), text(math.floor(us / 1000))}
`;

/** KEYS run, page, its secret, its ends, active runs · ARGV head, clear, sealed, mac, print, ends, accepted, rejected, page, ttlMs, runId */
const storePage = `${prelude}
if redis.call('HEXISTS', KEYS[2], 'mac') == 1 then return redis.call('HGET', KEYS[2], 'print') end
-- Its rows were counted when it was cancelled.
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'cancelled' or state == 'completed' then return 'ended' end
local pages = tonumber(redis.call('HGET', KEYS[1], 'pages') or '0')
if pages < tonumber(ARGV[9]) then return 'gap' end
redis.call('HSET', KEYS[2], 'head', ARGV[1], 'clear', ARGV[2], 'mac', ARGV[4], 'print', ARGV[5], 'open', ARGV[7],
  'rows', ARGV[7] + ARGV[8])
redis.call('HDEL', KEYS[2], 'base', 'acceptedAt')
redis.call('PEXPIRE', KEYS[2], ARGV[10])
if tonumber(ARGV[7]) > 0 then redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[10]) end
if tonumber(ARGV[8]) > 0 then redis.call('SET', KEYS[4], ARGV[6], 'PX', ARGV[10]) end
redis.call('HINCRBY', KEYS[1], 'accepted', ARGV[7])
redis.call('HINCRBY', KEYS[1], 'rejected', ARGV[8])
redis.call('HSET', KEYS[1], 'pages', text(math.max(pages, tonumber(ARGV[9]) + 1)))
redis.call('ZADD', KEYS[5], 'NX', now_ms(), ARGV[11])
return ARGV[5]
`;
