import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { isFailure, queueNames } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { StoredAudit } from './audit-record.ts';
import { evaluate } from './evaluate.ts';
import { counting, loadKeys, type OrgLimit, storedBytes } from './load.ts';
import { prelude } from './lua.ts';
import type { Records } from './records.ts';
import { turns } from './turns.ts';
import { userJobsKept } from './user-jobs.ts';

/** When an organization has too much open. */
const askAgainMs = 5_000;

/** Accepting: which job a request is, and its place in the order. */
export function createReserve({
  redis,
  keys,
  retentionMs,
  readOutcome,
}: {
  redis: Redis;
  keys: Keys;
  retentionMs: number;
  readOutcome: Records['readOutcome'];
}) {
  return {
    /**
     * The job of this idempotency key: a new one, the one that was accepted before, or again a new one when that ended
     * `expired`. `turn` is its priority in the queue. Errors: `ledger_not_ready`, `idempotency_key_reused`,
     * `idempotency_key_locked`; `org_quota`, never for a job that was accepted before.
     */
    async reserve(request: {
      keyDigest: string;
      /** The same under the other accepted job keys, while that rotates. */
      otherKeyDigests?: string[];
      jobId: string;
      /** `<id of its key>.<mac>` under the present key. */
      fingerprint: string;
      /** The fingerprint under the key of that id; undefined when the key is gone. */
      fingerprintUnder?: (keyId: string) => Promise<string | undefined>;
      caller: string;
      org: string;
      user: string;
      expiresInMs: number;
      /**
       * Nobody named the request: is it equal to this user's newest open job of the caller? Then it is that one. Told: its id and
       * its stored fingerprint. Default: not asked.
       */
      isSame?: (jobId: string, fingerprint: string) => Promise<boolean>;
      /** How much the organization may have open. Default: any. */
      limit?: OrgLimit;
      /** The queue it waits in. Default `interactive`. */
      queue?: 'interactive' | 'rows';
      /** Its audit record, made when it is sent: a new job and its record are one step. */
      audit?: () => StoredAudit & { stream: string };
    }) {
      const { limit, queue: asked = 'interactive' } = request;
      let compared = request.fingerprint;
      let replaces = '';
      /** `ask`, `never`, or the id of the job that it is. */
      let join = request.isSame ? 'ask' : 'never';
      for (;;) {
        const reply = (await evaluate(
          redis,
          reserve,
          [
            keys.idempotency(request.keyDigest),
            keys.job(request.jobId),
            keys.sequence,
            keys.open,
            keys.user(request.org, request.user),
            keys.userJobs(request.org, request.user),
            ...loadKeys(keys),
            keys.line(queueNames[asked]),
            keys.rowTurns,
            ...(request.otherKeyDigests ?? []).map((digest) => keys.idempotency(digest)),
          ],
          [
            request.jobId,
            compared,
            request.caller,
            request.org,
            request.user,
            request.expiresInMs,
            retentionMs,
            keys.job(''),
            replaces,
            request.fingerprint,
            join,
            userJobsKept,
            limit?.jobs ?? Number.MAX_SAFE_INTEGER,
            limit?.bytes ?? Number.MAX_SAFE_INTEGER,
            storedBytes(request),
            asked,
            ...auditArguments(request.audit?.()),
          ],
        )) as string[];
        const [kind, jobId, seq, acceptedAt, expiresAt, stored, mac, turn, queue] = reply;
        if (kind === 'not_ready') throw new PassferryError('ledger_not_ready', { scope: 'backend' });
        if (kind === 'quota') throw new PassferryError('org_quota', { retryAfterMs: askAgainMs });
        if (kind === 'locked') throw new PassferryError('idempotency_key_locked');
        if (kind === 'mismatch') throw new PassferryError('idempotency_key_reused');
        if (kind === 'other_key') {
          const under = await request.fingerprintUnder?.(jobId as string);
          // Not counted as a mismatch: without the key nobody learns whether it was one.
          if (under === undefined) throw new PassferryError('idempotency_key_reused');
          compared = under;
          continue;
        }
        if (kind === 'candidate') {
          join = (await request.isSame?.(jobId as string, seq as string)) ? (jobId as string) : 'never';
          continue;
        }
        const outcome = stored ? readOutcome(jobId as string, stored, mac ?? null, null) : undefined;
        if (outcome && isFailure(outcome) && outcome.code === 'expired') {
          replaces = jobId as string;
          continue;
        }
        return {
          replayed: kind === 'same',
          jobId: jobId as string,
          seq: seq as string,
          acceptedAt: Number(acceptedAt),
          expiresAt: Number(expiresAt),
          done: outcome !== undefined,
          turn: Number(turn),
          queue: queue === 'rows' ? ('rows' as const) : ('interactive' as const),
        };
      }
    },
  };
}

/** Not among KEYS, whose number varies: it has the hash tag of all of them. */
function auditArguments(audit: (StoredAudit & { stream: string }) | undefined): string[] {
  return audit ? [audit.stream, audit.body, audit.mac, audit.key] : [];
}

