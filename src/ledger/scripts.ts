import { rowBytes } from '../row-outcome.ts';
import { divergenceSteps, firstTryMs } from './divergence.ts';
import { counting } from './load.ts';
import { prelude } from './lua.ts';
import { rowEnds } from './row-ends.ts';
import { runSteps } from './run-steps.ts';
import { stageSteps } from './stages.ts';

/** For scripts that end rows of runs. */
const rowSteps = `${rowEnds}
local function hex(bytes) return (string.gsub(bytes, '.', function(c) return string.format('%02x', string.byte(c)) end)) end
local function forget_row(job, open, run, id)
  redis.call('ZREM', open, id)
  if redis.call('DEL', job) == 1 then redis.call('HINCRBY', run, 'inflight', -1) end
end
`;

/** The atomic steps of one job. All keys of a call share one hash tag. */

/** KEYS ends of a page · ARGV place in them, the bytes that were read there. */
export const dropEnd = `
if redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[1] + ${rowBytes - 1}) ~= ARGV[2] then return 0 end
redis.call('SETRANGE', KEYS[1], ARGV[1], string.rep('\\0', ${rowBytes}))
return 1
`;

/** KEYS sequence · ARGV lowest. Confirms the order on this Redis; never lowers it. */
export const raiseFloor = `${prelude}
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local floor = math.max(last, tonumber(ARGV[1]), now_us())
redis.call('SET', KEYS[1], text(floor))
return text(floor)
`;

/**
 * KEYS job, user, open, run, epoch, counted, load, ends of the page, events, active runs, stage table, writing · ARGV jobId, seq, token, leaseMs, backend, exact, caller, org, user, acceptedAt, expiresAt, retentionMs, runId, row, settleGraceMs, least epoch, startLimit, jobKeyPrefix, bytes, page, place in its ends, stage as it was read (empty: any)
 * An empty token only asks (the sweeper): a job at work is busy. `starts` counts those that neither ended nor were given
 * back: each was cut short by the end of its process (P11).
 * A row of a run has its end in its page, and a record only while it is at work.
 * → {ledger_lost} | {stage_moved} | {done, outcome, mac, finishedAt} | {row_ended, hex} | {run_waits} | {run_over} | {busy, waitMs} | {superseded, applied} | {expired} | {canceled} | {poison, starts} | {go, starts, attempt, applied, now, inversion, other, its seq, its attempt}:
 * `other` has an open attempt that nobody has settled in its time.
 */
export const begin = `${prelude}${counting}${runSteps}${rowSteps}${stageSteps}
local now = now_ms()
local epoch = redis.call('GET', KEYS[5])
if tonumber(string.match(epoch or '', '^%d+') or '0') < tonumber(ARGV[16]) then return {'ledger_lost'} end
local f = redis.call('HMGET', KEYS[1], 'outcome', 'outcomeMac', 'finishedAt', 'attempt', 'starts', 'uncertain')
if f[1] then return {'done', f[1], f[2], f[3]} end
local attempt = f[4]
local record = redis.call('EXISTS', KEYS[1]) == 1
if ARGV[13] ~= '' then
  local ended = row_end(KEYS[8], ARGV[21])
  if ended then return {'row_ended', hex(ended)} end
  local state = redis.call('HGET', KEYS[4], 'state')
  -- What may have been made, also by a process that was killed, goes on to its end.
  local begun = attempt or f[6] or tonumber(f[5] or '0') > 0
  if not begun and state ~= 'running' then
    if state == 'pausing' or state == 'paused' or state == 'holding' then
      redis.call('HSET', KEYS[4], 'refeed', '1')
      if record then forget_row(KEYS[1], KEYS[3], KEYS[4], ARGV[1]) run_step(KEYS[4], KEYS[9], KEYS[10], now) end
      return {'run_waits'}
    end
    return {record and 'canceled' or 'run_over'}
  end
end
if not record then
  redis.call('HSET', KEYS[1], 'caller', ARGV[7], 'org', ARGV[8], 'user', ARGV[9], 'seq', ARGV[2], 'acceptedAt', ARGV[10],
    'expiresAt', ARGV[11], 'attempts', '0', 'starts', '0')
  if ARGV[13] ~= '' then
    redis.call('HSET', KEYS[1], 'run', ARGV[13], 'row', ARGV[14])
    redis.call('HINCRBY', KEYS[4], 'inflight', 1)
  else count(KEYS[6], KEYS[7], ARGV[1], ARGV[19], ARGV[8]) end
  redis.call('PEXPIRE', KEYS[1], math.max(0, tonumber(ARGV[11]) - now) + tonumber(ARGV[12]) + 86400000)
  redis.call('ZADD', KEYS[3], ARGV[11], ARGV[1])
end
local u = redis.call('HMGET', KEYS[2], 'leaseJob', 'leaseUntil', 'openJob', 'openUntil', ARGV[5], 'inversion')
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
if not attempt and now > tonumber(ARGV[11]) then return {'expired'} end
-- Read with the lease: whoever writes this user goes by this very setting.
if ARGV[22] ~= '' and stage_text(KEYS[11], ARGV[8]) ~= ARGV[22] then return {'stage_moved'} end
if ARGV[6] == '0' and applied_seq(u[5]) > tonumber(ARGV[2]) then return {'superseded', u[5]} end
if tonumber(f[5] or '0') >= tonumber(ARGV[17]) then return {'poison', f[5]} end
redis.call('HSET', KEYS[2], 'leaseJob', ARGV[1], 'leaseToken', ARGV[3], 'leaseUntil', text(now + tonumber(ARGV[4])))
redis.call('PEXPIRE', KEYS[2], 2764800000)
unmark_lease(KEYS[12], KEYS[2])
if ARGV[22] ~= '' then mark_lease(KEYS[12], KEYS[2], ARGV[8], ARGV[22], now + tonumber(ARGV[4]), ARGV[3]) end
redis.call('HDEL', KEYS[1], 'waitingFor')
local o = u[3] and u[3] ~= ARGV[1] and redis.call('HMGET', ARGV[18] .. u[3], 'seq', 'attempt', 'outcome') or {}
if not o[1] or not o[2] or o[3] then o = {'', ''} end
return {'go', redis.call('HINCRBY', KEYS[1], 'starts', 1), attempt or '', u[5] or '', text(now), u[6] or '',
  o[1] ~= '' and u[3] or '', o[1], o[2]}
`;

