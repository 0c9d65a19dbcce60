import type { Redis } from 'ioredis';
import type { Event } from '../event.ts';
import type { Keys } from '../keys.ts';
import { evaluate } from '../ledger/evaluate.ts';
import type { EventLog } from '../ledger/event-log.ts';
import { type Webhook, type Webhooks, wants } from '../ledger/webhooks.ts';
import { trace } from '../trace.ts';

const atOnce = 200;

const moveOn = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`;

/**
 * Reads the event log from where the webhooks have come to, and stores a delivery for each webhook that wants an event. The
 * place moves on after that: whoever is killed in between leaves the same deliveries, under the same ids, to the next.
 */
export function createDispatch(options: {
  redis: Redis;
  keys: Keys;
  events: EventLog;
  webhooks: Webhooks;
  /** Stores a delivery; harmless to repeat. */
  add(webhook: Webhook, event: Event): Promise<unknown>;
  everyMs: number;
}) {
  const { redis, keys, events, webhooks, add, everyMs } = options;

  const tickMs = Math.ceil(everyMs * 0.9);

  async function storePage(page: Event[]): Promise<void> {
    const byOrg = new Map<string, Promise<Webhook[]>>();
    const webhooksOf = (org: string) => {
      const known = byOrg.get(org) ?? webhooks.list(org);
      byOrg.set(org, known);
      return known;
    };
    await Promise.all(
      page.map(async (event) => {
        const wanting = (await webhooksOf(event.org)).filter(
          (each) => !each.disabled && wants(each, event.type) && each.createdAt <= event.time,
        );
        await Promise.all(wanting.map((webhook) => add(webhook, event)));
      }),
    );
  }

  /** Up to the end of the log, unless somebody else is at it. Errors: `redis_down` and those of `add`. */
  return async function dispatch(): Promise<void> {
    let from = await redis.get(keys.webhookCursor);
    // One worker is enough; two do no harm.
    if (from === null || (await redis.set(keys.webhookTick, '1', 'PX', tickMs, 'NX')) === null) return;
    for (;;) {
      const page = await events.page(from, atOnce);
      await storePage(page.events);
      if (page.events.length > 0) trace('delivery:stored', { jobId: '' });
      if (page.position === from) return;
      if ((await evaluate(redis, moveOn, [keys.webhookCursor], [from, page.position])) !== 1) return;
      if (page.isLast) return;
      from = page.position;
      await redis.set(keys.webhookTick, '1', 'PX', tickMs);
    }
  };
}
