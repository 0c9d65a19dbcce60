import type { Redis } from 'ioredis';
import type { Backend } from '../adapters/port.ts';
import { toPassferryError } from '../errors.ts';
import { isFailure, type SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from '../ledger/evaluate.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Log } from '../log.ts';
import { under } from '../under.ts';

/** After these whoever is logged in should log in again. */
const ends = new Set<string>(['set', 'unchanged', 'link_sent']);

/**
 * The same ledger, which ends the sessions of a row's user before it records that the row went well: a crash in between does it
 * again. Sessions that stay keep no row from ending; the run counts whose.
 */
export function endingSessions(
  ledger: Ledger,
  deps: { redis: Redis; keys: Keys; backend: Backend; log: Log; deadlineMs: number; signal: AbortSignal },
): Ledger {
  const { redis, keys, backend, log, deadlineMs, signal } = deps;

  async function end({ jobId, org, user, run }: SetPasswordData): Promise<void> {
    let [name, by] = ['sessionsKept', 1];
    try {
      const { endSessions } = backend;
      if (endSessions) {
        const ended = await under([signal, AbortSignal.timeout(deadlineMs)], (within) =>
          endSessions.call(backend, org, user, within),
        );
        [name, by] = ['sessionsEnded', ended];
      }
    } catch (thrown) {
      const err = toPassferryError(thrown);
      log.warn({ jobId, backend: backend.name, err }, 'the sessions of this user could not be ended');
    }
    await evaluate(redis, countSessions, [keys.run(run ?? '-')], [name, by]);
  }

  return {
    ...ledger,
    async commit(data, outcome, options) {
      if (!isFailure(outcome) && ends.has(outcome.result)) await end(data);
      return ledger.commit(data, outcome, options);
    },
  };
}

/** KEYS run · ARGV counter, by */
const countSessions = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
`;