/**
 * KEYS user · ARGV token, backend, applied of the other job, its id → {ok} | {lost}. Another job's open attempt was found to have
 * had its effect: the ledger knows that change as ours, and its own job will find it there.
 */
export const adopt = `${prelude}
local u = redis.call('HMGET', KEYS[1], 'leaseToken', 'leaseUntil', ARGV[2], 'openJob')
if u[1] ~= ARGV[1] or tonumber(u[2]) <= now_ms() then return {'lost'} end
if applied_seq(u[3]) < applied_seq(ARGV[3]) then redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
if u[4] == ARGV[4] then redis.call('HDEL', KEYS[1], 'openJob', 'openUntil') end
return {'ok'}
`;

/**
 * KEYS job, user, writing · ARGV jobId, token, deadlineMs, before, danglingMs → {ok, now} | {lost}
 * Written before anything is sent (P2). It takes the place of another job's attempt that nobody settled: that one may still
 * land.
 */
export const recordAttempt = `${prelude}
local now = now_ms()
local u = redis.call('HMGET', KEYS[2], 'leaseToken', 'leaseUntil', 'openJob')
if u[1] ~= ARGV[2] or tonumber(u[2]) <= now then return {'lost'} end
-- Another start of this job, thawed late, may have ended it; then a row has no record any more.
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'outcome') == 1 then return {'lost'} end
local deadline = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'attempt', text(now) .. ':' .. text(deadline) .. ':' .. ARGV[4])
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
if u[3] and u[3] ~= ARGV[1] then redis.call('HSET', KEYS[2], 'danglingUntil', text(now + tonumber(ARGV[5]))) end
local until_ms = text(math.max(tonumber(u[2]), deadline + 5000))
redis.call('HSET', KEYS[2], 'openJob', ARGV[1], 'openUntil', text(deadline), 'leaseUntil', until_ms)
local mark = redis.call('HGET', KEYS[2], 'leaseMark')
if mark then redis.call('ZADD', KEYS[3], 'XX', until_ms, mark) end
return {'ok', text(now)}
`;

/**
 * KEYS job, user · ARGV jobId, danglingMs, token. Only by who has the lease: another start may have an attempt under way. The attempt had no effect: known by an answer (0), or it was looked for in vain; then
 * it may still land for a while, and what is applied meanwhile must be kept for a repair.
 */
export const closeAttempt = `${prelude}
if redis.call('HGET', KEYS[2], 'leaseToken') ~= ARGV[3] then return 0 end
redis.call('HDEL', KEYS[1], 'attempt')
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[2], 'danglingUntil', text(now_ms() + tonumber(ARGV[2])))
  if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'uncertain', '1') end
end
if redis.call('HGET', KEYS[2], 'openJob') == ARGV[1] then redis.call('HDEL', KEYS[2], 'openJob', 'openUntil') end
return 1
`;

