import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import type { Backend } from '../../src/adapters/port.ts';
import {
  createKeyFiles,
  followJobKey,
  followPrivateKeys,
  followPublicKeys,
  readFingerprintKey,
} from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { createLog } from '../../src/log.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import { Secret } from '../../src/secret.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from './files.ts';

const retentionMs = 3_600_000;

/** A fresh keys directory. */
export async function keysDir(): Promise<string> {
  const dir = join(tempDir(), 'keys');
  await createKeyFiles(dir);
  return dir;
}

/** A backend that remembers what was set, and producers and workers that follow the key files of a directory. */
export async function keyScene(dir: string, server: { url: string }, namespace = `k${randomBytes(6).toString('hex')}`) {
  const keys = redisKeys(namespace);
  const connect = () => connectRedis({ url: server.url }, 'worker');
  const redis = connect();
  atEnd(() => redis.disconnect());
  const set = new Map<string, string>();
  const backend: Backend = {
    name: 'v1',
    exact: true,
    setPassword: async ({ user, password }) => {
      set.set(user, password.reveal());
      return { result: 'set' };
    },
    ping: async () => {},
    close: async () => {},
  };
  const ledgerOf = (from = dir) => createLedger({ redis, keys, jobKey: followJobKey(from), retentionMs });
  await ledgerOf().raiseFloor(0n);
  const queue = new Queue('interactive', { connection: redis, prefix: keys.bullPrefix });
  atEnd(() => queue.close());

  const produce = (from = dir) => {
    const producer = createProducer({
      ...{ redis: connect(), connectEvents: connect, keys, retentionMs, jobKey: followJobKey(from) },
      ...{ publicKeys: followPublicKeys(from), fingerprintKey: readFingerprintKey(dir) },
    });
    atEnd(() => producer.close());
    return producer;
  };
  const work = (from = dir) => {
    const worker = createWorker({
      ...{ connect, keys, retentionMs, dataKeys: dataKeyStore(redis, keys), privateKeys: followPrivateKeys(from) },
      ...{ jobKey: followJobKey(from), backends: { v1: { backend, limit: 4 } }, log: createLog('silent', 'test') },
      stages: { default: 'v1', organizations: {} },
    });
    atEnd(() => worker.close());
    return worker;
  };
  /** One request; its user has the name of its password. */
  async function ask(producer: ReturnType<typeof produce>, idempotencyKey: string = randomUUID(), word = randomUUID()) {
    const request = { org: 'o', user: word, password: Secret.fromString(word), changeRequired: false };
    const accepted = await producer.setPassword({ caller: 'c', admin: true }, request, { idempotencyKey });
    return { ...accepted, word };
  }
  const ended = (producer: ReturnType<typeof produce>, jobId: string) => producer.wait(jobId, 15_000);
  return { keys, redis, queue, set, ledgerOf, produce, work, ask, ended };
}
