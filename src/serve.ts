import { setMaxListeners } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Admin, startAdmin } from './admin.ts';
import { followCertificate } from './certificate.ts';
import { clientAddress } from './client-address.ts';
import { allows, type ServeConfig } from './config.ts';
import { credential } from './credential.ts';
import { followJobKey, followPublicKeys, readFingerprintKey } from './key-files.ts';
import { redisKeys } from './keys.ts';
import { standingOfAll } from './ledger/divergence-tally.ts';
import { readDepths } from './ledger/queue-depth.ts';
import { listen } from './listen.ts';
import type { Log } from './log.ts';
import { type Metrics, queueMetrics, requestMetrics, stepMetrics } from './metrics.ts';
import { createOutgoingCheck } from './outgoing.ts';
import { createSamples } from './producer/audit-samples.ts';
import { loadCallers, type TokenIssuer } from './producer/callers.ts';
import { counted } from './producer/count-requests.ts';
import { guarded } from './producer/guard.ts';
import { forBrowsers } from './producer/http/browser.ts';
import { createHttp } from './producer/http/server.ts';
import { withinBodyTime } from './producer/http/slow-body.ts';
import { createLimits } from './producer/limits.ts';
import { createOidc } from './producer/oidc/oidc.ts';
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

/**
 * The producer process: HTTP in front, Redis behind; knows no backend and no private key.
 * @param numbers filled with ours for a port that several parts share; default: a port of our own, when one is configured.
 */
export async function serve(config: ServeConfig, log: Log, numbers?: Metrics[]): Promise<Serving> {
  const target = {
    url: config.PASSFERRY_REDIS_URL,
    onState: (state: string, code?: string) => log.debug({ state, code }, 'redis'),
  };
  const callers = loadCallers(
    config.PASSFERRY_CALLERS_FILE,
    (err) => log.error({ err }, 'the old callers stay'),
    oidcOf(config, log),
  );
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
    onForgedEvent: (event) =>
      log.error({ event }, 'an entry of the event log is not signed by us and counts as absent'),
    outgoing: createOutgoingCheck(config.PASSFERRY_WEBHOOK_ALLOW),
    audit: { retentionMs: config.PASSFERRY_AUDIT_RETENTION, max: config.PASSFERRY_AUDIT_MAX, log },
    orgLimit: { jobs: config.PASSFERRY_ORG_MAX_WAITING, bytes: config.PASSFERRY_ORG_MAX_BYTES },
  });
  const requests = requestMetrics();
  const ours = [
    requests,
    queueMetrics(() => readDepths(redis, redisKeys(config.PASSFERRY_NAMESPACE))),
    stepMetrics(() => standingOfAll(producer.divergences)),
  ];
  numbers?.push(...ours);
  let admin: Admin | undefined;
  if (!numbers && config.PASSFERRY_ADMIN_LISTEN) {
    admin = await startAdmin(config.PASSFERRY_ADMIN_LISTEN, ours).catch(async (error) => {
      await producer.close();
      throw error;
    });
    log.info({ url: admin.url }, 'numbers for Prometheus');
  }
  const closing = new AbortController();
  // Every call that waits listens.
  setMaxListeners(0, closing.signal);
  const staged = config.PASSFERRY_STAGES.organizations;
  const proxies = { networks: config.PASSFERRY_TRUST_PROXY, header: config.PASSFERRY_TRUST_PROXY_HEADER };
  const deps = {
    producer,
    callers,
    orgExists: (org: string) => callers.knows(org) || Object.hasOwn(staged, org),
    addressOf: (request: IncomingMessage) => clientAddress(request, proxies),
    waitMs: config.PASSFERRY_WAIT,
    log,
    closing: closing.signal,
    streamsPerCaller: config.PASSFERRY_STREAMS_PER_CALLER,
  };
  const limits = createLimits({
    rate: config.PASSFERRY_CALLER_RATE,
    concurrency: config.PASSFERRY_CALLER_CONCURRENCY,
    failures: config.PASSFERRY_AUTH_FAILURES,
  });
  const samples = createSamples(producer.audit);
  const app = createHttp({ ...deps, limits });
  await app.ready();
  const certificate = followCertificate(config, log);
  const answering = rpcListener(deps, (request, response) =>
    app.routing(request as IncomingMessage, response as ServerResponse),
  );
  const timed = withinBodyTime(guarded(answering, { callers, limits, proxies, samples }), bodyMs, (path) =>
    /^\/(imports|resets)(\?|$)/.test(path),
  );
  const server = await listen(
    {
      ...config.PASSFERRY_LISTEN,
      graceMs,
      maxConnections: config.PASSFERRY_MAX_CONNECTIONS,
      ...(certificate && { tls: certificate.read() }),
    },
    counted(forBrowsers(timed, { tls: certificate !== undefined, origins: config.PASSFERRY_CORS_ORIGINS }), requests),
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
      admin?.close();
      certificate?.stop();
      await server.close();
      await app.close();
      samples.close();
      await producer.close();
    },
  };
}

/** Nothing is asked of the issuer yet: one that is down stops no start. */
function oidcOf(config: ServeConfig, log: Log): TokenIssuer | undefined {
  const { PASSFERRY_OIDC_ISSUER: issuer, PASSFERRY_OIDC_AUDIENCE: audience } = config;
  const { PASSFERRY_OIDC_CLIENT_ID: id, PASSFERRY_OIDC_CLIENT_SECRET_FILE: file } = config;
  if (issuer === undefined || audience === undefined) return undefined;
  return createOidc({
    issuer,
    audience,
    mappingFile: config.PASSFERRY_OIDC_MAPPING_FILE,
    ...(id && file && { client: { id, secret: credential({ file }) } }),
    algorithms: config.PASSFERRY_OIDC_ALGORITHMS,
    leewayMs: config.PASSFERRY_OIDC_LEEWAY,
    cacheMs: config.PASSFERRY_OIDC_CACHE,
    log,
  });
}
