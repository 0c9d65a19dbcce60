import type { Redis } from 'ioredis';
import type { Keys } from '../../keys.ts';
import { createBeats } from '../../ledger/beats.ts';
import type { JobKey } from '../../signature.ts';
import { createPlaces, leaderOf } from '../stages/places.ts';

/**
 * Whether the backend of an organization can do something, by the word of the workers that write it: false only when none of them says
 * that it can. Where nobody tells, rows find out. Error: `redis_down`.
 */
export function createAbilities(redis: Redis, keys: Keys, jobKey: JobKey) {
  const places = createPlaces(redis, keys, jobKey);
  const beats = createBeats(redis, keys, jobKey);
  return async (org: string, ability: string): Promise<boolean> => {
    const { beats: alive } = await beats.alive();
    const workers = alive.filter(({ kind }) => kind === 'worker');
    const leads = leaderOf(await places.known(org, workers), org);
    const told = leads ? workers.flatMap(({ lanes }) => lanes[leads]?.can ?? []) : [];
    const known = leads !== undefined && workers.some(({ lanes }) => lanes[leads]?.can !== undefined);
    return !known || told.includes(ability);
  };
}
