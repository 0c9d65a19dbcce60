import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { EventId } from '../event.ts';
import type { Keys } from '../keys.ts';
import { createDeliveries, type Delivery, mostOpen } from '../ledger/deliveries.ts';
import { addDelivery, type DeliveryQueue } from '../ledger/delivery-job.ts';
import { compareIds, createEventLog } from '../ledger/event-log.ts';
import { makeWebhookSecret, sealWebhookSecret } from '../ledger/webhook-secret.ts';
import { createWebhooks, type EventPattern, type Webhook, wants } from '../ledger/webhooks.ts';
import type { OutgoingCheck } from '../outgoing.ts';
import type { KeyPairs } from '../seal.ts';
import type { JobKey } from '../signature.ts';

/** What the admins of its organization see of a webhook; never a secret. */
export interface WebhookView {
  id: string;
  org: string;
  url: string;
  events: EventPattern[];
  state: 'enabled' | 'disabled';
  disabled?: { at: string; reason: string; by?: string };
  createdAt: string;
  createdBy: string;
  /** After a rotation: until when the secret before signs too. */
  oldSecretUntil?: string;
  /** Deliveries that have not ended. */
  waiting: number;
  /** Events that were not stored for it because too many deliveries were waiting: how many, and the first. */
  missed?: { count: number; first: EventId };
}

/** What to send again: one event, or all that it wants of a time, page by page. */
export type Replay = { event: EventId } | { sinceMs: number; untilMs: number; after?: EventId };

/** Looked at and sent again by one call: it must end while somebody waits. */
const mostRead = 10_000;
const mostReplayed = 1_000;
const atOnce = 200;
const lastNumber = Number.MAX_SAFE_INTEGER;

/** What people do with webhooks. Whoever calls has checked that they may. Errors of all: `redis_down`. */
export function createWebhookDesk(options: {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  publicKeys: KeyPairs;
  queue: DeliveryQueue;
  check: OutgoingCheck;
}) {
  const { redis, keys, jobKey, publicKeys, queue, check } = options;
  const webhooks = createWebhooks(redis, keys, jobKey);
  const deliveries = createDeliveries(redis, keys);
  const events = createEventLog(redis, keys, jobKey);
  const into = { queue, deliveries, jobKey };

  async function view({ secrets, disabled, ...webhook }: Webhook): Promise<WebhookView> {
    const [waiting, missed] = await Promise.all([deliveries.openCount(webhook.id), webhooks.missed(webhook.id)]);
    const until = secrets[1]?.until ?? 0;
    return {
      ...webhook,
      state: disabled ? 'disabled' : 'enabled',
      ...(disabled && { disabled }),
      ...(until > Date.now() && { oldSecretUntil: new Date(until).toISOString() }),
      waiting,
      ...(missed && { missed }),
    };
  }

  async function replayOne(webhook: Webhook, id: EventId): Promise<number> {
    const [event] = (await events.page(placeBefore(id), 1)).events;
    if (event?.id !== id || event.org !== webhook.org) throw new PassferryError('event_unknown');
    await addDelivery(into, webhook, event, true);
    return 1;
  }

  async function replayMany(webhook: Webhook, from: EventId, untilMs: number) {
    let replayed = 0;
    let after = from;
    for (let read = 0; read < mostRead && replayed < mostReplayed; read += atOnce) {
      const page = await events.page(after, atOnce);
      const inTime = page.events.filter(({ id }) => msOf(id) <= untilMs);
      const wanted = inTime.filter((event) => event.org === webhook.org && wants(webhook, event.type));
      await Promise.all(wanted.map((event) => addDelivery(into, webhook, event, true)));
      replayed += wanted.length;
      if (page.isLast || msOf(page.position) > untilMs) return { replayed };
      after = page.position;
    }
    return { replayed, next: after };
  }

  return {
    view,
    read: webhooks.read,
    list: async (org: string): Promise<WebhookView[]> => Promise.all((await webhooks.list(org)).map(view)),

    /** The secret is told this once. Errors: those of the check of its URL, `webhook_limit`. */
    async add(
      given: Pick<Webhook, 'org' | 'url' | 'events'> & { by: string },
    ): Promise<{ webhook: WebhookView; secret: string }> {
      const { url } = await check(given.url);
      const secret = makeWebhookSecret();
      const added = await webhooks.add({ ...given, url: url.href }, (id) => sealWebhookSecret(publicKeys, id, secret));
      return { webhook: await view(added), secret };
    },

    /** A new secret, told this once; the one before signs too for 24 h. Error: `webhook_unknown`. */
    async rotate(id: string): Promise<{ webhook: WebhookView; secret: string }> {
      const secret = makeWebhookSecret();
      const rotated = await webhooks.rotate(id, await sealWebhookSecret(publicKeys, id, secret));
      return { webhook: await view(rotated), secret };
    },

    disable: async (id: string, reason: string, by: string) => view(await webhooks.disable(id, reason, by)),
    enable: async (id: string) => view(await webhooks.enable(id)),
    remove: webhooks.remove,

    /** Sends an event that only says hello: one try. Returns the id of the delivery. */
    async test({ id, org }: Webhook): Promise<string> {
      const event = `test-${randomBytes(6).toString('hex')}`;
      const time = new Date(await webhooks.now()).toISOString();
      return (await addDelivery(into, { id, org }, { id: event, time, org, type: 'webhook.test', webhook: id })).id;
    },

    /**
     * Sends again what the log of 24 h has, under the same ids. `next` is where to go on. Errors: `webhook_disabled`,
     * `webhook_backlog`, `event_unknown`.
     */
    async replay(webhook: Webhook, what: Replay): Promise<{ replayed: number; next?: EventId }> {
      if (webhook.disabled) throw new PassferryError('webhook_disabled');
      if ((await deliveries.openCount(webhook.id)) >= mostOpen) throw new PassferryError('webhook_backlog');
      if ('event' in what) return { replayed: await replayOne(webhook, what.event) };
      const from = what.after ?? `${Math.max(0, what.sinceMs - 1)}-${lastNumber}`;
      const missed = await webhooks.missed(webhook.id);
      if (missed && compareIds(from, missed.first) < 0) await webhooks.forgetMissed(webhook.id);
      return replayMany(webhook, from, what.untilMs);
    },

    /** Newest change first. */
    deliveries: ({ id }: Webhook, count: number, state?: Delivery['state']) => deliveries.list(id, count, state),
  };
}

const msOf = (id: EventId) => Number(id.split('-')[0]);

/** Whatever comes next in the log after this place is the event, if it is there. */
function placeBefore(id: EventId): EventId {
  const [ms = 0, number = 0] = id.split('-').map(Number);
  return number > 0 ? `${ms}-${number - 1}` : `${Math.max(0, ms - 1)}-${lastNumber}`;
}
