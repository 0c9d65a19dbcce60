/**
 * The atomic steps of the ledger. All keys of a call share one hash tag. Times are Redis times in ms; sequences are below
 * 2^53, so Lua's doubles are exact, and are printed with %.0f (F35).
 */

const prelude = `
local function now_us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
local function now_ms() return math.floor(now_us() / 1000) end
local function text(n) return string.format('%.0f', n) end
local function applied_seq(value) return value and tonumber(string.match(value, '^(%d+):')) or 0 end
`;

/** KEYS sequence · ARGV lowest. Confirms the order on this Redis; never lowers it. */
export const raiseFloor = `${prelude}
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local floor = math.max(last, tonumber(ARGV[1]), now_us())
redis.call('SET', KEYS[1], text(floor))
return text(floor)
`;

/**
 * KEYS idempotency, job, sequence, open, idempotency under the previous job key (may lack) · ARGV jobId, fingerprint to
 * compare, caller, org, user, expiresInMs, retentionMs, jobKeyPrefix, replaces, fingerprint to store
 * `replaces` is an expired job whose place under the key the new job takes; only if it still has it.
 * → not_ready | locked | mismatch | {other_key, id} | {new|same, jobId, seq, acceptedAt, expiresAt, outcome, mac}
 */
export const reserve = `${prelude}
local known = redis.call('GET', KEYS[1])
if not known and KEYS[5] then known = redis.call('GET', KEYS[5]) end
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
local last = redis.call('GET', KEYS[3])
if not last then return {'not_ready'} end
local us = now_us()
local seq = text(math.max(us, tonumber(last) + 1))
local now = math.floor(us / 1000)
local expires = now + tonumber(ARGV[6])
redis.call('SET', KEYS[3], seq)
redis.call('HSET', KEYS[2], 'caller', ARGV[3], 'org', ARGV[4], 'user', ARGV[5], 'seq', seq, 'acceptedAt', text(now),
  'expiresAt', text(expires), 'fingerprint', ARGV[10], 'attempts', '0', 'starts', '0')
if misses ~= '0' then redis.call('HSET', KEYS[2], 'mismatches', misses) end
local ttl = tonumber(ARGV[6]) + tonumber(ARGV[7]) + 86400000
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
redis.call('ZADD', KEYS[4], expires, ARGV[1])
return {'new', ARGV[1], seq, text(now), text(expires), '', ''}
`;

/**
 * KEYS run, sequence, open, rejects, then one job per row · ARGV firstRow, caller, expiresAt, retentionMs, then per row: jobId, row, org, user
 * One block of sequences for a chunk. A row that has a job keeps its sequence, so a chunk may be sent again, also cut
 * differently → not_ready | mismatch (a row is known with another user) | per row: seq:acceptedAt:done
 */
export const reserveRows = `${prelude}
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

/**
 * KEYS job, user, open, run · ARGV jobId, seq, token, leaseMs, backend, exact, caller, org, user, acceptedAt, expiresAt, retentionMs, runId, row, settleGraceMs
 * An empty token only asks (the sweeper): a job at work is busy.
 * → {done, outcome, mac, finishedAt} | {busy, waitMs} | {superseded, applied} | {expired} | {canceled} | {go, starts, attempt, applied, now}
 */
export const begin = `${prelude}
local now = now_ms()
local f = redis.call('HMGET', KEYS[1], 'outcome', 'outcomeMac', 'finishedAt', 'attempt')
if f[1] then return {'done', f[1], f[2], f[3]} end
local attempt = f[4]
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'caller', ARGV[7], 'org', ARGV[8], 'user', ARGV[9], 'seq', ARGV[2], 'acceptedAt', ARGV[10],
    'expiresAt', ARGV[11], 'attempts', '0', 'starts', '0')
  if ARGV[13] ~= '' then redis.call('HSET', KEYS[1], 'run', ARGV[13], 'row', ARGV[14]) end
  redis.call('PEXPIRE', KEYS[1], math.max(0, tonumber(ARGV[11]) - now) + tonumber(ARGV[12]) + 86400000)
  redis.call('ZADD', KEYS[3], ARGV[11], ARGV[1])
end
local u = redis.call('HMGET', KEYS[2], 'leaseJob', 'leaseUntil', 'openJob', 'openUntil', ARGV[5])
if u[1] and u[1] ~= ARGV[1] and tonumber(u[2]) > now then return {'busy', text(tonumber(u[2]) - now)} end
if u[3] and u[3] ~= ARGV[1] then
  local wait = tonumber(u[4]) + tonumber(ARGV[15]) - now
  if wait > 0 then return {'busy', text(wait)} end
end
if ARGV[3] == '' then
  local mine = u[1] == ARGV[1] and tonumber(u[2]) or 0
  local open_until = attempt and tonumber(string.match(attempt, '^%d+:(%d+):')) or 0
  if mine > now or open_until + 3600000 > now then return {'busy', '0'} end
  -- The queue has lost this job, or it would have settled its attempt long ago.
  attempt = false
end
if not attempt then
  if ARGV[13] ~= '' and redis.call('HGET', KEYS[4], 'state') == 'canceled' then return {'canceled'} end
  if now > tonumber(ARGV[11]) then return {'expired'} end