/**
 * KEYS idempotency, job, sequence, open, user, jobs of the user, counted, load, line of the queue, turns of rows, idempotency under the other accepted job keys (may lack) · ARGV jobId, fingerprint to
 * compare, caller, org, user, expiresInMs, retentionMs, jobKeyPrefix, replaces, fingerprint to store, join (ask | never | a job's id), jobs kept of a user, most
 * jobs, most bytes, bytes of this one, queue, and of the audit record (may lack): stream, body, mac, key
 * `replaces` is an expired job whose place under the key the new job takes; only if it still has it.
 * → not_ready | quota | locked | mismatch | {other_key, id} | {new|same, jobId, seq, acceptedAt, expiresAt, outcome, mac, turn, queue}
 * A known job that the queue has lost goes into the next round.
 */
const reserve = `${prelude}${counting}${turns}
local known = redis.call('GET', KEYS[1])
for i = 11, #KEYS do known = known or redis.call('GET', KEYS[i]) end
local misses = '0'
if known then
  local job = ARGV[8] .. known
  local f = redis.call('HMGET', job, 'fingerprint', 'seq', 'acceptedAt', 'expiresAt', 'outcome', 'outcomeMac', 'mismatches', 'queue')
  if f[1] then
    misses = f[7] or '0'
    if tonumber(misses) >= 5 then return {'locked'} end
    local id = string.match(f[1], '^(.*)%.') or ''
    if id ~= (string.match(ARGV[2], '^(.*)%.') or '') then return {'other_key', id} end
    if f[1] ~= ARGV[2] then
      redis.call('HINCRBY', job, 'mismatches', 1)
      return {'mismatch'}
    end
    if known ~= ARGV[9] then return {'same', known, f[2], f[3], f[4], f[5] or '', f[6] or '', text(next_turn(KEYS[9], 0, 0)), f[8] or ''} end
  end
end
if ARGV[11] ~= 'never' then
  local newest = redis.call('HGET', KEYS[5], 'newest')
  local f = newest and redis.call('HMGET', ARGV[8] .. newest, 'fingerprint', 'seq', 'acceptedAt', 'expiresAt', 'outcome', 'queue', 'caller', 'joinable')
  if f and f[1] and not f[5] and f[7] == ARGV[3] then
    if ARGV[11] ~= newest then return {'candidate', newest, f[8] or f[1]} end
    redis.call('SET', KEYS[1], newest, 'PX', math.max(1, redis.call('PTTL', ARGV[8] .. newest)))
    return {'same', newest, f[2], f[3], f[4], '', '', text(next_turn(KEYS[9], 0, 0)), f[6] or ''}
  end
end
local last = redis.call('GET', KEYS[3])
if not last then return {'not_ready'} end
local load = redis.call('HMGET', KEYS[8], 'jobs:' .. ARGV[4], 'bytes:' .. ARGV[4], 'turn:' .. ARGV[4])
local jobs = tonumber(load[1] or '0')
if jobs >= tonumber(ARGV[13]) or tonumber(load[2] or '0') + tonumber(ARGV[15]) > tonumber(ARGV[14]) then return {'quota'} end
-- First: a job without its record is none.
if ARGV[17] then redis.call('XADD', ARGV[17], '*', 'b', ARGV[18], 'm', ARGV[19], 'k', ARGV[20]) end
local turn
if ARGV[16] == 'rows' then turn = row_turn(row_places(KEYS[9], KEYS[10], ARGV[4], 1))
else turn = next_turn(KEYS[9], tonumber(load[3] or '0'), jobs) end
count(KEYS[7], KEYS[8], ARGV[1], ARGV[15], ARGV[4])
if ARGV[16] ~= 'rows' then redis.call('HSET', KEYS[8], 'turn:' .. ARGV[4], text(turn)) end
local us = now_us()
local seq = text(math.max(us, tonumber(last) + 1))
local now = math.floor(us / 1000)
local expires = now + tonumber(ARGV[6])
redis.call('SET', KEYS[3], seq)
redis.call('HSET', KEYS[2], 'caller', ARGV[3], 'org', ARGV[4], 'user', ARGV[5], 'seq', seq, 'acceptedAt', text(now),
  'expiresAt', text(expires), 'fingerprint', ARGV[10], 'key', KEYS[1], 'attempts', '0', 'starts', '0')
if ARGV[16] == 'rows' then redis.call('HSET', KEYS[2], 'queue', 'rows') end
if misses ~= '0' then redis.call('HSET', KEYS[2], 'mismatches', misses) end
local ttl = tonumber(ARGV[6]) + tonumber(ARGV[7]) + 86400000
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
redis.call('ZADD', KEYS[4], expires, ARGV[1])
redis.call('HSET', KEYS[5], 'newest', ARGV[1])
redis.call('ZADD', KEYS[6], seq, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -1 - tonumber(ARGV[12]))
if redis.call('PTTL', KEYS[6]) < ttl then redis.call('PEXPIRE', KEYS[6], ttl) end
redis.call('PEXPIRE', KEYS[5], 2764800000)
return {'new', ARGV[1], seq, text(now), text(expires), '', '', text(turn), ARGV[16]}
`;
