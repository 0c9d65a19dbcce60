import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { type EventType, eventTypes } from '../event.ts';
import { makeWebhookId } from '../ids.ts';
import type { Keys } from '../keys.ts';
import { pairNamedBy } from '../seal.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { evaluate, redisError } from './evaluate.ts';

/** What a webhook may ask for: a type of event, or all of a kind. */
export const eventPatterns = [...eventTypes, 'job.*', 'run.*'] as const;
export type EventPattern = (typeof eventPatterns)[number];

/** A sealed secret; an old one signs too until `until` (ms). */
export interface WebhookSecret {
  sealed: string;
  until?: number;
}

/** An endpoint of an organization that is told what happened. */
export interface Webhook {
  id: string;
  org: string;
  url: string;
  events: EventPattern[];
  createdAt: string;
  /** Name of the caller who made it. */
  createdBy: string;
  /** Since when and why nothing is sent; `by` is absent when we did it ourselves. */
  disabled?: { at: string; reason: string; by?: string };
  /** The newest first. */
  secrets: WebhookSecret[];
}

const mostWebhooks = 20;

/** How long an old secret signs beside the new one. */
const oldSecretMs = 24 * 3_600_000;
/** Somebody who lost the answer rotates again: the one that the receiver knows must not go by that. */
const mostSecrets = 4;

const create = `
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[1])
-- Events before the first webhook are nobody's.
redis.call('SET', KEYS[3], ARGV[4], 'NX')
return 1`;

const remove = `
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('SCARD', KEYS[2]) == 0 then redis.call('DEL', KEYS[3]) end
for i = 4, #KEYS do redis.call('DEL', KEYS[i]) end`;

