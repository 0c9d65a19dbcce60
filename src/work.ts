import { createServer } from 'node:http';
import { availableParallelism } from 'node:os';
import type { Backend } from './adapters/port.ts';
import { createV1Postgres, pgClient } from './adapters/v1-postgres/index.ts';
import { createV2Zitadel } from './adapters/v2-zitadel/index.ts';
import { allows, type WorkConfig } from './config.ts';
import { credential } from './credential.ts';
import { readJobKey, readPrivateKeys } from './key-files.ts';
import { redisKeys } from './keys.ts';
import { dataKeyStore } from './ledger/data-keys.ts';
import type { Log } from './log.ts';
import { connectRedis } from './redis.ts';
import { checkDurability } from './redis-check.ts';
import { createLocalHold } from './worker/hold-file.ts';
import { createWorker, type PassferryWorker } from './worker/worker.ts';

export interface Backends {
  v1?: Backend;
  v2?: Backend;
}

/** Backends from configuration. Nothing is called yet: a backend that is down delays jobs, it does not stop a worker. */
export async function openBackends(config: WorkConfig): Promise<Backends> {
  const backends: Backends = {};
  if (config.PASSFERRY_V1_URL) {
    const v1 = await createV1Postgres({
      sql: pgClient(config.PASSFERRY_V1_URL),
      bcryptCost: config.PASSFERRY_V1_BCRYPT_COST,
    });
    if (config.PASSFERRY_V1_MIGRATE === 'true') await v1.migrate();
    backends.v1 = v1;
  }
  if (config.PASSFERRY_V2_URL) {
    const { PASSFERRY_V2_TOKEN_FILE: file, PASSFERRY_V2_TOKEN: value } = config;
    backends.v2 = createV2Zitadel({
      url: config.PASSFERRY_V2_URL,
      credential: credential(file ? { file } : { value: value as string }),
      deadlineMs: config.PASSFERRY_V2_DEADLINE,
      allowPlaintext: allows(config, 'v2'),
    });
  }
  return backends;
}

/** The worker process: takes jobs, holds the private key, writes the backends. */
export async function work(config: WorkConfig, backends: Backends, log: Log): Promise<PassferryWorker> {
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
  const worker = createWorker({
    connect: () => connectRedis(target, 'worker'),
    keys,
    dataKeys: dataKeyStore(shared, keys),
    privateKeys: readPrivateKeys(config.PASSFERRY_KEYS_DIR),
    jobKey: readJobKey(config.PASSFERRY_KEYS_DIR),
    retentionMs: config.PASSFERRY_RETENTION,
    backends: {
      ...(backends.v1 && { v1: { backend: backends.v1, limit: availableParallelism() } }),
      ...(backends.v2 && { v2: { backend: backends.v2, limit: config.PASSFERRY_V2_CONCURRENCY } }),
    },
    stages: config.PASSFERRY_STAGES,
    ...(config.PASSFERRY_PROTECTED_USERS && { protectedUsers: new Set(config.PASSFERRY_PROTECTED_USERS) }),
    deadlineMs: config.PASSFERRY_V2_DEADLINE,
    settleMs: config.PASSFERRY_V2_SETTLE,
    localHold,
    log,
  });
  const health = config.PASSFERRY_HEALTH_LISTEN ? healthServer(config.PASSFERRY_HEALTH_LISTEN, worker) : undefined;
  return {
    ...worker,
    async close() {
      health?.close();
      await worker.close();
      localHold.close();
      shared.disconnect();
      await Promise.all(Object.values(backends).map((backend: Backend) => backend.close()));
    },
  };
}

/** Health is progress: ready once the order is confirmed, and what every backend waits for. */
function healthServer({ host, port }: { host: string; port: number }, worker: PassferryWorker) {
  let ready = false;
  worker.ready.then(
    () => {
      ready = true;
    },
    () => {},
  );
  const server = createServer((_request, response) => {
    response.writeHead(ready ? 200 : 503, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ ready, ...worker.progress() }));
  });
  server.listen(port, host);
  return server;
}
