import { randomUUID } from 'node:crypto';
import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { Webhook as Signer } from 'standardwebhooks';
import { toPassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { createDeliveries, type DeliveryEnd, type DeliveryReason, deliveryReasons } from '../ledger/deliveries.ts';
import { addDelivery, type DeliveryData, decodeDelivery, deliverQueue } from '../ledger/delivery-job.ts';
import { createEventLog } from '../ledger/event-log.ts';
import { isSealedToOldPair, openWebhookSecret, sealWebhookSecret } from '../ledger/webhook-secret.ts';
import { createWebhooks, type Webhook } from '../ledger/webhooks.ts';
import type { Log } from '../log.ts';
import type { OutgoingCheck } from '../outgoing.ts';
import type { KeyPairs } from '../seal.ts';
import type { JobKey } from '../signature.ts';
import { trace } from '../trace.ts';
import { within } from '../within.ts';
import { createDispatch } from './dispatch.ts';
import { createPace } from './pace.ts';
import { post } from './post.ts';
import { seldom } from './seldom.ts';

const [second, minute, hour] = [1_000, 60_000, 3_600_000];

/** Waits between tries, as Standard Webhooks proposes: ten tries within 75.6 h; each wait 10 % shorter or longer. */
const usualLadder = [...[5 * second, 5 * minute, 30 * minute], ...[2, 5, 10, 14, 20, 24].map((hours) => hours * hour)];
const jitter = 0.1;
/** However long receivers ask us to wait. */
const longestAskedMs = 6 * hour;
/** Whatever held it up. */
const oldestMs = 100 * hour;
const resealEveryMs = 10 * minute;

export interface DeliverOptions {
  /** Patient connections. */
  connect: () => Redis;
  keys: Keys;
  privateKeys: KeyPairs;
  jobKey: JobKey;
  check: OutgoingCheck;
  log: Log;
  /** Waits between tries, ms; one try more than waits. Default: see docs/api.md, about 75 h. */
  ladder?: readonly number[];
  /** The longest time of one try, ms. Default 15,000. */
  timeoutMs?: number;
  /** How often the event log is looked at, ms. Default 1,000. */
  everyMs?: number;
  /** Sent at once by this process. Default 256: nearly all of that is waiting. */
  atOnce?: number;
}

/** Tells webhooks what happened: reads the event log, stores deliveries, sends them. */
export function createDeliver(options: DeliverOptions) {
  const { connect, keys, jobKey, privateKeys, check, log } = options;
  const { ladder = usualLadder, timeoutMs = 15 * second, everyMs = second, atOnce = 256 } = options;
  const redis = connect();
  const webhooks = createWebhooks(redis, keys, jobKey);
  const deliveries = createDeliveries(redis, keys);
  const events = createEventLog(redis, keys, jobKey);
  const queue = new Queue(deliverQueue, { connection: redis, prefix: keys.bullPrefix, skipVersionCheck: true });
  queue.on('error', () => {});
  const pace = createPace();

  /** Opens the secrets that sign now. Error: those of {@link openWebhookSecret}. */
  async function secretsOf({ id, secrets }: Webhook): Promise<string[]> {
    const valid = secrets.filter(({ until }) => until === undefined || until > Date.now());
    return Promise.all(valid.map(({ sealed }) => openWebhookSecret(privateKeys, id, sealed)));
  }

  /** One try: what became of it. */
  async function attempt(webhook: Webhook, { id, body }: DeliveryData): Promise<Tried> {
    const signal = AbortSignal.timeout(timeoutMs);
    let secrets: string[];
    try {
      secrets = await secretsOf(webhook);
    } catch (err) {
      log.error({ webhook: webhook.id, err }, 'the secret of a webhook cannot be opened; rotate it');
      return { reason: 'secret_unreadable' };
    }
    try {
      const destination = await abortable(check(webhook.url), signal);
      const at = new Date();
      const headers = {
        'content-type': 'application/json',
        'user-agent': 'Passferry',
        'webhook-id': id,
        'webhook-timestamp': `${Math.floor(at.getTime() / 1_000)}`,
        'webhook-signature': secrets.map((secret) => new Signer(secret).sign(id, at, body)).join(' '),
      };
      const { status, retryAfterMs } = await post(destination, headers, body, signal);
      return { status, ...reasonOf(status), ...(retryAfterMs !== undefined && { retryAfterMs }) };
    } catch (thrown) {
      if (signal.aborted) return { reason: 'timeout' };
      const { reason } = toPassferryError(thrown);
      return { reason: deliveryReasons.find((each) => each === reason) ?? 'connection' };
    }
  }

  /** What follows from it: the one place that decides about tries. */
  function endOf({ status, reason, retryAfterMs = 0 }: Tried, tries: number, isTest: boolean): DeliveryEnd {
    const told = { ...(status !== undefined && { status }), ...(reason && { reason }) };
    if (!reason) return { state: 'delivered', ...told };
    const rung = ladder[tries - 1];
    if (isTest || reason === 'gone' || rung === undefined) return { state: 'failed', ...told };
    const asked = Math.min(retryAfterMs, longestAskedMs);
    const nextMs = Math.max(asked, rung * (1 - jitter + 2 * jitter * Math.random()));
    // 429 and 503 speak for the receiver, not for this one delivery.
    const pauseMs = status === 429 || status === 503 ? asked : 0;
    return { state: 'waiting', nextMs, pauseMs, ...told };
  }

  async function run(job: Job, token: string | undefined): Promise<void> {
    const putOff = async (ms: number): Promise<never> => {
      await job.moveToDelayed(Date.now() + Math.max(1, Math.round(ms)), token);
      throw new DelayedError();
    };
    const data = decoded(job);
    const { id, round, isTest } = data;
    const webhook = await webhooks.read(data.webhook);
    // Removed, and with it whoever wanted to know.
    if (webhook?.org !== data.org) return;
    const giveUp = (reason: DeliveryReason) => deliveries.end(webhook.id, id, round, '', { state: 'failed', reason });
    if (webhook.disabled && !isTest) return giveUp('disabled');
    if (Date.now() - data.addedAt > oldestMs) return giveUp('too_old');

    const place = { token: randomUUID(), limit: pace.places(webhook.id), placeMs: timeoutMs + 15 * second };
    const begun = await deliveries.begin(webhook.id, id, round, place);
    if (begun.kind === 'done') return;
    if (begun.kind === 'wait') return putOff(begun.ms);
    if (begun.kind === 'full') return putOff(pace.turnMs(webhook.id, begun.open));

    trace('delivery:begun', { jobId: id });
    const startedAt = performance.now();
    const tried = await attempt(webhook, data);
    pace.took(webhook.id, performance.now() - startedAt);
    trace('delivery:sent', { jobId: id, ...(tried.reason && { reason: tried.reason }) });
    if (tried.reason === 'gone' && !webhook.disabled) {
      await webhooks.disable(webhook.id, 'the receiver answered 410 Gone');
      log.warn({ webhook: webhook.id, org: webhook.org }, 'a webhook is disabled: its receiver answered 410 Gone');
    }
    const end = endOf(tried, begun.attempt, isTest);
    await deliveries.end(webhook.id, id, round, place.token, end);
    trace('delivery:recorded', { jobId: id });
    if (end.state === 'failed') {
      log.warn({ webhook: webhook.id, org: webhook.org, delivery: id, ...tried }, 'a delivery to a webhook failed');
    }
    if (end.nextMs !== undefined) return putOff(end.nextMs);
  }

  function decoded(job: Job): DeliveryData {
    try {
      return decodeDelivery(job.data, jobKey);
    } catch {
      log.error({ what: 'delivery', jobId: job.id }, 'a record in Redis is not signed by us and counts as absent');
      throw new UnrecoverableError('job_forged');
    }
  }

  const dispatch = createDispatch({
    ...{ redis, keys, events, webhooks, everyMs },
    add: (webhook, event) => addDelivery({ queue, deliveries, jobKey }, webhook, event),
  });

  /** So that a retired pair can be destroyed. */
  async function reseal(): Promise<void> {
    for (const { id, secrets } of await webhooks.all()) {
      for (const { sealed } of secrets.filter((each) => isSealedToOldPair(privateKeys, each.sealed))) {
        try {
          const secret = await openWebhookSecret(privateKeys, id, sealed);
          await webhooks.reseal(id, sealed, await sealWebhookSecret(privateKeys, id, secret));
        } catch (err) {
          log.warn({ webhook: id, err }, 'the secret of a webhook could not be sealed anew');
        }
      }
    }
  }

  const tellError = seldom<unknown>(5 * second, (err, more) => log.warn({ err, more }, 'webhooks wait; tried again'));
  let resealedAt = Number.NEGATIVE_INFINITY;
  let running: Promise<void> | undefined;
  async function tick(): Promise<void> {
    await dispatch();
    if (performance.now() - resealedAt < resealEveryMs) return;
    resealedAt = performance.now();
    await reseal();
  }
  const timer = setInterval(() => {
    running ??= tick()
      .catch(tellError)
      .finally(() => {
        running = undefined;
      });
  }, everyMs).unref();

  const worker = new Worker(deliverQueue, run, {
    connection: connect(),
    prefix: keys.bullPrefix,
    concurrency: atOnce,
    lockDuration: 10 * second,
    stalledInterval: 4 * second,
    maxStalledCount: 1_000_000,
  });
  worker.on('error', tellError);

  return {
    /** Finishes what is being sent: at most the time of one try, and a little. */
    async close(): Promise<void> {
      clearInterval(timer);
      await within(timeoutMs + 2 * second, Promise.all([worker.close().catch(() => {}), running]));
      void queue.close().catch(() => {});
      (worker.opts.connection as Redis).disconnect();
      redis.disconnect();
    },
  };
}

interface Tried {
  status?: number;
  /** Absent: it was taken. */
  reason?: DeliveryReason;
  retryAfterMs?: number;
}

function reasonOf(status: number): { reason?: DeliveryReason } {
  if (status >= 200 && status < 300) return {};
  if (status === 410) return { reason: 'gone' };
  return { reason: status >= 300 && status < 400 ? 'redirect' : 'answered' };
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return Promise.race([
    work,
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
  ]);
}
