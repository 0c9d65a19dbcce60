import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import type { Migrated } from '../migration.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { redisError } from './evaluate.ts';

export type MigratedRecords = ReturnType<typeof createMigrated>;

/**
 * What the last completed migrations of each organization have seen, signed: the newest of each kind. Asked before a step to
 * `dual-v2`. One that is not ours counts as absent. Error of all: `redis_down`.
 */
export function createMigrated(redis: Redis, keys: Keys, jobKey: JobKey) {
  const field = (org: string, kind: Migrated['kind']) => `${kind} ${org}`;
  const parts = (name: string, body: string) => [keys.namespace, name, body];

  function decode(name: string, stored: string | null): Migrated | undefined {
    const [, mac = '', body = ''] = /^(\S+) (.*)$/s.exec(stored ?? '') ?? [];
    return verify(jobKey, 'migrated', parts(name, body), mac) ? (JSON.parse(body) as Migrated) : undefined;
  }

  return {
    /** The newest of each kind. `backfill`: the first run over the organization; later ones are `catch-up`. */
    async of(org: string): Promise<Partial<Record<Migrated['kind'], Migrated>>> {
      const kinds = ['backfill', 'catch-up', 'reconcile'] as const;
      const stored = await redis.hmget(keys.migrated, ...kinds.map((kind) => field(org, kind))).catch((error) => {
        throw redisError(error);
      });
      return Object.fromEntries(
        kinds.flatMap((kind, i) => {
          const found = decode(field(org, kind), stored[i] ?? null);
          return found ? [[kind, found]] : [];
        }),
      );
    },

    /** A run is over. Repeating is harmless. */
    async note(seen: Migrated): Promise<void> {
      const name = field(seen.org, seen.kind);
      const body = JSON.stringify(seen);
      await redis.hset(keys.migrated, name, `${sign(jobKey, 'migrated', parts(name, body))} ${body}`).catch((error) => {
        throw redisError(error);
      });
    },
  };
}
