import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { evaluate, redisError } from './evaluate.ts';
import { prelude } from './lua.ts';

export type RunState = 'receiving' | 'running' | 'completed';

/** An import as everybody who may see it sees it. Counters are exact: each row is counted once, in the step of its outcome. */
export interface RunView {
  id: string;
  org: string;
  state: RunState;
  /** Rows read so far: those that became jobs and those that were rejected. */
  received: number;
  rejected: number;
  finished: number;
  set: number;
  unchanged: number;
  superseded: number;
  stale: number;
  failed: number;
  expired: number;
  canceled: number;
  acceptedAt: string;
  expiresAt: string;
  finishedAt?: string;
}

export function createRuns(redis: Redis, keys: Keys, retentionMs: number) {
  const both = (id: string) => [keys.run(id), keys.runRejects(id)];
  return {
    /** Opens a run or goes on with it. Error: `idempotency_key_reused` when `overwriteNewer` (default false) is another one. */
    async open(run: { id: string; caller: string; org: string; expiresInMs: number; overwriteNewer?: boolean }) {
      const reply = (await evaluate(redis, openRun, both(run.id), [
        run.id,
        run.caller,
        run.org,
        run.expiresInMs,
        retentionMs,
        run.overwriteNewer ? '1' : '0',
      ])) as string[];
      if (reply[0] === 'mismatch') throw new PassferryError('idempotency_key_reused');
      return { isNew: reply[0] === 'new', state: reply[1] as RunState, expiresAt: Number(reply[2]) };
    },

    /** The first of these ids that is a run here, else the first. At least one. */
    async firstKnown(ids: string[]): Promise<string> {
      if (ids.length === 1) return ids[0] as string;
      const known = await Promise.all(ids.map((id) => redis.exists(keys.run(id)))).catch((error) => {
        throw redisError(error);
      });
      return (ids[known.indexOf(1)] ?? ids[0]) as string;
    },

    async reject(id: string, row: number, reject: object): Promise<void> {
      await evaluate(redis, rejectRow, both(id), [row, JSON.stringify(reject)]);
    },

    async closeInput(id: string): Promise<void> {
      await evaluate(redis, closeInput, [keys.run(id)], []);
    },

    async view(id: string): Promise<RunView | undefined> {
      const f = await redis.hmget(keys.run(id), ...viewFields);
      const at = (name: (typeof viewFields)[number]) => f[viewFields.indexOf(name)] ?? undefined;
      const count = (name: (typeof viewFields)[number]) => Number(at(name) ?? 0);
      const time = (name: (typeof viewFields)[number]) => new Date(count(name)).toISOString();
      if (!at('id')) return undefined;
      return {
        id,
        org: at('org') as string,
        state: at('state') as RunState,
        received: count('accepted') + count('rejected'),
        rejected: count('rejected'),
        finished: count('finished'),
        set: count('set'),
        unchanged: count('unchanged'),
        superseded: count('superseded'),
        stale: count('stale'),
        failed: count('failed'),
        expired: count('expired'),
        canceled: count('canceled'),
        acceptedAt: time('acceptedAt'),
        expiresAt: time('expiresAt'),
        ...(at('finishedAt') && { finishedAt: time('finishedAt') }),
      };
    },

    /** Every row that is not in effect, as one JSON line each, unordered. */
    async *rejects(id: string): AsyncGenerator<string> {
      let cursor = '0';
      do {
        const [next, entries] = await redis.hscan(keys.runRejects(id), cursor, 'COUNT', 500);
        cursor = next;
        for (let i = 1; i < entries.length; i += 2) if (entries[i]) yield `${entries[i]}\n`;
      } while (cursor !== '0');
    },
  };
}

const viewFields = [
  'id',
  'org',
  'state',
  'accepted',
  'rejected',
  'finished',
  'set',
  'unchanged',
  'superseded',
  'stale',
  'failed',
  'expired',
  'canceled',
  'acceptedAt',
  'expiresAt',
  'finishedAt',
] as const;

/**
 * KEYS run, rejects · ARGV runId, caller, org, expiresInMs, retentionMs, overwriteNewer → {new|same, state, expiresAt} | {mismatch}. Opening again goes on
 * with the same run.
 */
const openRun = `${prelude}
local now = now_ms()
local f = redis.call('HMGET', KEYS[1], 'state', 'expiresAt', 'overwriteNewer')
if f[1] then
  if (f[3] or '0') ~= ARGV[6] then return {'mismatch'} end
  if f[1] ~= 'canceled' then
    redis.call('HSET', KEYS[1], 'state', 'receiving')
    redis.call('HDEL', KEYS[1], 'finishedAt')
  end
  return {'same', f[1], f[2]}
end
local expires = text(now + tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'caller', ARGV[2], 'org', ARGV[3], 'state', 'receiving', 'acceptedAt', text(now),
  'expiresAt', expires, 'overwriteNewer', ARGV[6], 'accepted', '0', 'rejected', '0', 'finished', '0')
local ttl = tonumber(ARGV[4]) + tonumber(ARGV[5]) + 86400000
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('HSET', KEYS[2], '0', '')
redis.call('PEXPIRE', KEYS[2], ttl)
return {'new', 'receiving', expires}
`;

/** KEYS run, rejects · ARGV row, reject. A row that never became a job; told twice it counts once. */
const rejectRow = `
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then redis.call('HINCRBY', KEYS[1], 'rejected', 1) end
return 1
`;

/** KEYS run. The whole input is stored. */
const closeInput = `${prelude}
local r = redis.call('HMGET', KEYS[1], 'accepted', 'finished', 'state')
if r[3] ~= 'receiving' then return r[3] or '' end
if tonumber(r[2]) >= tonumber(r[1]) then
  redis.call('HSET', KEYS[1], 'state', 'completed', 'finishedAt', text(now_ms()))
  return 'completed'
end
redis.call('HSET', KEYS[1], 'state', 'running')
return 'running'
`;
