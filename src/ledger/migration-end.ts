import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { pageOf, placeOf } from '../page.ts';
import { packRow, rowBytes } from '../row-outcome.ts';
import type { JobKey } from '../signature.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';
import { countField } from './migrations.ts';
import { rowEnds } from './row-ends.ts';
import { runSteps } from './run-steps.ts';

/** What became of a row, and under which names it is counted. */
export interface MigrationEnd {
  org: string;
  /** A result, one of `foretold`, or a reason: stored with the row. */
  end: string;
  /** The field of the run that is counted up. */
  counter: 'mirrored' | 'unchanged' | 'wouldMirror' | 'equal' | 'differs' | 'failed';
  verdict: string;
  /** Further fields, by {@link countField}. */
  more: string[];
}

/**
 * The two steps of a row of a migration. Nothing else remembers that it was begun: what it does may be done twice, and is counted once.
 * What had begun when its run was paused is counted all the same.
 */
export function createMigrationEnds(redis: Redis, keys: Keys, jobKey: JobKey) {
  const of = ({ run, row }: { run: string; row: number }) => [
    ...[keys.run(run), keys.page(run, pageOf(row)), keys.pageEnds(run, pageOf(row)), keys.runNotes(run)],
    ...[keys.events, keys.activeRuns, keys.runVerdicts(run)],
  ];

  return {
    /** May it begin? `ended`: it has its end already. */
    async begin(at: { run: string; row: number }): Promise<'go' | 'ended' | 'run_waits' | 'run_over'> {
      return (await evaluate(redis, beginRow, of(at), [placeOf(at.row) * rowBytes])) as 'go';
    },

    async end(at: { run: string; row: number }, given: MigrationEnd): Promise<'ended' | 'run_over'> {
      const { bytes, note } = packRow(jobKey, at.run, at.row, given.end);
      const { verdict, ofOrg } = countField;
      return (await evaluate(redis, endRow, of(at), [
        ...[placeOf(at.row) * rowBytes, bytes, at.row, note, given.counter],
        ...[verdict(given.verdict), ofOrg(given.org, given.verdict), ...given.more],
      ])) as 'ended';
    },
  };
}

/** KEYS run, page, its ends, notes, events, active runs, verdicts · ARGV place → go | ended | run_waits | run_over */
const beginRow = `${rowEnds}
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'pausing' or state == 'paused' or state == 'holding' then
  redis.call('HSET', KEYS[1], 'refeed', '1')
  return 'run_waits'
end
if state ~= 'running' then return 'run_over' end
local at = tonumber(ARGV[1])
if row_end(KEYS[3], at) then return 'ended' end
return 'go'
`;

/** … · ARGV place, bytes, row, note, counter, counters of verdicts … → ended | run_over */
const endRow = `${prelude}${runSteps}${rowEnds}
local now = now_ms()
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'cancelled' or state == 'completed' then return 'run_over' end
local at = tonumber(ARGV[1])
if row_end(KEYS[3], at) then return 'ended' end
set_row_end(KEYS[2], KEYS[3], at, ARGV[2])
local ttl = math.max(1, redis.call('PTTL', KEYS[1]))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[4], ttl)
end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HINCRBY', KEYS[2], 'open', -1) end
redis.call('HINCRBY', KEYS[1], ARGV[5], 1)
for i = 6, #ARGV do redis.call('HINCRBY', KEYS[7], ARGV[i], 1) end
redis.call('PEXPIRE', KEYS[7], ttl)
redis.call('HINCRBY', KEYS[1], 'finished', 1)
run_failures(KEYS[1], now)
run_step(KEYS[1], KEYS[5], KEYS[6], now)
return 'ended'
`;