/**
 * KEYS job, user, open, run, events, active runs, writing · ARGV token, waitingFor, uncertain, jobId of a row. Gives the lease back when the job is put off: that start does not count.
 * Uncertain: it may have made the change, so nobody may say any more that the job was cancelled before it began.
 */
export const release = `${prelude}${runSteps}${rowSteps}${stageSteps}
if redis.call('HGET', KEYS[2], 'leaseToken') == ARGV[1] then
  unmark_lease(KEYS[7], KEYS[2])
  redis.call('HDEL', KEYS[2], 'leaseJob', 'leaseToken', 'leaseUntil')
  if tonumber(redis.call('HGET', KEYS[1], 'starts') or '0') > 0 then redis.call('HINCRBY', KEYS[1], 'starts', -1) end
  if ARGV[3] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'uncertain', '1') end
end
local f = redis.call('HMGET', KEYS[1], 'seq', 'starts', 'attempt', 'uncertain')
if not f[1] then return 1 end
if ARGV[4] ~= '' and f[2] == '0' and not f[3] and not f[4] then
  forget_row(KEYS[1], KEYS[3], KEYS[4], ARGV[4])
  run_step(KEYS[4], KEYS[5], KEYS[6], now_ms())
elseif ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'waitingFor', ARGV[2]) end
return 1
`;

/**
 * KEYS job, user, open, run, notes of the run, failed of the organization, failed secrets, repair payload, inverted, quarantined of the organization, events, counted, load, page, its ends, its secret, active runs, writing, behind of the organization, mirror due, divergent, follow payload · ARGV jobId, outcome, mac,
 * retentionMs, token, backend, applied, counter, row, note, countAttempt, secretMs, repair payload, repairMs, name of the user, answered, underLease, event, its mac, bytes of a row's end, its place, onlyIfKnown, divergence (empty: one backend is written), follow payload, org, user, member of the list of those due
 * → {row_ended, hex, inverted} | {lost} | {ok, at} | {done, outcome, mac, at, inverted} | {newer, applied, inverted}: `inverted` is the applied record that we came after
 * One step: outcome, applied sequence, run counters, reject, the list of failed jobs, the event. The first outcome stays. A change that
 * was made after a newer one is an inversion: noted here, repaired by the sweeper. Only an answer tells that: what was read may
 * be anybody's change. An answer may also come when its job was settled otherwise long ago.
 */
