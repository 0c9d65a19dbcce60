import { setMaxListeners } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { followCertificate } from './certificate.ts';
import { allows, type ServeConfig } from './config.ts';
import { followJobKey, followPublicKeys, readFingerprintKey } from './key-files.ts';
import { redisKeys } from './keys.ts';
import { listen } from './listen.ts';
import type { Log } from './log.ts';
import { loadCallers } from './producer/callers.ts';
import { createHttp } from './producer/http/server.ts';
import { withinBodyTime } from './producer/http/slow-body.ts';
import { createProducer } from './producer/producer.ts';
import { rpcListener } from './producer/rpc/rpc.ts';
import { connectRedis } from './redis.ts';
import { checkDurability } from './redis-check.ts';

export interface Serving {
  url: string;
  close(): Promise<void>;
}

/** How long calls in flight may go on when the process ends; those that wait are answered at once. */
const graceMs = 10_000;

/** How long the body of a request may take to arrive; a file may take longer. */
const bodyMs = 30_000;

/** The producer process: HTTP in front, Redis behind; knows no backend and no private key. */
export async function serve(config: ServeConfig, log: Log): Promise<Serving> {
  const target = {
    url: config.PASSFERRY_REDIS_URL,
    onState: (state: string, code?: string) => log.debug({ state, code }, 'redis'),
  };
  const callers = loadCallers(config.PASSFERRY_CALLERS_FILE, (err) => log.error({ err }, 'the old callers stay'));
  const publicKeys = followPublicKeys(config.PASSFERRY_KEYS_DIR);
  const jobKey = followJobKey(config.PASSFERRY_KEYS_DIR);
  const fingerprintKey = readFingerprintKey(config.PASSFERRY_KEYS_DIR);

  const patient = connectRedis(target, 'worker');
  try {
    await checkDurability(patient, allows(config, 'durability'));
  } finally {
    patient.disconnect();
  }
  const redis = connectRedis(target, 'producer');
  await new Promise<void>((resolve) => (redis.status === 'ready' ? resolve() : redis.once('ready', () => resolve())));

  const producer = createProducer({
    redis,
    connectEvents: () => connectRedis(target, 'worker'),
    keys: redisKeys(config.PASSFERRY_NAMESPACE),
    publicKeys,
    jobKey,
    fingerprintKey,
    retentionMs: config.PASSFERRY_RETENTION,
  });
  const closing = new AbortController();
  // Every call that waits listens.
  setMaxListeners(0, closing.signal);
  const staged = config.PASSFERRY_STAGES.organizations;
  const deps = {
    producer,
    callers,
    orgExists: (org: string) => callers.knows(org) || Object.hasOwn(staged, org),
    waitMs: config.PASSFERRY_WAIT,
    log,
    closing: closing.signal,
  };
  const app = createHttp(deps);
  await app.ready();
  const certificate = followCertificate(config, log);
  const server = await listen(
    { ...config.PASSFERRY_LISTEN, graceMs, ...(certificate && { tls: certificate.read() }) },
    withinBodyTime(
      rpcListener(deps, (request, response) => app.routing(request as IncomingMessage, response as ServerResponse)),
      bodyMs,
      (path) => /^\/imports(\?|$)/.test(path),
    ),
  );
  certificate?.follow(server.renew);
  const host = config.PASSFERRY_LISTEN.host.includes(':')
    ? `[${config.PASSFERRY_LISTEN.host}]`
    : config.PASSFERRY_LISTEN.host;
  const url = `${certificate ? 'https' : 'http'}://${host}:${server.port}`;
  log.info({ url }, 'serving');
  return {
    url,
    async close() {
      closing.abort();
      certificate?.stop();
      await server.close();
      await app.close();
      await producer.close();
    },
  };
}
