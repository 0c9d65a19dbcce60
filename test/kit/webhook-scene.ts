import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Webhook as Verifier } from 'standardwebhooks';
import type { JobEvent } from '../../src/event.ts';
import { createKeyFiles, readJobKey, readPrivateKeys, readPublicKeys } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import type { Delivery } from '../../src/ledger/deliveries.ts';
import { deliverQueue } from '../../src/ledger/delivery-job.ts';
import { createLog } from '../../src/log.ts';
import { createOutgoingCheck, type OutgoingCheck } from '../../src/outgoing.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import { sign } from '../../src/signature.ts';
import { createDeliver, type DeliverOptions } from '../../src/worker/deliver.ts';
import { atEnd, tempDir } from './files.ts';
import type { Received } from './receiver.ts';
import type { TestRedis } from './redis.ts';
import { waitFor } from './wait.ts';

let made: Promise<string> | undefined;
/** Made once: scenes are told apart by their namespaces. */
function sharedKeys(): Promise<string> {
  made ??= (async () => {
    const dir = join(tempDir(), 'keys');
    await createKeyFiles(dir);
    return dir;
  })();
  return made;
}

export type WebhookScene = Awaited<ReturnType<typeof webhookScene>>;

/** Webhooks of an organization `acme` in a namespace of their own: what people do, what workers do, events by hand. */
export async function webhookScene(
  redis: TestRedis,
  more: Partial<DeliverOptions> = {},
  place: { keysDir?: string; namespace?: string } = {},
) {
  const keysDir = place.keysDir ?? (await sharedKeys());
  const keys = redisKeys(place.namespace ?? `hooks-${randomUUID().slice(0, 8)}`);
  const jobKey = readJobKey(keysDir);
  const check: OutgoingCheck = createOutgoingCheck(['127.0.0.1']);
  const connect = () => connectRedis({ url: redis.url }, 'worker');
  const look = connect();
  const producer = createProducer({
    redis: connect(),
    connectEvents: connect,
    publicKeys: readPublicKeys(keysDir),
    fingerprintKey: { current: () => ({ id: 'x', key: Buffer.alloc(32) }), find: () => undefined } as never,
    retentionMs: 60_000,
    outgoing: check,
    ...{ keys, jobKey },
  });
  const desk = producer.webhooks;
  const start = (each: Partial<DeliverOptions> = {}) => {
    const deliver = createDeliver({
      ...{ connect, keys, jobKey, check, everyMs: 20, ladder: [20, 20, 20], timeoutMs: 2_000 },
      privateKeys: readPrivateKeys(keysDir),
      log: createLog('silent', 'test'),
      ...more,
      ...each,
    });
    atEnd(() => deliver.close());
    return deliver;
  };
  atEnd(async () => {
    await producer.close();
    look.disconnect();
  });

  return {
    ...{ keys, keysDir, jobKey, look, desk, start },
    add: (url: string, org = 'acme') => desk.add({ org, url, events: ['job.*', 'run.*'], by: 'test' }),
    /** Something ended: into the log, as the scripts of the ledger do it. Returns the event's id. */
    async tell(event: Partial<JobEvent> = {}, key = jobKey): Promise<string> {
      const told = {
        type: 'job.completed',
        org: 'acme',
        job: `j-${randomUUID()}`,
        user: 'u',
        inEffect: true,
        ...event,
      };
      const text = JSON.stringify(told);
      const fields = ['e', text, 'n', '1', 'm', sign(key, 'event', [text])];
      return (await look.xadd(keys.events, '*', ...fields)) as string;
    },
    /** The one delivery of an event, once `is` holds. */
    async delivery(webhookId: string, event: string, is: (each: Delivery) => boolean): Promise<Delivery> {
      const webhook = await desk.read(webhookId);
      return waitFor(
        async () => {
          const all = webhook ? await desk.deliveries(webhook, 500) : [];
          return all.find((each) => each.event === event && is(each));
        },
        { what: `the delivery of ${event}` },
      );
    },
    queued: () => look.exists(`${keys.bullPrefix}:${deliverQueue}:wait`, `${keys.bullPrefix}:${deliverQueue}:delayed`),
  };
}

/** What the official library says of a request; throws when it does not verify. */
export function verified(secret: string, { body, headers }: Received): { type: string; data: { id: string } } {
  return new Verifier(secret).verify(body, headers as Record<string, string>) as { type: string; data: { id: string } };
}