const replace = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`;

export type Webhooks = ReturnType<typeof createWebhooks>;

/** Webhooks live until somebody removes them. What is not signed by us counts as absent. Errors of all: `redis_down`. */
export function createWebhooks(redis: Redis, keys: Keys, jobKey: JobKey) {
  async function now(): Promise<number> {
    const [seconds, micros] = (await redis.time().catch(fail)) as unknown as [string, string];
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  async function read(id: string): Promise<Webhook | undefined> {
    return decode(jobKey, id, await redis.get(keys.webhook(id)).catch(fail));
  }

  /** Changes what is stored; again when somebody else was faster. Error: `webhook_unknown`. */
  async function change(id: string, how: (webhook: Webhook, now: number) => Webhook): Promise<Webhook> {
    for (;;) {
      const stored = await redis.get(keys.webhook(id)).catch(fail);
      const webhook = decode(jobKey, id, stored);
      if (!webhook) throw new PassferryError('webhook_unknown');
      const next = how(webhook, await now());
      const args = [stored as string, encode(jobKey, next)];
      if ((await evaluate(redis, replace, [keys.webhook(id)], args)) === 1) return next;
    }
  }

  return {
    now,
    read,

    /** Those of an organization, oldest first. */
    async list(org: string): Promise<Webhook[]> {
      const ids = await redis.smembers(keys.webhooks(org)).catch(fail);
      const found = await Promise.all(ids.map(read));
      return found
        .filter((each) => each?.org === org)
        .map((each) => each as Webhook)
        .sort((a, b) => (a.createdAt + a.id < b.createdAt + b.id ? -1 : 1));
    },

    /** Those of all organizations. */
    async all(): Promise<Webhook[]> {
      const found = await Promise.all((await redis.smembers(keys.allWebhooks).catch(fail)).map(read));
      return found.filter((each) => each !== undefined);
    },

    /** Error: `webhook_limit` (20 an organization). */
    async add(
      given: Pick<Webhook, 'org' | 'url' | 'events'> & { by: string },
      seal: (id: string) => Promise<string>,
    ): Promise<Webhook> {
      const { org, url, events, by: createdBy } = given;
      const id = makeWebhookId();
      const at = await now();
      // What was told in this very millisecond counts as before.
      const createdAt = new Date(at + 1).toISOString();
      const webhook: Webhook = { id, org, url, events, createdAt, createdBy, secrets: [{ sealed: await seal(id) }] };
      const names = [keys.webhook(id), keys.webhooks(org), keys.webhookCursor, keys.allWebhooks];
      const added = await evaluate(redis, create, names, [id, encode(jobKey, webhook), mostWebhooks, `${at - 1}-0`]);
      if (added !== 1) throw new PassferryError('webhook_limit');
      return webhook;
    },

    /** A new secret; those before it sign for another 24 h. */
    rotate: (id: string, sealed: string) =>
      change(id, (webhook, at) => {
        const old = webhook.secrets
          .filter(({ until }) => until === undefined || until > at)
          .map((each) => ({ until: at + oldSecretMs, ...each }));
        return { ...webhook, secrets: [{ sealed }, ...old].slice(0, mostSecrets) };
      }),

    /** The same secret, sealed to another pair. */
    reseal: (id: string, from: string, to: string) =>
      change(id, (webhook) => ({
        ...webhook,
        secrets: webhook.secrets.map((each) => (each.sealed === from ? { ...each, sealed: to } : each)),
      })),

    /** Nothing is sent until it is enabled. The first reason stays. */
    disable: (id: string, reason: string, by?: string) =>
      change(id, (webhook, at) => ({
        ...webhook,
        disabled: webhook.disabled ?? { at: new Date(at).toISOString(), reason, ...(by !== undefined && { by }) },
      })),

    /** Also ends a pause that the receiver asked for. */
    async enable(id: string): Promise<Webhook> {
      const webhook = await change(id, ({ disabled, ...rest }) => rest);
      await redis.del(keys.webhookPause(id)).catch(fail);
      return webhook;
    },

    async remove({ id, org }: Webhook): Promise<void> {
      const own = [keys.webhook(id), keys.webhookMissed(id), keys.webhookPause(id)];
      const lists = [keys.webhooks(org), keys.allWebhooks, keys.webhookCursor];
      await evaluate(redis, remove, [...lists, ...own, keys.deliveries(id), keys.deliveriesOpen(id)], [id]);
    },

    async forgetMissed(id: string): Promise<void> {
      await redis.del(keys.webhookMissed(id)).catch(fail);
    },

    /** Events that were not stored for it because too many were waiting, since the last replay. */
    async missed(id: string): Promise<{ count: number; first: string } | undefined> {
      const { count, first } = await redis.hgetall(keys.webhookMissed(id)).catch(fail);
      return count && first ? { count: Number(count), first } : undefined;
    },
  };
}

/** kid → how many secrets of webhooks are sealed to it. A forged one counts too: it does no harm here. Error: `redis_down`. */
export async function countWebhookSecrets(redis: Redis, keys: Keys): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const id of await redis.smembers(keys.allWebhooks).catch(fail)) {
    const { secrets } = parse(await redis.get(keys.webhook(id)).catch(fail));
    for (const { sealed, until = Number.POSITIVE_INFINITY } of secrets) {
      const kid = until > Date.now() ? pairNamedBy(sealed) : undefined;
      if (kid !== undefined) counts.set(kid, (counts.get(kid) ?? 0) + 1);
    }
  }
  return counts;
}

function parse(stored: string | null): Pick<Webhook, 'secrets'> {
  try {
    const { secrets } = JSON.parse(stored ?? '{}') as Webhook;
    return { secrets: Array.isArray(secrets) ? secrets.filter(({ sealed }) => typeof sealed === 'string') : [] };
  } catch {
    return { secrets: [] };
  }
}

export function wants({ events }: Pick<Webhook, 'events'>, type: EventType): boolean {
  return events.some(
    (pattern) => pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1))),
  );
}

function encode(jobKey: JobKey, webhook: Webhook): string {
  return JSON.stringify({ ...webhook, mac: sign(jobKey, 'webhook', parts(webhook)) });
}

function parts({ id, org, url, events, createdAt, createdBy, disabled, secrets }: Webhook) {
  return [
    ...[id, org, url, JSON.stringify(events), createdAt, createdBy],
    ...[disabled?.at, disabled?.reason, disabled?.by],
    JSON.stringify(secrets.map(({ sealed, until }) => [sealed, until ?? null])),
  ];
}

function decode(jobKey: JobKey, id: string, stored: string | null): Webhook | undefined {
  try {
    // The id is the key's: one copied under another id is a forgery.
    const { mac, ...webhook } = { ...(JSON.parse(stored ?? 'null') as Webhook & { mac: string }), id };
    return verify(jobKey, 'webhook', parts(webhook), mac) ? webhook : undefined;
  } catch {
    return undefined;
  }
}

function fail(error: unknown): never {
  throw redisError(error);
}
