import { randomBytes, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import type { Applied, Backend } from '../../src/adapters/port.ts';
import type { Outcome } from '../../src/job.ts';
import {
  createKeyFiles,
  readFingerprintKey,
  readJobKey,
  readPrivateKeys,
  readPublicKeys,
} from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { describeError } from '../../src/log.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import { Secret } from '../../src/secret.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from './files.ts';
import { waitFor } from './wait.ts';

const dir = tempDir();
const made = createKeyFiles(dir);

/**
 * Producers and workers of one installation of its own on a given Redis, each on the address that it is given, and an
 * exact backend in memory that can be told to hold everything back.
 */
export async function queueWorld(redisUrl: string) {
  await made;
  const jobKey = readJobKey(dir);
  const retentionMs = 600_000;
  const keys = redisKeys(`w${randomBytes(6).toString('hex')}`);
  const connect = (url: string, kind: 'producer' | 'worker' = 'worker') => connectRedis({ url }, kind);
  const direct = connect(redisUrl);
  atEnd(() => direct.disconnect());
  const ledger = createLedger({ redis: direct, keys, jobKey, retentionMs });
  await ledger.raiseFloor(0n);

  const applied = new Set<string>();
  let inHand = 0;
  let open = Promise.resolve();
  let release = () => {};
  let answer: () => Applied = () => ({ result: 'set' });
  const backend: Backend = {
    name: 'v1',
    exact: true,
    async setPassword(change) {
      inHand++;
      await open;
      inHand--;
      const result = answer();
      applied.add(change.jobId);
      return result;
    },
    ping: async () => {},
    close: async () => {},
  };
  const lines: string[] = [];
  const log = pino(
    { level: 'info', serializers: { err: describeError, error: describeError } },
    { write: (line: string) => void lines.push(line) },
  );

  function producer(url: string) {
    const one = createProducer({
      ...{ redis: connect(url, 'producer'), connectEvents: () => connect(url), keys, jobKey, retentionMs },
      ...{ publicKeys: readPublicKeys(dir), fingerprintKey: readFingerprintKey(dir) },
    });
    atEnd(() => one.close());
    return {
      ...one,
      /** Accepts one change of a user nobody else changes: its job id. */
      ask: async (idempotencyKey: string = randomUUID()): Promise<string> => {
        const request = { org: 'o', user: idempotencyKey, password: Secret.fromString('A-password-1') };
        const asker = { caller: 'c', admin: true };
        return (await one.setPassword(asker, { ...request, changeRequired: false }, { idempotencyKey })).jobId;
      },
    };
  }

  return {
    keys,
    redis: direct,
    lines,
    applied,
    producer,
    worker(url: string, more: { stuckMs?: number; limit?: number } = {}) {
      const { limit = 4, ...rest } = more;
      const worker = createWorker({
        ...{ connect: () => connect(url), keys, dataKeys: dataKeyStore(connectAtEnd(url), keys), jobKey, retentionMs },
        ...{ privateKeys: readPrivateKeys(dir), stages: { default: 'v1', organizations: {} }, log, closeMs: 1_000 },
        ...{ backends: { v1: { backend, limit } }, deadlineMs: 2_000, settleMs: 500, ...rest },
      });
      atEnd(() => worker.close());
      return worker;
    },
    /** Calls of the backend wait until {@link letGo}. */
    holdBack(): void {
      open = new Promise((resolve) => {
        release = resolve;
      });
    },
    letGo: () => release(),
    inHand: () => inHand,
    /** What the backend says from now on. */
    answers(next: () => Applied): void {
      answer = next;
    },
    outcome: (jobId: string): Promise<Outcome> =>
      waitFor(async () => (await ledger.job(jobId))?.outcome, { what: `job ${jobId} to end` }),
  };

  function connectAtEnd(url: string) {
    const own = connect(url);
    atEnd(() => own.disconnect());
    return own;
  }
}
