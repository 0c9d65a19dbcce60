import { readFileSync } from 'node:fs';
import { redisKeys } from '../keys.ts';
import { countDataKeys } from '../ledger/data-keys.ts';
import { countWebhookSecrets } from '../ledger/webhooks.ts';
import { cliError, exits } from './exit.ts';

export interface RedisOptions {
  redis?: string;
  namespace?: string;
}

/** Was an address of Redis given, by option or variable? */
export function redisGiven({ redis }: RedisOptions): boolean {
  return Boolean(redis || process.env.PASSFERRY_REDIS_URL || process.env.PASSFERRY_REDIS_URL_FILE);
}

/** kid → how many live data keys and secrets of webhooks name it. Errors: `redis_down`, `config_invalid`, usage. */
export async function countLive(options: RedisOptions): Promise<Map<string, number>> {
  const namespace = options.namespace ?? process.env.PASSFERRY_NAMESPACE ?? 'passferry';
  if (!/^[a-z0-9-]{1,32}$/.test(namespace)) {
    throw cliError(exits.usage, 'the namespace must have 1 to 32 of a-z, 0-9 and -');
  }
  // Redis is needed by two commands of all: the others do not wait for it to load.
  const { checkRedisUrl, connectRedis, ready } = await import('../redis.ts');
  const redis = connectRedis({ url: checkRedisUrl(addressOf(options)) }, 'producer');
  try {
    await ready(redis);
    const counts = await countDataKeys(redis, redisKeys(namespace));
    for (const [kid, n] of await countWebhookSecrets(redis, redisKeys(namespace))) {
      counts.set(kid, (counts.get(kid) ?? 0) + n);
    }
    return counts;
  } finally {
    redis.disconnect();
  }
}

function addressOf({ redis }: RedisOptions): string {
  const { PASSFERRY_REDIS_URL: address, PASSFERRY_REDIS_URL_FILE: file } = process.env;
  if (redis || address) return (redis || address) as string;
  try {
    return readFileSync(file as string, 'utf8').trim();
  } catch {
    throw cliError(exits.usage, 'PASSFERRY_REDIS_URL_FILE cannot be read');
  }
}
