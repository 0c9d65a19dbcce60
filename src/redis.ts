import { Redis, type RedisOptions } from 'ioredis';

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
