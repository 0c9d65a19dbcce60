import { createServer } from 'node:http';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Backend } from './adapters/port.ts';
import {
  createV1Postgres,
  findingText,
  loadMapping,
  pgClient,
  requireFit,
  type V1Mapped,
} from './adapters/v1-postgres/index.ts';
import { createV1Zitadel } from './adapters/v1-zitadel/index.ts';
import { createV2Zitadel } from './adapters/v2-zitadel/index.ts';
import type { ZitadelOptions } from './adapters/zitadel/options.ts';
import { type Admin, startAdmin } from './admin.ts';
import { allows, isZitadel, type WorkConfig } from './config.ts';
import { credential } from './credential.ts';
import { followJobKey, followPrivateKeys } from './key-files.ts';
import { redisKeys } from './keys.ts';
import { dataKeyStore } from './ledger/data-keys.ts';
import { readDepths } from './ledger/queue-depth.ts';
import type { Log } from './log.ts';
import { type Metrics, queueMetrics, workMetrics } from './metrics.ts';
import { createOutgoingCheck } from './outgoing.ts';
import { connectRedis } from './redis.ts';
import { checkDurability } from './redis-check.ts';
import { createDeliver } from './worker/deliver.ts';
import { createLocalHold } from './worker/hold-file.ts';
import type { PassferryWorker } from './worker/options.ts';
import type { QuarantineWay } from './worker/quarantine.ts';
import { createWorker } from './worker/worker.ts';

export interface Backends {
  v1?: Backend;
  v2?: Backend;
}

/**
 * Backends from configuration. One that is down delays jobs, it does not stop a worker; a mapped table that can be looked at and does not
 * fit does (`config_invalid`, with everything that was found).
 */
export async function openBackends(config: WorkConfig, log?: Log): Promise<Backends> {
  const backends: Backends = {};
  if (config.PASSFERRY_V1_URL && isZitadel(config.PASSFERRY_V1_URL)) {
    backends.v1 = createV1Zitadel(zitadelOf(config, 'V1', config.PASSFERRY_V1_URL));
  } else if (config.PASSFERRY_V1_URL) {
    backends.v1 = await openV1(config, config.PASSFERRY_V1_URL, log);
  }
  if (config.PASSFERRY_V2_URL) {
    const options = zitadelOf(config, 'V2', config.PASSFERRY_V2_URL);
    const { PASSFERRY_V2_HASHES: verifiers, PASSFERRY_V2_PROBE_USER: probe } = config;
    const probeUser = probe === 'none' ? false : probe;
    backends.v2 = createV2Zitadel({ ...options, verifiers, ...(probeUser !== undefined && { probeUser }) });
  }
  return backends;
}

/** A PostgreSQL as v1, with our own tables or a mapped one. Errors as {@link openBackends}. */
export async function openV1(config: WorkConfig, url: string, log: Log | undefined): Promise<V1Mapped> {
  const mapped = config.PASSFERRY_V1_MAPPING === undefined ? undefined : loadMapping(config.PASSFERRY_V1_MAPPING);
  const options = { sql: pgClient(url), bcryptCost: config.PASSFERRY_V1_BCRYPT_COST };
  const v1 = await createV1Postgres({ ...options, ...(mapped && { mapped }) });
  try {
    if (config.PASSFERRY_V1_MIGRATE === 'true') await v1.migrate();
    if (!mapped) return v1;
    const found = await requireFit(v1);
    if (!found) log?.warn({ by: 'worker', backend: 'v1' }, 'the mapped table cannot be looked at now');
    for (const { ids: _, ...each } of found ?? []) {
      const facts = { by: 'worker', backend: 'v1', reason: each.code };
      log?.[each.level === 'info' ? 'info' : 'warn'](facts, findingText(each));
    }
    return v1;
  } catch (error) {
    await v1.close();
    throw error;
  }
}

/** One deadline for both: workers measure their leases by it. */
function zitadelOf(config: WorkConfig, name: 'V1' | 'V2', url: string): ZitadelOptions {
  const file = config[`PASSFERRY_${name}_TOKEN_FILE`];
  return {
    url,
    credential: credential(file ? { file } : { value: config[`PASSFERRY_${name}_TOKEN`] as string }),
    deadlineMs: config.PASSFERRY_V2_DEADLINE,
    allowPlaintext: allows(config, name === 'V1' ? 'v1' : 'v2'),
  };
}

/**
 * The worker process: takes jobs, holds the private key, writes the backends.
 * @param quarantine what becomes of jobs that end their process; default: held for a person.
 * @param numbers filled with ours for a port that several parts share; default: a port of our own, when one is configured.
 */
