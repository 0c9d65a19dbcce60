import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { evaluate, redisError } from './evaluate.ts';

/** Who a row that named no id turned out to be. */
export interface FoundRow {
  run: string;
  row: number;
}

/**
 * Rows that name a user by e-mail address or user name → the id that was found for them. The first one stays: after a crash the same
 * user is meant, whoever has that address by then. Signed. Errors of all: `redis_down`.
 */
export function createFoundUsers(redis: Redis, keys: Keys, jobKey: JobKey) {
  const macOf = ({ run, row }: FoundRow, user: string) => sign(jobKey, 'found', [run, row, user]);

  /** What is not signed by us counts as absent. */
  function idOf({ run, row }: FoundRow, stored: string | null): string | undefined {
    if (stored === null) return undefined;
    const cut = stored.lastIndexOf(' ');
    const user = stored.slice(0, cut);
    return verify(jobKey, 'found', [run, row, user], stored.slice(cut + 1)) ? user : undefined;
  }

  return {
    async read(at: FoundRow): Promise<string | undefined> {
      const stored = await redis.hget(keys.runFound(at.run), String(at.row)).catch((error) => {
        throw redisError(error);
      });
      return idOf(at, stored);
    },

    /** Returns the id that holds: this one, or the one that another start has stored. */
    async keep(at: FoundRow, user: string): Promise<string> {
      const given = [String(at.row), `${user} ${macOf(at, user)}`];
      const stored = (await evaluate(redis, keepFound, [keys.runFound(at.run), keys.run(at.run)], given)) as string;
      const held = idOf(at, stored);
      if (held !== undefined) return held;
      await redis.hdel(keys.runFound(at.run), String(at.row));
      await evaluate(redis, keepFound, [keys.runFound(at.run), keys.run(at.run)], given);
      return user;
    },
  };
}

/** KEYS found users of the run, run · ARGV row, id and its mac → what is stored now. Ends with its run. */
const keepFound = `
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
local left = redis.call('PTTL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], left > 0 and left or 1)
return redis.call('HGET', KEYS[1], ARGV[1])
`;
