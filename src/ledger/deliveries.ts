import type { Redis } from 'ioredis';
import type { EventId } from '../event.ts';
import type { Keys } from '../keys.ts';
import { evaluate, redisError } from './evaluate.ts';
import { prelude } from './lua.ts';

/**
 * How far deliveries have come. Their number of tries, their end and the time of the next try are the ledger's; the queue
 * only wakes.
 */

/** Why the last try was none that counts; `status` has the number when the receiver answered. */
export const deliveryReasons = [
  'answered',
  'redirect',
  'timeout',
  'connection',
  'webhook_url_forbidden',
  'webhook_host_unknown',
  'webhook_url_invalid',
  'secret_unreadable',
  'gone',
  'disabled',
  'too_old',
] as const;
export type DeliveryReason = (typeof deliveryReasons)[number];

export interface Delivery {
  /** What the receiver sees as `webhook-id`: the same for every try. */
  id: string;
  event: EventId;
  type: string;
  state: 'waiting' | 'delivered' | 'failed';
  /** Tries so far. */
  attempts: number;
  createdAt: string;
  lastAt?: string;
  /** HTTP status of the last answer. */
  status?: number;
  reason?: DeliveryReason;
  /** When it is tried again. */
  nextAt?: string;
}

/** May it be sent now? `wait`: not before so many ms. `full`: so many are open, and others are being sent. */
export type DeliveryBegun =
  | { kind: 'go'; attempt: number }
  | { kind: 'wait'; ms: number }
  | { kind: 'full'; open: number }
  | { kind: 'done' };

export interface DeliveryEnd {
  state: Delivery['state'];
  status?: number;
  reason?: DeliveryReason;
  /** For `waiting`: when it is tried again. */
  nextMs?: number;
  /** The receiver asks to be left alone by all deliveries for so long. */
  pauseMs?: number;
}

/** How long a delivery stays readable after its last change. */
const keptMs = 7 * 86_400_000;
const mostListed = 1_000;
/** Beyond this a receiver that is down would fill Redis; what it misses is counted and can be sent again. */
export const mostOpen = 10_000;

const open = `${prelude}
local now = now_ms()
local state, round = unpack(redis.call('HMGET', KEYS[1], 'state', 'round'))
if state and ARGV[4] == '0' then return state == 'waiting' and tonumber(round) or -1 end
if state ~= 'waiting' and redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then
  redis.call('HINCRBY', KEYS[4], 'count', 1)
  redis.call('HSETNX', KEYS[4], 'first', ARGV[2])
  return -2
end
round = state and tonumber(round) + 1 or 0
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'event', ARGV[2], 'type', ARGV[3], 'state', 'waiting', 'round', round, 'attempts', 0, 'createdAt', text(now), 'nextAt', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[7]))
redis.call('ZADD', KEYS[3], now, ARGV[1])
-- Whatever the queue has lost ends here.
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now - ARGV[6]))
for i = 2, 4 do redis.call('PEXPIRE', KEYS[i], 2 * ARGV[6]) end
return round`;

const begin = `${prelude}
local now = now_ms()
local state, round, next = unpack(redis.call('HMGET', KEYS[1], 'state', 'round', 'nextAt'))
if state ~= 'waiting' or round ~= ARGV[1] then return {'done'} end
if tonumber(next) > now then return {'wait', text(tonumber(next) - now)} end
local pause = redis.call('PTTL', KEYS[3])
if pause > 0 then return {'wait', text(pause)} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return {'full', text(redis.call('ZCARD', KEYS[4]))} end
redis.call('ZADD', KEYS[2], text(now + ARGV[4]), ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[1], 'lastAt', text(now))
return {'go', text(redis.call('HINCRBY', KEYS[1], 'attempts', 1))}`;

const end = `${prelude}
local now = now_ms()
redis.call('ZREM', KEYS[2], ARGV[2])
if redis.call('HGET', KEYS[1], 'round') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[4], 'status', ARGV[5], 'reason', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('ZADD', KEYS[5], 'XX', now, ARGV[1])
if ARGV[4] == 'waiting' then
  redis.call('HSET', KEYS[1], 'nextAt', text(now + ARGV[7]))
  redis.call('ZADD', KEYS[4], 'XX', text(now + ARGV[7]), ARGV[1])
else
  redis.call('ZREM', KEYS[4], ARGV[1])
end
if tonumber(ARGV[8]) > 0 then redis.call('SET', KEYS[3], '1', 'PX', ARGV[8]) end
return 1`;

