import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { HoldReason, RunOptions, RunState, RunView } from '../run.ts';
import type { JobKey } from '../signature.ts';
import { evaluate, redisError } from './evaluate.ts';
import { prelude } from './lua.ts';
import { readCounts } from './migrations.ts';
import type { Tuning } from './run-options.ts';
import { runSteps } from './run-steps.ts';
import { toView, withMigration } from './run-view.ts';
import { signRun } from './tell.ts';

export type RunControl = ReturnType<typeof createRunControl>;

/** What a person or a worker tells a run to do. */
export type RunOrder = 'pause' | 'resume' | 'cancel' | 'expire';

/** Runs as records: begun, told what to do, read. Their rows stand in pages. */
export function createRunControl(redis: Redis, keys: Keys, retentionMs: number, jobKey: JobKey) {
  const stepKeys = (id: string) => [keys.run(id), keys.events, keys.activeRuns];

  return {
    /** Opens a run or goes on with it. Error: `idempotency_key_reused` when something else is asked of it. */
    async open(run: { id: string; caller: string; org: string; expiresInMs: number; options: RunOptions }) {
      // A dry run is forgotten when its time is over.
      const keptMs = run.options.dryRun ? 0 : retentionMs + dayMs;
      const reply = (await evaluate(
        redis,
        openRun,
        [keys.run(run.id), keys.orgRuns(run.org)],
        [
          ...[run.id, run.caller, run.org, run.expiresInMs, keptMs, JSON.stringify(run.options)],
          ...[signRun(jobKey, run.id, run.org), run.options.maxFailures ?? ''],
        ],
      )) as string[];
      if (reply[0] === 'mismatch') throw new PassferryError('idempotency_key_reused');
      const [kind, state, acceptedAt, expiresAt] = reply as [string, string, string, string];
      const ttlMs = run.expiresInMs + keptMs;
      return { isNew: kind === 'new', state, acceptedAt: Number(acceptedAt), expiresAt: Number(expiresAt), ttlMs };
    },

    /** The whole input is stored, in so many pages; what it was, as digests. Error: `idempotency_key_reused` when more of it is stored. */
    async closeInput(
      id: string,
      pages: number,
      digests: { content?: string; mac?: string; bytes?: number; repeated?: number; hashes?: number } = {},
    ): Promise<void> {
      const closed = await evaluate(redis, closeInput, stepKeys(id), [
        ...[digests.content ?? '', digests.mac ?? '', pages, digests.bytes ?? '', digests.repeated ?? 0],
        digests.hashes ?? 0,
      ]);
      if (closed === 'mismatch') throw new PassferryError('idempotency_key_reused');
    },

    /**
     * Pause, resume, cancel; `expire` when its time is over. A resume overrules what the run holds for, but mails only with
     * `mails`. Repeating is harmless. Errors: `run_unknown`, `run_ended` (it is over, or about to be).
     */
    async order(id: string, order: RunOrder, more: { mails?: 'allow' } = {}): Promise<RunState> {
      const reply = (await evaluate(redis, orderRun, stepKeys(id), [order, more.mails ?? ''])) as string[];
      if (reply[0] === 'unknown') throw new PassferryError('run_unknown');
      if (reply[0] === 'refused') throw new PassferryError('run_ended');
      return reply[1] as RunState;
    },

    /** Other limits from now on; what is not named stays. Errors: `run_unknown`, `run_ended`. */
    async tune(id: string, tuning: Tuning): Promise<void> {
      const done = await evaluate(redis, tuneRun, [keys.run(id)], [JSON.stringify(tuning)]);
      if (done === 'unknown') throw new PassferryError('run_unknown');
      if (done === 'ended') throw new PassferryError('run_ended');
    },

    /** The step that a run takes by itself when nothing of it is at work. */
    async settle(id: string): Promise<void> {
      await evaluate(redis, settleRun, stepKeys(id), []);
    },

    /** By itself, with a reason; only a running one, and not for what a person has overruled. True: it holds. */
    async hold(id: string, reason: HoldReason): Promise<boolean> {
      return (await evaluate(redis, holdRun, [keys.run(id)], [reason])) === 1;
    },

    /** Ends the hold if it still has this reason. */
    async unhold(id: string, reason: HoldReason): Promise<void> {
      await evaluate(redis, unholdRun, stepKeys(id), [reason]);
    },

    async view(id: string): Promise<RunView | undefined> {
      const fields = await redis.hgetall(keys.run(id)).catch((error) => {
        throw redisError(error);
      });
      if (!fields.id) return undefined;
      const view = toView(fields);
      const { migration } = view.options;
      return migration ? withMigration(view, fields, migration.mode, await readCounts(redis, keys, id)) : view;
    },

    /** Ids of an organization's runs, the newest first, from after `before` (ms). */
    async list(org: string, limit: number, before?: number): Promise<{ id: string; at: number }[]> {
      const max = before === undefined ? '+inf' : `(${before}`;
      const found = await redis
        .zrevrangebyscore(keys.orgRuns(org), max, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
        .catch((error) => {
          throw redisError(error);
        });
      const ids: { id: string; at: number }[] = [];
      for (let i = 0; i < found.length; i += 2) ids.push({ id: found[i] as string, at: Number(found[i + 1]) });
      return ids;
    },

    /** The first of these ids that is a run here, else the first. At least one. */
    async firstKnown(ids: string[]): Promise<string> {
      if (ids.length === 1) return ids[0] as string;
      const known = await Promise.all(ids.map((id) => redis.exists(keys.run(id)))).catch((error) => {
        throw redisError(error);
      });
      return (ids[known.indexOf(1)] ?? ids[0]) as string;
    },
  };
}

const dayMs = 86_400_000;

/** KEYS run, runs of the organization · ARGV runId, caller, org, expiresInMs, keptMs after that, options, mac of its organization, maxFailures → {new|same, state, acceptedAt, expiresAt} | {mismatch} */
const openRun = `${prelude}
local now = now_ms()
local f = redis.call('HMGET', KEYS[1], 'state', 'acceptedAt', 'expiresAt', 'options')
if f[1] then
  if f[4] ~= ARGV[6] then return {'mismatch'} end
  return {'same', f[1], f[2], f[3]}
end
local expires = text(now + tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'caller', ARGV[2], 'org', ARGV[3], 'state', 'running', 'input', 'open',
  'acceptedAt', text(now), 'expiresAt', expires, 'options', ARGV[6], 'orgMac', ARGV[7], 'accepted', '0', 'rejected', '0',
  'finished', '0', 'inflight', '0', 'feedPage', '0', 'pages', '0', 'fed', '0')
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'maxFailures', ARGV[8]) end
local ttl = tonumber(ARGV[4]) + tonumber(ARGV[5])
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - 3888000000)
redis.call('PEXPIRE', KEYS[2], 3888000000)
return {'new', 'running', text(now), expires}
`;

/** KEYS run, events, active runs · ARGV digest of the content, mac of the input, pages, bytes of the input */
const closeInput = `${prelude}${runSteps}
-- The same beginning, and then the file ends: it is another one.
if tonumber(redis.call('HGET', KEYS[1], 'pages') or '0') > tonumber(ARGV[3]) then return 'mismatch' end
if redis.call('HGET', KEYS[1], 'input') ~= 'open' then return 0 end
redis.call('HSET', KEYS[1], 'input', 'closed', 'content', ARGV[1], 'contentMac', ARGV[2], 'inputBytes', ARGV[4], 'repeated', ARGV[5], 'hashes', ARGV[6])
run_step(KEYS[1], KEYS[2], KEYS[3], now_ms())
return 1
`;

/** KEYS run, events, active runs · ARGV order, allow (mails) or nothing → {ok, state} | {refused, state} | {unknown} */
const orderRun = `${prelude}${runSteps}
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return {'unknown'} end
local order = ARGV[1]
local over = state == 'completed' or state == 'cancelled'
local going = state == 'running' or state == 'pausing' or state == 'paused' or state == 'holding'
if order == 'cancel' and (state == 'cancelled' or state == 'cancelling') then return {'ok', state} end
if not going then return {'refused', state} end
if order == 'pause' then
  if state ~= 'paused' then redis.call('HSET', KEYS[1], 'state', 'pausing') end
elseif order == 'resume' then
  redis.call('HSET', KEYS[1], 'state', 'running', 'failuresForgiven', redis.call('HGET', KEYS[1], 'failed') or '0')
  local o = redis.call('HMGET', KEYS[1], 'overruled', 'reason')
  local overruled = o[1] or ''
  -- Mails are not let go by the way: without a word of them they are asked about again.
  if state == 'holding' and o[2] ~= 'mails_not_allowed' then overruled = overruled .. ' ' .. (o[2] or '') .. ' ' end
  if ARGV[2] == 'allow' then overruled = overruled .. ' mails_not_allowed ' end
  if overruled ~= '' then redis.call('HSET', KEYS[1], 'overruled', overruled) end
  redis.call('HDEL', KEYS[1], 'reason', 'heldAt')
  -- Rows that stood in the queue have left it, but for a few: the feeder counts them anew.
  redis.call('HSET', KEYS[1], 'refeed', '1')
else
  redis.call('HSET', KEYS[1], 'state', 'cancelling', 'endAs', order == 'expire' and 'expired' or 'canceled')
end
return {'ok', run_step(KEYS[1], KEYS[2], KEYS[3], now_ms())}
`;

/** KEYS run · ARGV tuning as JSON → tuned | unknown | ended */
const tuneRun = `
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'unknown' end
if state == 'cancelling' or state == 'cancelled' or state == 'completed' then return 'ended' end
local tuned = cjson.decode(redis.call('HGET', KEYS[1], 'tuned') or '{}')
for name, value in pairs(cjson.decode(ARGV[1])) do tuned[name] = value end
redis.call('HSET', KEYS[1], 'tuned', cjson.encode(tuned))
redis.call('HDEL', KEYS[1], 'limitedBy')
return 'tuned'
`;

/** KEYS run, events, active runs */
const settleRun = `${prelude}${runSteps}
return run_step(KEYS[1], KEYS[2], KEYS[3], now_ms())
`;

/** KEYS run · ARGV reason */
const holdRun = `${prelude}
local f = redis.call('HMGET', KEYS[1], 'state', 'overruled')
if f[1] ~= 'running' or string.find(f[2] or '', ' ' .. ARGV[1] .. ' ', 1, true) then return 0 end
redis.call('HSET', KEYS[1], 'state', 'holding', 'reason', ARGV[1], 'heldAt', text(now_ms()))
return 1
`;

/** KEYS run, events, active runs · ARGV reason */
const unholdRun = `${prelude}${runSteps}
local f = redis.call('HMGET', KEYS[1], 'state', 'reason')
if f[1] ~= 'holding' or f[2] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running')
redis.call('HDEL', KEYS[1], 'reason', 'heldAt')
run_step(KEYS[1], KEYS[2], KEYS[3], now_ms())
return 1
`;
