import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { isFailure } from '../job.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';
import type { Records } from './records.ts';
import { userJobsKept } from './user-jobs.ts';

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
     * `expired`. Errors: `ledger_not_ready`, `idempotency_key_reused`, `idempotency_key_locked`.
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
      /** Nobody named the request: equal to this user's newest open job of the caller, it is that one. Default false. */
      mayJoin?: boolean;
    }) {
      let compared = request.fingerprint;
      let replaces = '';
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
            request.mayJoin ? '1' : '0',
            userJobsKept,
          ],
        )) as string[];
        const [kind, jobId, seq, acceptedAt, expiresAt, stored, mac] = reply;
        if (kind === 'not_ready') throw new PassferryError('ledger_not_ready', { scope: 'backend' });
        if (kind === 'locked') throw new PassferryError('idempotency_key_locked');
        if (kind === 'mismatch') throw new PassferryError('idempotency_key_reused');
        if (kind === 'other_key') {
          const under = await request.fingerprintUnder?.(jobId as string);
          // Not counted as a mismatch: without the key nobody learns whether it was one.
          if (under === undefined) throw new PassferryError('idempotency_key_reused');
          compared = under;
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
        };
      }
    },

    /** One block of sequences for a chunk of rows; a row that has a job already keeps its own. */
    async reserveRows(
      chunk: { run: string; caller: string; expiresAt: number },
      rows: { jobId: string; row: number; org: string; user: string }[],
    ) {
      const reply = (await evaluate(
        redis,
        reserveRows,
        [
          keys.run(chunk.run),
          keys.sequence,
          keys.open,
          keys.runRejects(chunk.run),
          ...rows.map((row) => keys.job(row.jobId)),
        ],
        [
          rows[0]?.row ?? 0,
          chunk.caller,
          chunk.expiresAt,
          retentionMs,
          ...rows.flatMap((row) => [row.jobId, row.row, row.org, row.user]),
        ],
      )) as string[];
      if (reply[0] === 'not_ready') throw new PassferryError('ledger_not_ready', { scope: 'backend' });
      if (reply[0] === 'mismatch') throw new PassferryError('idempotency_key_reused');
      return rows.map((row, i) => {
        const [seq, acceptedAt, done] = (reply[i] as string).split(':');
        return { ...row, seq: seq as string, acceptedAt: Number(acceptedAt), done: done === '1' };
      });
    },
  };
}

/**
 * KEYS idempotency, job, sequence, open, user, jobs of the user, idempotency under the other accepted job keys (may lack) · ARGV jobId, fingerprint to
 * compare, caller, org, user, expiresInMs, retentionMs, jobKeyPrefix, replaces, fingerprint to store, mayJoin, jobs kept of a user
 * `replaces` is an expired job whose place under the key the new job takes; only if it still has it.
 * → not_ready | locked | mismatch | {other_key, id} | {new|same, jobId, seq, acceptedAt, expiresAt, outcome, mac}
 */
const reserve = `${prelude}
local known = redis.call('GET', KEYS[1])
for i = 7, #KEYS do known = known or redis.call('GET', KEYS[i]) end
local misses = '0'
if known then
  local job = ARGV[8] .. known
  local f = redis.call('HMGET', job, 'fingerprint', 'seq', 'acceptedAt', 'expiresAt', 'outcome', 'outcomeMac', 'mismatches')
  if f[1] then
    misses = f[7] or '0'
    if tonumber(misses) >= 5 then return {'locked'} end
    local id = string.match(f[1], '^(.*)%.') or ''
    if id ~= (string.match(ARGV[2], '^(.*)%.') or '') then return {'other_key', id} end
    if f[1] ~= ARGV[2] then
      redis.call('HINCRBY', job, 'mismatches', 1)
      return {'mismatch'}
    end
    if known ~= ARGV[9] then return {'same', known, f[2], f[3], f[4], f[5] or '', f[6] or ''} end
  end
end
if ARGV[11] == '1' then
  local newest = redis.call('HGET', KEYS[5], 'newest')
  local f = newest and redis.call('HMGET', ARGV[8] .. newest, 'fingerprint', 'seq', 'acceptedAt', 'expiresAt', 'outcome')
  if f and f[1] == ARGV[10] and not f[5] then
    redis.call('SET', KEYS[1], newest, 'PX', math.max(1, redis.call('PTTL', ARGV[8] .. newest)))
    return {'same', newest, f[2], f[3], f[4], '', ''}
  end
end
local last = redis.call('GET', KEYS[3])
if not last then return {'not_ready'} end
local us = now_us()
local seq = text(math.max(us, tonumber(last) + 1))
local now = math.floor(us / 1000)
local expires = now + tonumber(ARGV[6])
redis.call('SET', KEYS[3], seq)
redis.call('HSET', KEYS[2], 'caller', ARGV[3], 'org', ARGV[4], 'user', ARGV[5], 'seq', seq, 'acceptedAt', text(now),
  'expiresAt', text(expires), 'fingerprint', ARGV[10], 'key', KEYS[1], 'attempts', '0', 'starts', '0')
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
return {'new', ARGV[1], seq, text(now), text(expires), '', ''}
`;

/**
 * KEYS run, sequence, open, rejects, then one job per row · ARGV firstRow, caller, expiresAt, retentionMs, then per row: jobId, row, org, user
 * One block of sequences for a chunk. A row that has a job keeps its sequence, so a chunk may be sent again, also cut
 * differently → not_ready | mismatch (a row is known with another user) | per row: seq:acceptedAt:done
 */
const reserveRows = `${prelude}
local n = #KEYS - 4
local us = now_us()
local last = redis.call('GET', KEYS[2])
if not last then return {'not_ready'} end
local base = math.max(us, tonumber(last) + 1)
local accepted = text(math.floor(us / 1000))
local ttl = tonumber(ARGV[3]) - tonumber(accepted) + tonumber(ARGV[4]) + 86400000
for i = 1, n do
  local known = redis.call('HMGET', KEYS[4 + i], 'org', 'user')
  local a = 4 + (i - 1) * 4
  if known[1] and (known[1] ~= ARGV[a + 3] or known[2] ~= ARGV[a + 4]) then return {'mismatch'} end
end
local reply = {}
local made = 0
for i = 1, n do
  local a = 4 + (i - 1) * 4
  local job = KEYS[4 + i]
  local known = redis.call('HMGET', job, 'seq', 'acceptedAt', 'outcome')
  if not known[1] then
    known = {text(base + made), accepted, false}
    made = made + 1
    redis.call('HSET', job, 'caller', ARGV[2], 'org', ARGV[a + 3], 'user', ARGV[a + 4], 'seq', known[1],
      'acceptedAt', accepted, 'expiresAt', ARGV[3], 'run', string.match(KEYS[1], ':run:(.+)$'), 'row', ARGV[a + 2],
      'attempts', '0', 'starts', '0')
    redis.call('PEXPIRE', job, ttl)
    redis.call('ZADD', KEYS[3], ARGV[3], ARGV[a + 1])
    redis.call('HINCRBY', KEYS[1], 'accepted', 1)
    if redis.call('HDEL', KEYS[4], ARGV[a + 2]) == 1 then redis.call('HINCRBY', KEYS[1], 'rejected', -1) end
  end
  reply[i] = known[1] .. ':' .. known[2] .. ':' .. (known[3] and '1' or '0')
end
if made > 0 then redis.call('SET', KEYS[2], text(base + made - 1)) end
return reply
`;
