import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';

/** EVALSHA with the usual fall-back; one place, so that an error never carries the arguments on (F53). */
export async function evaluate(redis: Redis, script: string, keys: string[], args: (string | number | Buffer)[]) {
  const known = redis as Redis & Record<string, unknown>;
  const name = nameOf(script);
  if (!(name in known)) redis.defineCommand(name, { lua: script });
  const call = known[name] as (...all: (string | number | Buffer)[]) => Promise<unknown>;
  try {
    return await call.call(redis, keys.length, ...keys, ...args);
  } catch (error) {
    throw redisError(error);
  }
}

const names = new Map<string, string>();
function nameOf(script: string): string {
  let name = names.get(script);
  if (!name) {
    name = `passferry${names.size}`;
    names.set(script, name);
  }
  return name;
}

/** A foreign Redis error → ours. Its text and its command stay behind. */
export function redisError(error: unknown): PassferryError {
  if (error instanceof PassferryError) return error;
  const text = error instanceof Error ? error.message : '';
  const kind = /^[A-Z]{2,20}(?= )/.exec(text)?.[0] ?? (error as { code?: string }).code ?? 'unknown';
  return new PassferryError('redis_down', { scope: 'backend', cause: new Error(`Redis: ${kind}`) });
}
