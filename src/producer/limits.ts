import { createHmac, randomBytes } from 'node:crypto';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { PassferryError, type Reason } from '../errors.ts';
import type { Quota } from '../quota.ts';
import type { Caller } from './callers.ts';

interface LimitOptions {
  /** Requests of one caller; null: no limit. A caller of the file may have its own. */
  rate: Quota | null;
  /** Requests of one caller that are open at once; those that wait for an outcome count. */
  concurrency: number;
  /** Refused tokens of one address; null: no limit. */
  failures: Quota | null;
}

/** A request that has come in. */
interface Entry {
  /** Why it must not be served. */
  refused?: PassferryError;
  /** The RateLimit fields of the IETF's draft, for its answer. */
  headers: Record<string, string>;
  /** To be called once, when it has been answered. */
  leave(): void;
}

export interface Limits {
  /** Counts one request of a caller. */
  enter(caller: Caller): Promise<Entry>;
  /** Counts `more` besides the request itself, at most what the quota has. Error: `caller_rate`. */
  spend(caller: Caller, more: number): Promise<void>;
  /** Counts a refused token; the error once there were too many: `auth_limited`. */
  failed(address: string): Promise<PassferryError | undefined>;
}

/** Of one that waits for an open request to end, ms. */
const busyMs = 1_000;

/** So many addresses are told apart, however many there are; whoever shares a place shares only a limit on bad tokens. */
const places = 16_384;

/** Limits of this process, in its memory: several processes have as many of each. */
export function createLimits({ rate, concurrency, failures }: LimitOptions): Limits {
  const requests = new RateLimiterMemory({ points: 1, duration: 1 });
  const refusedTokens = new RateLimiterMemory({ points: 1, duration: 1 });
  const open = new Map<string, number>();
  const salt = randomBytes(16);
  const placeOf = (address: string) =>
    (createHmac('sha256', salt).update(address).digest().readUInt16BE() % places).toString();

  const rateOf = ({ limits }: Caller) => (limits?.rate === undefined ? rate : limits.rate);
  const openOf = ({ name }: Caller) => open.get(name) ?? 0;

  return {
    async enter(caller) {
      const quota = rateOf(caller);
      const most = caller.limits?.concurrency ?? concurrency;
      const used = quota && (await count(requests, caller.name, 1, quota));
      const busy = openOf(caller) >= most;
      const refused = used?.over ? limited('caller_rate', used.leftMs) : busy && limited('caller_busy', busyMs);
      if (!refused) open.set(caller.name, openOf(caller) + 1);
      const policies = [
        quota && `"rate";q=${quota.count};w=${quota.seconds}`,
        `"open";q=${most};qu="concurrent-requests"`,
      ];
      const state = [
        used && `"rate";r=${used.remaining};t=${Math.ceil(used.leftMs / 1_000)}`,
        `"open";r=${Math.max(0, most - openOf(caller))}`,
      ];
      return {
        ...(refused && { refused }),
        headers: { 'ratelimit-policy': listed(policies), ratelimit: listed(state) },
        leave() {
          if (refused) return;
          const left = openOf(caller) - 1;
          if (left > 0) open.set(caller.name, left);
          else open.delete(caller.name);
        },
      };
    },

    async spend(caller, more) {
      const quota = rateOf(caller);
      // One that is larger than the whole quota would never pass.
      const cost = quota ? Math.min(more, quota.count - 1) : 0;
      if (!quota || cost < 1) return;
      const { over, leftMs } = await count(requests, caller.name, cost, quota);
      if (over) throw limited('caller_rate', leftMs);
    },

    async failed(address) {
      if (!failures) return undefined;
      const { over, leftMs } = await count(refusedTokens, placeOf(address), 1, failures);
      return over ? limited('auth_limited', leftMs) : undefined;
    },
  };
}

/** A window begins with the first use and lasts its time; what is refused does not prolong it. */
async function count(limiter: RateLimiterMemory, key: string, cost: number, { count: most, seconds }: Quota) {
  const { consumedPoints, msBeforeNext } = await limiter.penalty(key, cost, { customDuration: seconds });
  return {
    over: consumedPoints > most,
    remaining: Math.max(0, most - consumedPoints),
    leftMs: Math.max(0, msBeforeNext),
  };
}

function limited(reason: Reason, retryAfterMs: number): PassferryError {
  return new PassferryError(reason, { scope: 'organization', retryAfterMs });
}

function listed(items: (string | null)[]): string {
  return items.filter((each) => each !== null).join(', ');
}
