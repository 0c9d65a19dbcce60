import type { Redis } from 'ioredis';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { redisError } from './evaluate.ts';

/** A person's word that nothing may be sent to a backend. */
export interface Hold {
  backend: BackendName;
  reason: string;
  /** Name of the caller who held it. */
  by: string;
  /** RFC 3339, by the clock of Redis. */
  at: string;
}

/** What stands under the key of a backend: a hold of ours, one that nobody of ours signed, or nothing. */
export type StoredHold = { kind: 'hold'; hold: Hold } | { kind: 'forged'; stored: string } | { kind: 'none' };

export const backendNames = ['v1', 'v2'] as const satisfies readonly BackendName[];

export function isBackendName(name: string): name is BackendName {
  return (backendNames as readonly string[]).includes(name);
}

/** Begins the reason of the holds that a lost ledger leaves. */
export const ledgerLost = 'ledger_lost';

/** Did a worker put it because Redis was wiped or restored? */
export function isLedgerLost({ by, reason }: Pick<Hold, 'by' | 'reason'>): boolean {
  return by === 'worker' && reason.startsWith(ledgerLost);
}

export type Holds = ReturnType<typeof createHolds>;

/** Holds live in Redis without an end: only a person takes one away. Errors of all: `redis_down`. */
export function createHolds(redis: Redis, keys: Keys, jobKey: JobKey) {
  async function read(backend: BackendName): Promise<StoredHold> {
    return decode(jobKey, backend, await redis.get(keys.hold(backend)).catch(fail));
  }

  return {
    /** One GET. A hold that is not signed by us counts as absent; the caller reports it. */
    read,

    /** Holds a backend, or replaces who and why. */
    async put(backend: BackendName, reason: string, by: string): Promise<Hold> {
      const [seconds, micros] = (await redis.time().catch(fail)) as unknown as [string, string];
      const at = new Date(Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000)).toISOString();
      const hold: Hold = { backend, reason, by, at };
      await redis.set(keys.hold(backend), encodeHold(jobKey, hold)).catch(fail);
      return hold;
    },

    /** Takes the hold away and returns it, also a forged one; undefined when there was none of ours. */
    async lift(backend: BackendName): Promise<Hold | undefined> {
      const found = decode(jobKey, backend, await redis.getdel(keys.hold(backend)).catch(fail));
      return found.kind === 'hold' ? found.hold : undefined;
    },

    /** All holds, and the backends under whose key something stands that we did not sign. */
    async all(): Promise<{ holds: Hold[]; forged: BackendName[] }> {
      const found = await Promise.all(backendNames.map(read));
      return {
        holds: found.flatMap((each) => (each.kind === 'hold' ? [each.hold] : [])),
        forged: backendNames.filter((_, i) => found[i]?.kind === 'forged'),
      };
    },
  };
}

/** A hold → what is stored: signed. */
export function encodeHold(jobKey: JobKey, hold: Hold): string {
  return JSON.stringify({ ...hold, mac: sign(jobKey, 'hold', parts(hold)) });
}

function parts({ backend, reason, by, at }: Hold) {
  return [backend, reason, by, at];
}

function decode(jobKey: JobKey, backend: BackendName, stored: string | null): StoredHold {
  if (stored === null) return { kind: 'none' };
  try {
    const { reason, by, at, mac } = JSON.parse(stored) as Record<string, unknown>;
    // The backend is the key's: a hold of v1 copied under v2 is a forgery.
    const hold = { backend, reason, by, at } as Hold;
    const texts = [reason, by, at, mac].every((part) => typeof part === 'string');
    if (texts && verify(jobKey, 'hold', parts(hold), mac as string)) return { kind: 'hold', hold };
  } catch {
    // not even JSON
  }
  return { kind: 'forged', stored };
}

function fail(error: unknown): never {
  throw redisError(error);
}
