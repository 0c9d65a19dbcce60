import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { type DataKeyStore, pairNamedBy } from '../seal.ts';
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

/** kid → how many wrapped data keys that are kept now name it. Walks all keys of the Redis. Error: `redis_down`. */
export async function countDataKeys(redis: Redis, keys: Keys): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  // A scan may tell a key twice.
  const counted = new Set<string>();
  let cursor = '0';
  try {
    do {
      const [next, found] = await redis.scan(cursor, 'MATCH', keys.dataKey('*'), 'COUNT', 1_000);
      cursor = next;
      const fresh = found.filter((key) => !counted.has(key));
      for (const key of fresh) counted.add(key);
      for (const wrapped of fresh.length > 0 ? await redis.mget(fresh) : []) {
        const kid = wrapped ? pairNamedBy(wrapped) : undefined;
        if (kid !== undefined) counts.set(kid, (counts.get(kid) ?? 0) + 1);
      }
    } while (cursor !== '0');
  } catch (error) {
    throw redisError(error);
  }
  return counts;
}
