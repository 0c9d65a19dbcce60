import type { Redis } from 'ioredis';
import { type QueueName, queueNames } from '../job.ts';
import type { Keys } from '../keys.ts';
import { redisError } from './evaluate.ts';

export interface QueueDepth {
  /** Ready to be taken. */
  waiting: number;
  /** Taken by a worker; some of them stand in line for their backend. */
  active: number;
  /** Put off: their backend is away or held, or another change of the user goes first. */
  delayed: number;
  /** Age of the oldest that is waiting or delayed, ms: at least, when there are more than {@link lookedAt} of a kind. Null: none. */
  oldestMs: number | null;
}

export type QueueDepths = Record<QueueName, QueueDepth>;

/** Of each kind those that come next are asked for their age: there is no index by age, and a full look would cost too much. */
const lookedAt = 50;

const names = Object.keys(queueNames) as QueueName[];

/** How much stands in the queues. A fixed number of steps, whatever their length. Error: `redis_down`. */
export async function readDepths(redis: Redis, keys: Keys): Promise<QueueDepths> {
  try {
    return await read(redis, keys);
  } catch (error) {
    throw redisError(error);
  }
}

async function read(redis: Redis, keys: Keys): Promise<QueueDepths> {
  const pipeline = redis.pipeline();
  for (const name of names) {
    const queue = `${keys.bullPrefix}:${queueNames[name]}`;
    pipeline.llen(`${queue}:wait`).zcard(keys.line(queueNames[name])).llen(`${queue}:active`).zcard(`${queue}:delayed`);
    pipeline.lrange(`${queue}:wait`, -lookedAt, -1);
    pipeline.zrange(keys.line(queueNames[name]), 0, lookedAt - 1).zrange(`${queue}:delayed`, 0, lookedAt - 1);
  }
  pipeline.time();
  const replies = ((await pipeline.exec()) ?? []).map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
  const [seconds] = replies.pop() as [string];
  const now = Number(seconds) * 1_000;
  const found = await Promise.all(
    names.map(async (name, i): Promise<[QueueName, QueueDepth]> => {
      const [wait, prioritized, active, delayed, ...ids] = replies.slice(i * 7, i * 7 + 7) as [
        ...[number, number, number, number],
        ...string[][],
      ];
      const oldest = await oldestOf(redis, keys, ids.flat());
      const oldestMs = oldest === undefined ? null : Math.max(0, now - oldest);
      return [name, { waiting: wait + prioritized, active, delayed, oldestMs }];
    }),
  );
  return Object.fromEntries(found) as QueueDepths;
}

/** The earliest acceptance; undefined when none is known. */
async function oldestOf(redis: Redis, keys: Keys, jobIds: string[]): Promise<number | undefined> {
  if (jobIds.length === 0) return undefined;
  const pipeline = redis.pipeline();
  for (const id of jobIds) pipeline.hget(keys.job(id), 'acceptedAt');
  const times = ((await pipeline.exec()) ?? []).flatMap(([, at]) => (typeof at === 'string' ? [Number(at)] : []));
  return times.length > 0 ? Math.min(...times) : undefined;
}
