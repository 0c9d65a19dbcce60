import type { Redis } from 'ioredis';
import type { Keys } from '../../keys.ts';
import { createBeats } from '../../ledger/beats.ts';
import type { JobKey } from '../../signature.ts';

/**
 * Whether the backend of an organization can do something, by the word of the workers that write it: false only when none of them says
 * that it can. Where nobody tells, rows find out. Error: `redis_down`.
 */
export function createAbilities(redis: Redis, keys: Keys, jobKey: JobKey) {
  const beats = createBeats(redis, keys, jobKey);
  return async (org: string, ability: string): Promise<boolean> => {
    const { beats: alive } = await beats.alive();
    const workers = alive.filter(({ kind }) => kind === 'worker');
    const [first] = workers;
    const placed = first && (await beats.placeOf(first.stages, org));
    const told = placed ? workers.flatMap(({ lanes }) => lanes[placed.leads]?.can ?? []) : [];
    const known = placed !== undefined && workers.some(({ lanes }) => lanes[placed.leads]?.can !== undefined);
    return !known || told.includes(ability);
  };
}
