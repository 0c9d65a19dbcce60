import { PassferryError } from '../errors.ts';
import type { Event } from '../event.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { type Deliveries, deliveryId } from './deliveries.ts';
import type { Webhook } from './webhooks.ts';

/** The queue of deliveries; nothing that sets passwords is in it. */
export const deliverQueue = 'deliver';

const dataVersion = 1;

/** What a delivery's job stores in Redis: no secret, all of it signed. */
export interface DeliveryData {
  v: typeof dataVersion;
  /** The delivery's id, and `webhook-id` on the way. */
  id: string;
  /** Counts up whenever a person sends it again: only the newest job does anything. */
  round: number;
  webhook: string;
  org: string;
  /** ms since the epoch. */
  addedAt: number;
  /** One try and no more; also while the webhook is disabled. */
  isTest: boolean;
  /** The JSON that is sent. */
  body: string;
  mac: string;
}

/** What is needed of the queue. */
export interface DeliveryQueue {
  add(name: string, data: DeliveryData, options: { jobId: string }): Promise<unknown>;
}

/** What a receiver is sent when somebody tries a webhook. */
export interface TestEvent {
  id: string;
  time: string;
  org: string;
  type: 'webhook.test';
  webhook: string;
}

const jobOptions = {
  // Tries are the ledger's; the queue's own errors are tried again for ever.
  attempts: 1_000_000,
  backoff: { type: 'fixed', delay: 1_000, jitter: 0.5 },
  removeOnComplete: true,
  removeOnFail: true,
  stackTraceLimit: 0,
};

/**
 * Stores a delivery and adds its job; harmless to repeat. False when there was nothing to add: it has ended, or too many
 * deliveries are open. @param again see {@link Deliveries}. Error: `redis_down`.
 */
export async function addDelivery(
  { queue, deliveries, jobKey }: { queue: DeliveryQueue; deliveries: Deliveries; jobKey: JobKey },
  webhook: Pick<Webhook, 'id' | 'org'>,
  event: Event | TestEvent,
  again = false,
): Promise<{ id: string; isAdded: boolean }> {
  const { id: eventId, type, time: timestamp } = event;
  const id = deliveryId(webhook.id, eventId);
  const round = await deliveries.open(webhook.id, { id, event: eventId, type }, { again });
  if (round === undefined) return { id, isAdded: false };
  const unsigned = {
    v: dataVersion,
    ...{ id, round, webhook: webhook.id, org: webhook.org, addedAt: Date.now(), isTest: type === 'webhook.test' },
    body: JSON.stringify({ type, timestamp, data: event }),
  } as const;
  const data: DeliveryData = { ...unsigned, mac: sign(jobKey, 'delivery', parts(unsigned)) };
  await queue.add('deliver', data, { ...jobOptions, jobId: round === 0 ? id : `${id}-${round}` });
  return { id, isAdded: true };
}

/** Stored → data that one of ours has signed. Error: `job_forged`. */
export function decodeDelivery(stored: unknown, jobKey: JobKey): DeliveryData {
  const data = stored as DeliveryData | null;
  try {
    if (data && data.v === dataVersion && verify(jobKey, 'delivery', parts(data), data.mac)) return data;
  } catch {
    // not even of the right shape
  }
  throw new PassferryError('job_forged');
}

function parts({ v, id, round, webhook, org, addedAt, isTest, body }: Omit<DeliveryData, 'mac'>) {
  return [v, id, round, webhook, org, addedAt, isTest, body];
}
