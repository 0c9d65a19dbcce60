import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import { PassferryError } from './errors.ts';

/**
 * Two presets (principle: a producer fails fast and recovers, a worker waits). Both re-send after a reconnect, which is
 * harmless because every command of ours is safe to repeat.
 */
export type ConnectionKind = 'producer' | 'worker';

export interface RedisTarget {
  url: string;
  /** Called with a fixed word when the connection changes; ioredis' own errors hold the commands' arguments (F53). */
  onState?: (state: 'ready' | 'closed' | 'error', code?: string) => void;
}

export function connectRedis(target: RedisTarget, kind: ConnectionKind): Redis {
  const common: RedisOptions = {
    keepAlive: 10_000,
    connectTimeout: 5_000,
    retryStrategy: (tries) => Math.min(2_000, 50 * 2 ** Math.min(tries, 6)) * (0.75 + Math.random() / 2),
  };
  // `socketTimeout`: no answer for so long, and the connection is made anew; the system itself would wait a quarter of an
  // hour for a peer that is gone without a word. A worker blocks for up to 10 s.
  const preset: RedisOptions =
    kind === 'producer'
      ? { ...common, enableOfflineQueue: false, commandTimeout: 2_000, maxRetriesPerRequest: 1, socketTimeout: 4_000 }
      : { ...common, maxRetriesPerRequest: null, socketTimeout: 30_000 };
  const redis = new Redis(target.url, preset);
  prepare(redis, kind);
  redis.on('ready', () => target.onState?.('ready'));
  redis.on('close', () => target.onState?.('closed'));
  redis.on('error', (error: Error & { code?: string }) => target.onState?.('error', error.code));
  return redis;
}

/** Also what BullMQ duplicates for itself. */
function prepare(redis: Redis, kind: ConnectionKind): void {
  if (kind === 'worker') answerRefusalsLate(redis);
  redis.on('close', () => forgetSilence(redis));
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (override) => {
    const copy = duplicate(override);
    prepare(copy, kind);
    return copy;
  };
}

const refusedMs = 1_000;
/** Redis is there and takes no writes, or not yet: out of memory, a replica, a disk that is full, loading. */
const refused = /(^|-)(OOM|READONLY|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|CLUSTERDOWN|BUSY) /;

/** Whoever asks again at once, as BullMQ's workers do, would spin: thousands of refusals a second (F41). */
function answerRefusalsLate(redis: Redis): void {
  const send = redis.sendCommand.bind(redis);
  redis.sendCommand = (...given: Parameters<typeof send>) => {
    const answer = (send(...given) as Promise<unknown>).catch(async (error: unknown) => {
      if (error instanceof Error && refused.test(error.message)) await sleep(refusedMs, undefined, { ref: false });
      throw error;
    });
    // ioredis itself sends again without looking at the answer.
    answer.catch(() => {});
    return answer;
  };
}

/** ioredis lets the clock of a broken connection run on and would break the next one with it, and keep a process from ending. */
function forgetSilence(redis: Redis): void {
  const inside = redis as unknown as { socketTimeoutTimer?: NodeJS.Timeout | undefined };
  clearTimeout(inside.socketTimeoutTimer);
  inside.socketTimeoutTimer = undefined;
}

/** Error: `config_invalid`. Anything else ioredis would take for a socket path and wait for ever. */
export function checkRedisUrl(url: string): string {
  if (URL.canParse(url) && /^rediss?:$/.test(new URL(url).protocol)) return url;
  throw new PassferryError('config_invalid', { message: 'The Redis address must be a redis:// or rediss:// URL.' });
}

const readyMs = 5_000;

/** Resolves when commands can be sent; error `redis_down` after 5 s, and the connection is given up. */
export async function ready(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      redis.disconnect();
      reject(new PassferryError('redis_down', { scope: 'backend' }));
    }, readyMs);
    redis.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
