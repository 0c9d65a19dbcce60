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
  const preset: RedisOptions =
    kind === 'producer'
      ? { ...common, enableOfflineQueue: false, commandTimeout: 2_000, maxRetriesPerRequest: 1 }
      : { ...common, maxRetriesPerRequest: null };
  const redis = new Redis(target.url, preset);
  redis.on('ready', () => target.onState?.('ready'));
  redis.on('close', () => target.onState?.('closed'));
  redis.on('error', (error: Error & { code?: string }) => target.onState?.('error', error.code));
  return redis;
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