export async function work(
  config: WorkConfig,
  backends: Backends,
  log: Log,
  quarantine: QuarantineWay = { kind: 'none' },
  numbers?: Metrics[],
): Promise<PassferryWorker> {
  const target = {
    url: config.PASSFERRY_REDIS_URL,
    onState: (state: string, code?: string) => log.debug({ state, code }, 'redis'),
  };
  const keys = redisKeys(config.PASSFERRY_NAMESPACE);
  const shared = connectRedis(target, 'worker');
  await checkDurability(shared, allows(config, 'durability')).catch((error) => {
    shared.disconnect();
    throw error;
  });
  const localHold = createLocalHold({ file: config.PASSFERRY_HOLD_FILE, log });
  const facts: { worker?: PassferryWorker } = {};
  const meter = workMetrics(() => facts.worker?.progress());
  numbers?.push(meter);
  let admin: Admin | undefined;
  if (!numbers && config.PASSFERRY_ADMIN_LISTEN) {
    const ours = [meter, queueMetrics(() => readDepths(shared, keys))];
    admin = await startAdmin(config.PASSFERRY_ADMIN_LISTEN, ours).catch((error) => {
      localHold.close();
      shared.disconnect();
      throw error;
    });
    log.info({ url: admin.url }, 'numbers for Prometheus');
  }
  const worker = createWorker({
    connect: () => connectRedis(target, 'worker'),
    keys,
    dataKeys: dataKeyStore(shared, keys),
    privateKeys: followPrivateKeys(config.PASSFERRY_KEYS_DIR),
    jobKey: followJobKey(config.PASSFERRY_KEYS_DIR),
    retentionMs: config.PASSFERRY_RETENTION,
    failedSecretMs: config.PASSFERRY_FAILED_SECRETS,
    backends: {
      ...(backends.v1 && { v1: { backend: backends.v1, limit: v1Limit(config) } }),
      ...(backends.v2 && { v2: { backend: backends.v2, limit: config.PASSFERRY_V2_CONCURRENCY } }),
    },
    stages: config.PASSFERRY_STAGES,
    ...(config.PASSFERRY_PROTECTED_USERS && { protectedUsers: new Set(config.PASSFERRY_PROTECTED_USERS) }),
    ...(config.PASSFERRY_PROTECTED_ROLES && { protectedRoles: new Set(config.PASSFERRY_PROTECTED_ROLES) }),
    deadlineMs: config.PASSFERRY_V2_DEADLINE,
    settleMs: config.PASSFERRY_V2_SETTLE,
    ...(config.PASSFERRY_V2_RATE !== undefined && { v2Rate: config.PASSFERRY_V2_RATE }),
    proofShare: config.PASSFERRY_PROOF_SHARE,
    localHold,
    meter,
    ...epochFile(config, backends),
    quarantine,
    log,
  });
  facts.worker = worker;
  const deliver =
    quarantine.kind === 'inside'
      ? undefined
      : createDeliver({
          connect: () => connectRedis(target, 'worker'),
          keys,
          privateKeys: followPrivateKeys(config.PASSFERRY_KEYS_DIR),
          jobKey: followJobKey(config.PASSFERRY_KEYS_DIR),
          check: createOutgoingCheck(config.PASSFERRY_WEBHOOK_ALLOW),
          log,
        });
  const health = config.PASSFERRY_HEALTH_LISTEN ? healthServer(config.PASSFERRY_HEALTH_LISTEN, worker) : undefined;
  return {
    ...worker,
    async close() {
      health?.close();
      admin?.close();
      await Promise.all([worker.close(), deliver?.close()]);
      localHold.close();
      shared.disconnect();
      await Promise.all(Object.values(backends).map((backend: Backend) => backend.close()));
    },
  };
}

/** Where a backend keeps a copy of the epoch, a file is only for those who want a second one. */
function epochFile(config: WorkConfig, backends: Backends): { epochFile?: string } {
  const { PASSFERRY_EPOCH_FILE: given, PASSFERRY_KEYS_DIR: dir, PASSFERRY_NAMESPACE: namespace } = config;
  if (given) return { epochFile: given };
  return Object.values(backends).some((backend: Backend) => backend.epoch)
    ? {}
    : { epochFile: join(dir, `epoch-${namespace}`) };
}

/** Hashing takes a core each, and one more hash stands ready while a row is read and written; a ZITADEL hashes elsewhere. */
function v1Limit({ PASSFERRY_V1_CONCURRENCY: limit, PASSFERRY_V1_URL: url }: WorkConfig): number {
  return limit ?? (isZitadel(url) ? zitadelLimit : availableParallelism() + 1);
}
const zitadelLimit = 8;

/** Health is progress: 200 once the order is confirmed and while jobs move or none waits, whatever waits for a known reason. */
function healthServer({ host, port }: { host: string; port: number }, worker: PassferryWorker) {
  let ready = false;
  worker.ready.then(
    () => {
      ready = true;
    },
    () => {},
  );
  const server = createServer((_request, response) => {
    const progress = worker.progress();
    response.writeHead(ready && progress.healthy ? 200 : 503, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ ready, ...progress }));
  });
  server.listen(port, host);
  return server;
}
