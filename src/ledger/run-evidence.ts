import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { redisError } from './evaluate.ts';

/** What is known of a run beside its counts: what came in, and under which keys its passwords were sealed. */
interface RunFacts {
  /** Bytes of the input as they came; absent while it has not come to its end. */
  bytes?: number;
  /** HMAC of them, as `hmac-sha256:<id of the key>:<hex>`. */
  mac?: string;
  /** SHA-256 of all that is not secret, as `sha256:<hex>`. */
  content?: string;
  /** `until`: when it goes by itself, ms since the epoch. */
  dataKeys: { id: string; dropped: boolean; until: number }[];
}

const prefix = 'data-key:';

/** Passwords of the run are sealed under this key, which goes at `until` (ms since the epoch). */
export async function noteDataKey(redis: Redis, keys: Keys, run: string, id: string, until: number): Promise<void> {
  await redis.hset(keys.run(run), `${prefix}${id}`, until).catch((error) => {
    throw redisError(error);
  });
}

/** Error: `redis_down`. */
export async function readRunFacts(redis: Redis, keys: Keys, run: string): Promise<RunFacts> {
  try {
    const fields = await redis.hgetall(keys.run(run));
    const ids = Object.keys(fields).flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []));
    const left = await Promise.all(ids.map((id) => redis.pttl(keys.dataKey(id))));
    return {
      ...(fields.inputBytes && { bytes: Number(fields.inputBytes) }),
      ...(fields.contentMac && { mac: fields.contentMac }),
      ...(fields.content && { content: fields.content }),
      dataKeys: ids.map((id, i) => {
        const ms = left[i] as number;
        // A retry keeps it for longer than was said at first.
        const until = ms > 0 ? Date.now() + ms : Number(fields[`${prefix}${id}`]);
        return { id, dropped: ms === -2, until };
      }),
    };
  } catch (error) {
    throw redisError(error);
  }
}