export type Deliveries = ReturnType<typeof createDeliveries>;

/** Errors of all: `redis_down`. */
export function createDeliveries(redis: Redis, keys: Keys) {
  const read = async (id: string) => decode(id, await redis.hgetall(keys.delivery(id)).catch(fail));

  return {
    read,

    /**
     * Stores a delivery before its job is added. Returns the round of the job to add, also for one that is stored and open;
     * undefined when there is nothing to add: it has ended, or too many are open (then the webhook's `missed` counts it).
     * @param again a person sends it again, whatever became of it.
     */
    async open(
      webhookId: string,
      what: Pick<Delivery, 'id' | 'event' | 'type'>,
      { again = false, most = mostOpen } = {},
    ): Promise<number | undefined> {
      const { id, event, type } = what;
      const of = keys.webhookMissed(webhookId);
      const names = [keys.delivery(id), keys.deliveries(webhookId), keys.deliveriesOpen(webhookId), of];
      const args = [id, event, type, again ? 1 : 0, most, keptMs, mostListed];
      const round = Number(await evaluate(redis, open, names, args));
      return round < 0 ? undefined : round;
    },

    /** Counts a try and takes one of the `limit` places towards this webhook, for at most `placeMs`. */
    async begin(
      webhookId: string,
      id: string,
      round: number,
      { token, limit, placeMs }: { token: string; limit: number; placeMs: number },
    ): Promise<DeliveryBegun> {
      const names = [keys.delivery(id), keys.webhookBusy(webhookId), keys.webhookPause(webhookId)];
      const args = [round, token, limit, placeMs];
      const [kind, n] = (await evaluate(redis, begin, [...names, keys.deliveriesOpen(webhookId)], args)) as string[];
      if (kind === 'go') return { kind, attempt: Number(n) };
      if (kind === 'wait') return { kind, ms: Number(n) };
      if (kind === 'full') return { kind, open: Number(n) };
      return { kind: 'done' };
    },

    /** Records what became of a try, and gives its place back. */
    async end(webhookId: string, id: string, round: number, token: string, ending: DeliveryEnd): Promise<void> {
      const { state, status = '', reason = '', nextMs = 0, pauseMs = 0 } = ending;
      const names = [keys.delivery(id), keys.webhookBusy(webhookId), keys.webhookPause(webhookId)];
      const lists = [keys.deliveriesOpen(webhookId), keys.deliveries(webhookId)];
      const args = [id, token, round, state, status, reason, Math.round(nextMs), Math.round(pauseMs), keptMs];
      await evaluate(redis, end, [...names, ...lists], args);
    },

    /** The deliveries of a webhook whose last change is newest. */
    async list(webhookId: string, count: number, state?: Delivery['state']): Promise<Delivery[]> {
      const ids = await redis.zrange(keys.deliveries(webhookId), 0, mostListed - 1, 'REV').catch(fail);
      const found: Delivery[] = [];
      for (let at = 0; at < ids.length && found.length < count; at += 100) {
        const some = await Promise.all(ids.slice(at, at + 100).map(read));
        found.push(
          ...some
            .filter((each) => each !== undefined && (!state || each.state === state))
            .map((each) => each as Delivery),
        );
      }
      return found.slice(0, count);
    },

    /** How many have not ended. */
    openCount: (webhookId: string): Promise<number> => redis.zcard(keys.deliveriesOpen(webhookId)).catch(fail),
  };
}

/** The name of what is delivered: of this event to this webhook, for ever the same. */
export function deliveryId(webhookId: string, event: EventId): string {
  return `d0-${event}-${webhookId.slice(3)}`;
}

function decode(id: string, stored: Record<string, string>): Delivery | undefined {
  const { event, type, state, attempts, createdAt, lastAt, status, reason, nextAt } = stored;
  if (!event || !type || !(state === 'waiting' || state === 'delivered' || state === 'failed')) return undefined;
  const known = deliveryReasons.find((each) => each === reason);
  return {
    ...{ id, event, type, state, attempts: Number(attempts), createdAt: time(createdAt) },
    ...(lastAt && { lastAt: time(lastAt) }),
    ...(status && { status: Number(status) }),
    ...(known && { reason: known }),
    ...(state === 'waiting' && Number(nextAt) > 0 && { nextAt: time(nextAt) }),
  };
}

const time = (ms: string | undefined) => new Date(Number(ms) || 0).toISOString();

function fail(error: unknown): never {
  throw redisError(error);
}
