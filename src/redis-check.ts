import type { Redis } from 'ioredis';
import { PassferryError } from './errors.ts';
import { redisError } from './ledger/evaluate.ts';

/**
 * Refuses a Redis that may forget or drop what was accepted: no append-only file, or an eviction policy (F12, F13). Read
 * from INFO, which managed services leave open where CONFIG is forbidden.
 */
export async function checkDurability(redis: Redis, allowed: boolean): Promise<void> {
  const info = await redis.info().catch((error: unknown) => {
    if (!(error instanceof Error && error.message.startsWith('NOPERM'))) throw redisError(error);
    if (allowed) return '';
    throw new PassferryError('config_invalid', {
      message:
        'This user of Redis may not run INFO, so nobody can tell whether accepted jobs are safe there. Allow it INFO, or override with PASSFERRY_ALLOW_INSECURE=durability.',
    });
  });
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const problems: string[] = [];
  if (field('aof_enabled') !== '1') problems.push('the append-only file is off (set: appendonly yes)');
  if (field('maxmemory_policy') !== 'noeviction')
    problems.push('keys may be evicted (set: maxmemory-policy noeviction)');
  if (problems.length === 0 || allowed) return;
  throw new PassferryError('config_invalid', {
    message: `This Redis is not safe for accepted jobs: ${problems.join('; ')}. Override with PASSFERRY_ALLOW_INSECURE=durability.`,
  });
}