export const commit = `${prelude}${counting}${runSteps}${rowSteps}${stageSteps}${divergenceSteps}
-- Only our own: another start of this job may have an attempt under way.
local function give_back()
  if redis.call('HGET', KEYS[2], 'leaseToken') ~= ARGV[5] then return end
  unmark_lease(KEYS[18], KEYS[2])
  redis.call('HDEL', KEYS[2], 'leaseJob', 'leaseToken', 'leaseUntil')
  if redis.call('HGET', KEYS[2], 'openJob') == ARGV[1] then redis.call('HDEL', KEYS[2], 'openJob', 'openUntil') end
end
local ms = now_ms()
local now = text(ms)
local f = redis.call('HMGET', KEYS[1], 'outcome', 'outcomeMac', 'finishedAt', 'attempts')
local u = redis.call('HMGET', KEYS[2], ARGV[6], 'openJob', 'danglingUntil', 'inversion')
local known = u[1]
local overtaken = applied_seq(known) > applied_seq(ARGV[7])
local inverted = ''
-- At the same moment: the newer one was settled by reading and took this change for its own.
if ARGV[16] == '1' and overtaken and changed_at(ARGV[7]) > changed_at(known) - 1.5 then
  inverted = known
  if changed_at(ARGV[7]) > changed_at(u[4]) then redis.call('HSET', KEYS[2], 'inversion', ARGV[7]) end
  redis.call('ZADD', KEYS[9], now, ARGV[15])
  redis.call('PEXPIRE', KEYS[8], ARGV[14])
end
local ended = ARGV[20] ~= '' and row_end(KEYS[15], ARGV[21])
if f[1] or ended then
  -- Made twice, or after all: the ledger knows the later change as ours, or it would pass for a person's.
  if ARGV[16] == '1' and not overtaken and changed_at(ARGV[7]) > changed_at(known) then
    redis.call('HSET', KEYS[2], ARGV[6], ARGV[7])
  end
  give_back()
  if ended then return {'row_ended', hex(ended), inverted} end
  return {'done', f[1], f[2], f[3], inverted}
end
-- What rests on reading holds only while nobody else can write.
if ARGV[17] == '1' then
  local lease = redis.call('HMGET', KEYS[2], 'leaseToken', 'leaseUntil')
  if lease[1] ~= ARGV[5] or tonumber(lease[2]) <= ms then return {'lost'} end
end
if ARGV[7] ~= '' then
  if overtaken then return {'newer', known, inverted} end
  if ARGV[22] ~= '1' or known or redis.call('HEXISTS', KEYS[2], 'newest') == 1 then
    redis.call('HSET', KEYS[2], ARGV[6], ARGV[7])
  end
  redis.call('PEXPIRE', KEYS[2], 2764800000)
  if ARGV[13] ~= '' then
    redis.call('HDEL', KEYS[2], 'inversion')
    redis.call('ZREM', KEYS[9], ARGV[15])
    -- Another attempt of ours may still land: then this password must be sent again.
    local open = u[2] and u[2] ~= ARGV[1]
    if open or tonumber(u[3] or '0') > ms then redis.call('SET', KEYS[8], ARGV[13], 'PX', ARGV[14])
    else redis.call('DEL', KEYS[8]) end
    -- What was read may have been somebody else's: then ours may still land.
    if ARGV[16] ~= '1' then redis.call('HSET', KEYS[2], 'danglingUntil', text(ms + tonumber(ARGV[14]))) end
  end
end
-- In the step of the change itself: a crash right after it hides nobody who is behind.
if ARGV[23] ~= '' then
  diverge(KEYS[19], KEYS[20], KEYS[21], ARGV[25], ARGV[26], ARGV[27], ARGV[23], ms, ms + ${firstTryMs})
  if ARGV[24] ~= '' then redis.call('SET', KEYS[22], ARGV[24]) else redis.call('DEL', KEYS[22]) end
end
if ARGV[20] ~= '' then
  set_row_end(KEYS[14], KEYS[15], ARGV[21], ARGV[20])
  if ARGV[10] ~= '' then
    redis.call('HSET', KEYS[5], ARGV[9], ARGV[10])
    redis.call('PEXPIRE', KEYS[5], math.max(1, redis.call('PTTL', KEYS[4])))
  end
  if redis.call('HEXISTS', KEYS[1], 'quarantined') == 1 then redis.call('ZREM', KEYS[10], ARGV[1]) end
  forget_row(KEYS[1], KEYS[3], KEYS[4], ARGV[1])
  give_back()
  if (ARGV[8] == 'failed' or ARGV[8] == 'expired') and redis.call('EXISTS', KEYS[14]) == 1 then
    redis.call('HSET', KEYS[14], 'failed', '1')
  end
  -- Nothing of the page is needed any more: but for a repair, or a retry.
  if redis.call('EXISTS', KEYS[14]) == 1 and redis.call('HINCRBY', KEYS[14], 'open', -1) <= 0 then
    redis.call('PEXPIRE', KEYS[16], redis.call('HEXISTS', KEYS[14], 'failed') == 1 and ARGV[12] or ARGV[14])
  end
  redis.call('HINCRBY', KEYS[4], ARGV[8], 1)
  redis.call('HINCRBY', KEYS[4], 'finished', 1)
  run_failures(KEYS[4], ms)
  run_step(KEYS[4], KEYS[11], KEYS[17], ms)
  return {'ok', now}
end
local attempts = tonumber(f[4] or '0')
if ARGV[11] == '1' then attempts = redis.call('HINCRBY', KEYS[1], 'attempts', 1) end
local event = ''
if ARGV[18] ~= '' then event = tell(KEYS[11], ms, 'e', ARGV[18], 'm', ARGV[19], 'n', text(attempts)) end
redis.call('HSET', KEYS[1], 'outcome', ARGV[2], 'outcomeMac', ARGV[3], 'finishedAt', now, 'event', event)
redis.call('HDEL', KEYS[1], 'attempt', 'waitingFor')
if redis.call('HDEL', KEYS[1], 'quarantined') == 1 then redis.call('ZREM', KEYS[10], ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[1])
uncount(KEYS[12], KEYS[13], ARGV[1])
give_back()
if ARGV[8] == 'failed' or ARGV[8] == 'expired' then
  redis.call('ZADD', KEYS[6], now, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[6], 0, ms - tonumber(ARGV[4]))
  redis.call('PEXPIRE', KEYS[6], ARGV[4])
  redis.call('ZADD', KEYS[7], ms + tonumber(ARGV[12]), ARGV[1])
end
-- Given up by a person: its secret goes at once.
if ARGV[8] == 'canceled' then redis.call('ZADD', KEYS[7], now, ARGV[1]) end
return {'ok', now}
`;