end
if ARGV[6] == '0' and applied_seq(u[5]) > tonumber(ARGV[2]) then return {'superseded', u[5]} end
redis.call('HSET', KEYS[2], 'leaseJob', ARGV[1], 'leaseToken', ARGV[3], 'leaseUntil', text(now + tonumber(ARGV[4])))
redis.call('PEXPIRE', KEYS[2], 2764800000)
redis.call('HDEL', KEYS[1], 'waitingFor')
return {'go', redis.call('HINCRBY', KEYS[1], 'starts', 1), attempt or '', u[5] or '', text(now)}
`;

/** KEYS job, user · ARGV jobId, token, deadlineMs, before → {ok, now} | {lost}. Written before anything is sent (P2). */
export const recordAttempt = `${prelude}
local now = now_ms()
local u = redis.call('HMGET', KEYS[2], 'leaseToken', 'leaseUntil')
if u[1] ~= ARGV[2] or tonumber(u[2]) <= now then return {'lost'} end
local deadline = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'attempt', text(now) .. ':' .. text(deadline) .. ':' .. ARGV[4])
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HSET', KEYS[2], 'openJob', ARGV[1], 'openUntil', text(deadline),
  'leaseUntil', text(math.max(tonumber(u[2]), deadline + 5000)))
return {'ok', text(now)}
`;

/** KEYS job, user · ARGV jobId. The attempt is known to have had no effect. */
export const closeAttempt = `
redis.call('HDEL', KEYS[1], 'attempt')
if redis.call('HGET', KEYS[2], 'openJob') == ARGV[1] then redis.call('HDEL', KEYS[2], 'openJob', 'openUntil') end
return 1
`;

/** KEYS job, user · ARGV token, waitingFor. Gives the lease back when the job is put off. */
export const release = `
if redis.call('HGET', KEYS[2], 'leaseToken') == ARGV[1] then
  redis.call('HDEL', KEYS[2], 'leaseJob', 'leaseToken', 'leaseUntil')
end
if redis.call('EXISTS', KEYS[1]) == 1 and ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'waitingFor', ARGV[2]) end
return 1
`;

/**
 * KEYS job, user, open, run, rejects · ARGV jobId, outcome, mac, retentionMs, token, backend, applied, counter, row, reject, countAttempt
 * → {ok, at} | {done, outcome, mac, at} | {newer, applied}
 * One step: outcome, applied sequence, run counters, reject. The first outcome stays.
 */
export const commit = `${prelude}
local now = text(now_ms())
local f = redis.call('HMGET', KEYS[1], 'outcome', 'outcomeMac', 'finishedAt')
if f[1] then return {'done', f[1], f[2], f[3]} end
if ARGV[7] ~= '' then
  local known = redis.call('HGET', KEYS[2], ARGV[6])
  if applied_seq(known) > applied_seq(ARGV[7]) then return {'newer', known} end
  redis.call('HSET', KEYS[2], ARGV[6], ARGV[7])
  redis.call('PEXPIRE', KEYS[2], 2764800000)
end
if ARGV[11] == '1' then redis.call('HINCRBY', KEYS[1], 'attempts', 1) end
redis.call('HSET', KEYS[1], 'outcome', ARGV[2], 'outcomeMac', ARGV[3], 'finishedAt', now)
redis.call('HDEL', KEYS[1], 'attempt', 'waitingFor')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[1])
if redis.call('HGET', KEYS[2], 'leaseToken') == ARGV[5] then
  redis.call('HDEL', KEYS[2], 'leaseJob', 'leaseToken', 'leaseUntil')
end
if redis.call('HGET', KEYS[2], 'openJob') == ARGV[1] then redis.call('HDEL', KEYS[2], 'openJob', 'openUntil') end
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('HINCRBY', KEYS[4], ARGV[8], 1)
  local finished = redis.call('HINCRBY', KEYS[4], 'finished', 1)
  if ARGV[10] ~= '' then redis.call('HSET', KEYS[5], ARGV[9], ARGV[10]) end
  local r = redis.call('HMGET', KEYS[4], 'accepted', 'state')
  if r[2] == 'running' and finished >= tonumber(r[1]) then
    redis.call('HSET', KEYS[4], 'state', 'completed', 'finishedAt', now)
  end
end
return {'ok', now}
`;

/**
 * KEYS run, rejects · ARGV runId, caller, org, expiresInMs, retentionMs → {new|same, state, expiresAt}. Opening again goes on
 * with the same run.
 */
export const openRun = `${prelude}
local now = now_ms()
local f = redis.call('HMGET', KEYS[1], 'state', 'expiresAt')
if f[1] then
  if f[1] ~= 'canceled' then
    redis.call('HSET', KEYS[1], 'state', 'receiving')
    redis.call('HDEL', KEYS[1], 'finishedAt')
  end
  return {'same', f[1], f[2]}
end
local expires = text(now + tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'caller', ARGV[2], 'org', ARGV[3], 'state', 'receiving', 'acceptedAt', text(now),
  'expiresAt', expires, 'accepted', '0', 'rejected', '0', 'finished', '0')
local ttl = tonumber(ARGV[4]) + tonumber(ARGV[5]) + 86400000
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('HSET', KEYS[2], '0', '')
redis.call('PEXPIRE', KEYS[2], ttl)
return {'new', 'receiving', expires}
`;

/** KEYS run, rejects · ARGV row, reject. A row that never became a job; told twice it counts once. */
export const rejectRow = `
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then redis.call('HINCRBY', KEYS[1], 'rejected', 1) end
return 1
`;

/** KEYS run. The whole input is stored. */
export const closeInput = `${prelude}
local r = redis.call('HMGET', KEYS[1], 'accepted', 'finished', 'state')
if r[3] ~= 'receiving' then return r[3] or '' end
if tonumber(r[2]) >= tonumber(r[1]) then
  redis.call('HSET', KEYS[1], 'state', 'completed', 'finishedAt', text(now_ms()))
  return 'completed'
end
redis.call('HSET', KEYS[1], 'state', 'running')
return 'running'
`;
