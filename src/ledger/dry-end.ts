import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { pageOf, placeOf } from '../page.ts';
import { packRow, rowBytes } from '../row-outcome.ts';
import type { JobKey } from '../signature.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';
import { rowEnds } from './row-ends.ts';
import { runSteps } from './run-steps.ts';

/**
 * The end of a row of a dry run: its bytes and the counters of its run, in one step. Nothing else is written: no record of a job, no
 * lease, nothing of the user (P8). `counters` are counted up beside the one of the end.
 */
export function createDryEnds(redis: Redis, keys: Keys, jobKey: JobKey) {
  return async (
    { run, row }: { run: string; row: number },
    end: string,
    counter: string,
    counters: string[],
  ): Promise<'ended' | 'run_waits' | 'run_over'> => {
    const { bytes, note } = packRow(jobKey, run, row, end);
    const page = pageOf(row);
    return (await evaluate(
      redis,
      endDryRow,
      [
        ...[keys.run(run), keys.page(run, page), keys.pageEnds(run, page), keys.runNotes(run)],
        ...[keys.events, keys.activeRuns],
      ],
      [placeOf(row) * rowBytes, bytes, row, note, counter, ...counters],
    )) as 'ended' | 'run_waits' | 'run_over';
  };
}

/** KEYS run, page, its ends, notes, events, active runs · ARGV place, bytes, row, note, counter, more counters → ended | run_waits | run_over */
const endDryRow = `${prelude}${runSteps}${rowEnds}
local now = now_ms()
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'pausing' or state == 'paused' or state == 'holding' then
  redis.call('HSET', KEYS[1], 'refeed', '1')
  return 'run_waits'
end
if state ~= 'running' then return 'run_over' end
local at = tonumber(ARGV[1])
if row_end(KEYS[3], at) then return 'ended' end
set_row_end(KEYS[2], KEYS[3], at, ARGV[2])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[4], math.max(1, redis.call('PTTL', KEYS[1])))
end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HINCRBY', KEYS[2], 'open', -1) end
for i = 5, #ARGV do redis.call('HINCRBY', KEYS[1], ARGV[i], 1) end
redis.call('HINCRBY', KEYS[1], 'finished', 1)
run_failures(KEYS[1], now)
run_step(KEYS[1], KEYS[5], KEYS[6], now)
return 'ended'
`;
