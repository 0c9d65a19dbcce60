import { telling } from './tell.ts';

/**
 * Where a run goes by itself, for scripts after the prelude. Rows `inflight` have begun and not ended; a row that has not
 * begun is known by its page alone.
 */
export const runSteps = `${telling}
local function run_step(run, events, active, now)
  local r = redis.call('HMGET', run, 'state', 'inflight', 'accepted', 'finished', 'input', 'endAs', 'id')
  local state, inflight = r[1], tonumber(r[2] or '0')
  local open = tonumber(r[3] or '0') - tonumber(r[4] or '0')
  if state == 'pausing' and inflight <= 0 then redis.call('HSET', run, 'state', 'paused') return 'paused' end
  if state == 'cancelling' and inflight <= 0 then
    redis.call('HINCRBY', run, r[6] or 'canceled', open)
    redis.call('HINCRBY', run, 'finished', open)
    state = r[6] == 'expired' and 'completed' or 'cancelled'
  elseif state == 'running' and r[5] == 'closed' and open <= 0 then state = 'completed'
  else return state end
  redis.call('HSET', run, 'state', state, 'finishedAt', text(now))
  if r[7] then redis.call('ZREM', active, r[7]) end
  tell_run(events, now, run)
  return state
end
-- Too many rows failed: it waits for a person.
local function run_failures(run, now)
  local r = redis.call('HMGET', run, 'maxFailures', 'failed', 'state', 'failuresForgiven', 'input', 'accepted', 'finished')
  if not r[1] or r[3] ~= 'running' then return end
  -- Nothing is left to be held.
  if r[5] == 'closed' and tonumber(r[6] or '0') <= tonumber(r[7] or '0') then return end
  if tonumber(r[2] or '0') - tonumber(r[4] or '0') < tonumber(r[1]) then return end
  redis.call('HSET', run, 'state', 'holding', 'reason', 'too_many_failures', 'heldAt', text(now))
end
`;
