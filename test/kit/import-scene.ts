import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import type { Backend } from '../../src/adapters/port.ts';
import { PassferryError } from '../../src/errors.ts';
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
import { createPages } from '../../src/ledger/pages.ts';
import { describeError } from '../../src/log.ts';
import { type ImportChoices, importRows } from '../../src/producer/import/import.ts';
import { createProducer } from '../../src/producer/producer.ts';
import type { RowView } from '../../src/producer/runs.ts';
import { connectRedis } from '../../src/redis.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from './files.ts';
import { waitFor } from './wait.ts';

export interface FileRow {
  user: string;
  password?: string;
  org?: string;
}

/** Rows → CSV, each with the password of its user unless it has its own. */
export const csv = (rows: FileRow[]) =>
  ['userId,password', ...rows.map(({ user, password = `Pw-${user}-1` }) => `${user},${password}`), ''].join('\n');

export const people = (number: number, prefix = 'u'): FileRow[] =>
  Array.from({ length: number }, (_, i) => ({ user: `${prefix}${i + 1}` }));

const dir = join(tempDir(), 'keys');
const made = createKeyFiles(dir);
const retentionMs = 600_000;
export type RunScene = Awaited<ReturnType<typeof runScene>>;

/** Imports in this process, and an exact backend in memory that counts what it changes; nothing is shared but the server. */
export async function runScene(server: { url: string }) {
  await made;
  const keys = redisKeys(`r${randomBytes(6).toString('hex')}`);
  const jobKey = followJobKey(dir);
  const connect = () => connectRedis({ url: server.url }, 'worker');
  const redis = connect();
  atEnd(() => redis.disconnect());
  await createLedger({ redis, keys, jobKey, retentionMs }).raiseFloor(0n);

  /** By user: what is in force, how often it was changed, and by which sequence last. */
  const held = new Map<string, { password: string; effects: number; seq: bigint; job: string }>();
  const refused = new Set<string>();
  let open = Promise.resolve();
  let letGo = () => {};
  let inHand = 0;
  let fault: (user: string) => PassferryError | undefined = () => undefined;
  const backend: Backend = {
    name: 'v1',
    exact: true,
    async setPassword({ user, seq, password, jobId }) {
      const text = password.reveal();
      inHand++;
      await open;
      inHand--;
      const error = fault(user) ?? (refused.has(user) ? new PassferryError('refused', { scope: 'user' }) : undefined);
      if (error) throw error;
      const before = held.get(user);
      if (before?.job === jobId) return { result: 'set' };
      if (before && before.seq > seq) return { result: 'superseded' };
      held.set(user, { password: text, effects: (before?.effects ?? 0) + 1, seq, job: jobId });
      return { result: 'set' };
    },
    ping: async () => {},
    close: async () => {},
  };
  const lines: string[] = [];
  const log = pino(
    { level: 'info', serializers: { err: describeError, error: describeError } },
    { write: (line: string) => void lines.push(line) },
  );
  const producer = createProducer({
    ...{ redis: connect(), connectEvents: connect, keys, retentionMs, jobKey },
    ...{ publicKeys: followPublicKeys(dir), fingerprintKey: readFingerprintKey(dir) },
  });
  atEnd(() => producer.close());
  const view = async (id: string) => {
    const found = await producer.runs.view(id);
    if (!found) throw new Error('no such run');
    return found;
  };

  return {
    ...{ keys, redis, jobKey, producer, held, refused, lines, view, pages: createPages(redis, keys, jobKey) },

    work(limit = 8) {
      const worker = createWorker({
        ...{ connect, keys, retentionMs, jobKey, log, closeMs: 1_000, deadlineMs: 2_000, settleMs: 500 },
        ...{ dataKeys: dataKeyStore(redis, keys), privateKeys: followPrivateKeys(dir) },
        ...{ backends: { v1: { backend, limit } }, stages: { default: 'v1', organizations: {} } },
      });
      atEnd(() => worker.close());
      return worker;
    },

    /** Sends a file; cut after so many bytes when told so. Returns the id of its run. */
    async upload(file: string, how: { key?: string; cutAfter?: number; choices?: Partial<ImportChoices> } = {}) {
      const bytes = Buffer.from(file);
      const body = (function* () {
        for (let at = 0; at < (how.cutAfter ?? bytes.length); at += 10_000) {
          yield bytes.subarray(at, Math.min(at + 10_000, how.cutAfter ?? bytes.length));
        }
        if (how.cutAfter !== undefined) throw new Error('cut');
      })();
      const { view: run } = await importRows(
        producer,
        { caller: 'c', org: 'o', idempotencyKey: how.key ?? randomUUID(), mayImport: () => true, isAdmin: () => true },
        Readable.from(body),
        {
          choices: { changeRequired: false, overwriteNewer: false, asOf: 'now', ...how.choices },
          parse: { format: 'csv' },
        },
      );
      return run.id;
    },
    runId: (key: string) => producer.runId('c', 'o', key),

    until: (id: string, state: string, timeoutMs = 120_000) =>
      waitFor(async () => ((await view(id)).state === state ? view(id) : undefined), {
        what: `the run to be ${state}`,
        timeoutMs,
      }),
    row: async (id: string, row: number): Promise<RowView | undefined> => producer.runs.row(await view(id), row),
    async rejects(id: string): Promise<RowView[]> {
      const rows: RowView[] = [];
      for await (const row of producer.runs.rejects(await view(id))) rows.push(row);
      return rows;
    },

    /** Calls of the backend wait until {@link letGo}. */
    holdBack(): void {
      open = new Promise((resolve) => {
        letGo = resolve;
      });
    },
    letGo: () => letGo(),
    inHand: () => inHand,
    /** What the backend throws from now on, by user. */
    fails(next: (user: string) => PassferryError | undefined): void {
      fault = next;
    },
  };
}
