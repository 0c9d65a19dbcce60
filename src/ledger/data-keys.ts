import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import type { DataKeyStore } from '../seal.ts';
import { redisError } from './evaluate.ts';

/** Wrapped data keys in Redis; each carries a signature, so a forged one counts as absent. */
export function dataKeyStore(redis: Redis, keys: Keys): DataKeyStore {
  return {
    async put(id, wrapped, until) {
      await redis.set(keys.dataKey(id), wrapped, 'PXAT', Math.ceil(until)).catch((error) => {
        throw redisError(error);
      });
    },
    async get(id) {
      const stored = await redis.get(keys.dataKey(id)).catch((error) => {
        throw redisError(error);
      });
      return stored ?? undefined;
    },
  };
}
