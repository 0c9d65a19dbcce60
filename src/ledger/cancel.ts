import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { failure, type Outcome } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, sign } from '../signature.ts';
import { evaluate } from './evaluate.ts';
import { loadKeys } from './load.ts';
import { prelude } from './lua.ts';
import type { JobRecord, Records } from './records.ts';
import { commit } from './scripts.ts';
import { entryOf } from './tell.ts';

/** `ended`: its outcome, ours or the one that was there first. `begun`: a start has it, or may have made the change. */
export type Cancelled =
  | { kind: 'ended'; outcome: Outcome }
  | { kind: 'begun' }
  | { kind: 'quarantined' }
  | { kind: 'gone' };

/** Ends a job that no start has begun, in one step with all that belongs to an outcome. */
export function createCancel(options: {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  retentionMs: number;
  readOutcome: Records['readOutcome'];
}) {
  const { redis, keys, jobKey, retentionMs, readOutcome } = options;

  return {
    /** Repeating gives the first outcome. Its secret goes with the sweeper, or at once when the caller removes it. */
    async cancel(record: JobRecord): Promise<Cancelled> {
      const { jobId, org, user } = record;
      // A row has a record only while it is at work; it is cancelled with its run.
      if (record.run !== undefined) return { kind: 'begun' };
      const outcome = failure(new PassferryError('job_canceled'), 0);
      const { at: _, ...stored } = outcome;
      const body = JSON.stringify(stored);
      const reply = (await evaluate(
        redis,
        script,
        [
          keys.job(jobId),
          keys.user(org, user),
          keys.open,
          ...[keys.run('-'), keys.runNotes('-')],
          keys.failed(org),
          keys.failedSecrets,
          keys.repair(org, user),
          keys.inverted,
          keys.quarantined(org),
          keys.events,
          ...loadKeys(keys),
        ],
        [
          ...[jobId, body, sign(jobKey, 'outcome', [jobId, body]), retentionMs],
          // No token, nothing applied.
          ...['', 'v1', '', 'canceled', '', ''],
          ...['0', 0, '', 0, '', '0', '0'],
          ...entryOf(jobKey, record, outcome),
          // No row of a page, and nobody follows.
          ...['', '', '0', '', ''],
        ],
      )) as [string, ...string[]];
      if (reply[0] === 'ok') return { kind: 'ended', outcome: { ...outcome, at: Number(reply[1]) } };
      if (reply[0] === 'done') {
        const first = readOutcome(jobId, reply[1] as string, reply[2] ?? null, reply[3] ?? null);
        // Not signed by us: the worker that meets it takes it away, and only it may say what was made.
        return first ? { kind: 'ended', outcome: first } : { kind: 'begun' };
      }
      return { kind: reply[0] as 'begun' | 'quarantined' | 'gone' };
    },
  };
}

/**
 * KEYS and ARGV of `commit` → what it answers, or {gone} | {quarantined} | {begun}. A start that was cut short counts until it is
 * given back: it may be frozen and go on. An open attempt, and a start that ended without knowing what it did, count for good.
 */
const script = `${prelude}
local c = redis.call('HMGET', KEYS[1], 'outcome', 'seq', 'quarantined', 'attempt', 'uncertain', 'starts')
if not c[2] then return {'gone'} end
if not c[1] then
  if c[3] then return {'quarantined'} end
  local open = redis.call('HMGET', KEYS[2], 'openJob', 'leaseJob', 'leaseUntil')
  local leased = open[2] == ARGV[1] and tonumber(open[3]) > now_ms()
  if c[4] or c[5] or tonumber(c[6] or '0') > 0 or open[1] == ARGV[1] or leased then return {'begun'} end
end
${commit}`;
