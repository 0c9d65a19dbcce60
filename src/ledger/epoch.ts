import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { evaluate, redisError } from './evaluate.ts';
import { createHolds, encodeHold, type Hold, ledgerLost } from './holds.ts';

/** What stands in Redis: `stored` is compared again by every step, so that none acts on what has changed meanwhile. */
export type StoredEpoch =
  | { kind: 'epoch'; epoch: number; stored: string }
  | { kind: 'forged'; stored: string }
  | { kind: 'none'; stored: '' };

const whatToDo =
  'Redis was wiped or restored from an older copy, or its epoch was forged. Jobs that were accepted may be missing, and old ones may be back. Read docs/backup.md, then release this backend.';

/**
 * How far this Redis has come: a number that only grows, signed (`<n>:<mac>`). Copies of it live elsewhere; a Redis that is
 * behind them has lost what it knew (DESIGN §5). Errors of all: `redis_down`.
 */
export function createEpoch(redis: Redis, keys: Keys, jobKey: JobKey) {
  const holds = createHolds(redis, keys, jobKey);
  const parts = (epoch: number) => [keys.namespace, epoch];
  const encode = (epoch: number) => `${epoch}:${sign(jobKey, 'epoch', parts(epoch))}`;

  /** Stands in place of another hold too: who lifts that one must know what else they let go. */
  function holdFor(backend: BackendName, at: string, before: Hold | undefined): Hold {
    if (before?.reason.startsWith(ledgerLost)) return before;
    const earlier = before ? ` It was held before by ${before.by}: ${before.reason}` : '';
    return { backend, by: 'worker', at, reason: `${ledgerLost}: ${whatToDo}${earlier}` };
  }

  return {
    async read(): Promise<StoredEpoch> {
      const stored = await redis.get(keys.epoch).catch(fail);
      if (!stored) return { kind: 'none', stored: '' };
      const [, digits = '', mac = ''] = /^([1-9]\d{0,14}):(.+)$/.exec(stored) ?? [];
      const epoch = Number(digits);
      return epoch > 0 && verify(jobKey, 'epoch', parts(epoch), mac)
        ? { kind: 'epoch', epoch, stored }
        : { kind: 'forged', stored };
    },

    /** Writes `epoch` in place of what was read. False: that has changed, nothing was written. */
    async advance(from: StoredEpoch, epoch: number): Promise<boolean> {
      return (await evaluate(redis, moveOn, [keys.epoch], [from.stored, encode(epoch)])) === 1;
    },

    /**
     * Holds the backends and only then writes `epoch`, in one step of Redis: from then on nothing but the holds says that the
     * ledger is lost. False: the epoch has changed since it was read, nothing was done.
     */
    async declareLost(from: StoredEpoch, epoch: number, backends: readonly BackendName[]): Promise<boolean> {
      const [seconds] = (await redis.time().catch(fail)) as unknown as [string, string];
      const at = new Date(Number(seconds) * 1_000).toISOString();
      const standing = await Promise.all(backends.map(holds.read));
      const put = backends.map((backend, i) => {
        const found = standing[i];
        return encodeHold(jobKey, holdFor(backend, at, found?.kind === 'hold' ? found.hold : undefined));
      });
      const all = [keys.epoch, ...backends.map((backend) => keys.hold(backend))];
      return (await evaluate(redis, moveOn, all, [from.stored, encode(epoch), ...put])) === 1;
    },

    /** True for one worker in so many ms. */
    async takeTick(ms: number): Promise<boolean> {
      return (await redis.set(keys.epochTick, '1', 'PX', Math.ceil(ms), 'NX').catch(fail)) === 'OK';
    },
  };
}

export type Epoch = ReturnType<typeof createEpoch>;

/** KEYS epoch, then holds · ARGV the epoch that was read, the new one, then a hold for each → 1, or 0 when it has changed. */
const moveOn = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1]) end
redis.call('SET', KEYS[1], ARGV[2])
return 1
`;

function fail(error: unknown): never {
  throw redisError(error);
}
