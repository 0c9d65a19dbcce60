import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import type { Backend } from '../../src/adapters/port.ts';
import { createV1Postgres, pgClient } from '../../src/adapters/v1-postgres/index.ts';
import { createV2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import { credential } from '../../src/credential.ts';
import type { Verifier } from '../../src/hashes/kinds.ts';
import {
  createKeyFiles,
  readFingerprintKey,
  readJobKey,
  readPrivateKeys,
  readPublicKeys,
} from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import { describeError } from '../../src/log.ts';
import { type ImportChoices, importRows } from '../../src/producer/import/import.ts';
import type { ParseOptions } from '../../src/producer/import/parse.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import type { RunOptions, RunView } from '../../src/run.ts';
import type { TokenGrant } from '../../src/sandbox/auth.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import type { WorkerOptions } from '../../src/worker/options.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from './files.ts';
import { createDatabase, startPostgres } from './postgres.ts';
import { startRedis } from './redis.ts';
import { waitFor } from './wait.ts';

const dir = tempDir();
const made = createKeyFiles(dir);
const token = 'token-of-the-worker';

/** A row to import; a password of its own when it names none. */
export interface BackendRow {
  user: string;
  org?: string;
  password?: string;
  asOf?: number;
  refused?: string;
}

/** A password that passes every policy and that no other row has. */
export const goodPassword = (user: string) => `Aa1!${user}-password`;

export type RunBackends = Awaited<ReturnType<typeof startRunBackends>>;

/**
 * Runs from their first page to their end on a private Redis, with v1 on a real PostgreSQL (organization acme) and the sandbox as v2
 * (globex). A worker starts when it is asked for.
 */
export async function startRunBackends(
  more: {
    redisExtra?: string[];
    policies?: Record<string, object>;
    mails?: true;
    /** More organizations in the sandbox. */
    orgs?: string[];
    verifiers?: readonly Verifier[];
    /** Calls that this version of v2 does not know. */
    unknownCalls?: readonly string[];
  } = {},
) {
  await made;
  const redisServer = await startRedis(more.redisExtra ? { extra: more.redisExtra } : {});
  const postgres = await startPostgres();
  const jobKey = readJobKey(dir);
  const keys = redisKeys(`r${randomBytes(6).toString('hex')}`);
  const connect = () => connectRedis({ url: redisServer.url }, 'worker');
  const redis = connect();
  atEnd(() => redis.disconnect());
  const roles: TokenGrant['roles'] = { instance: ['IAM_OWNER'] };
  const tokens: Record<string, TokenGrant> = { [token]: { userId: 'worker', roles } };
  const sandbox = await startSandbox({
    ...{ bcryptCost: 4, orgs: ['acme', 'globex', ...(more.orgs ?? [])] },
    ...(!more.mails && { silentOrgs: ['acme', 'globex', ...(more.orgs ?? [])] }),
    tokens,
    ...(more.unknownCalls && { unknownCalls: more.unknownCalls }),
    ...(more.verifiers && { verifiers: more.verifiers }),
    ...(more.policies && { policies: more.policies }),
  });
  atEnd(() => sandbox.close());
  const sql = pgClient(await createDatabase(postgres.url));
  const v1 = await createV1Postgres({ sql, bcryptCost: 4 });
  await v1.migrate();
  atEnd(() => v1.close());
  const v2 = createV2Zitadel({
    ...{ url: sandbox.url, credential: credential({ value: token }), deadlineMs: 2_000 },
    ...(more.verifiers && { verifiers: more.verifiers }),
  });
  atEnd(() => v2.close());
  const lines: string[] = [];
  const log = pino(
    { level: 'debug', serializers: { err: describeError, error: describeError } },
    { write: (line: string) => void lines.push(line) },
  );
  const producer = createProducer({
    redis: connectRedis({ url: redisServer.url }, 'producer'),
    ...{ connectEvents: connect, keys, jobKey, retentionMs: 600_000 },
    ...{ publicKeys: readPublicKeys(dir), fingerprintKey: readFingerprintKey(dir) },
  });
  atEnd(() => producer.close());
  // The order is confirmed: files may come before any worker.
  await redis.set(keys.sequence, String(Date.now() * 1_000));

  let number = 0;
  const view = async (id: string): Promise<RunView> => {
    const found = await producer.runs.view(id);
    if (!found) throw new Error('no such run');
    return found;
  };

  return {
    redis,
    keys,
    jobKey,
    redisServer,
    postgres,
    sandbox,
    /** What our service account may there; a test takes it away and gives it back. */
    roles,
    /** Are our credentials good? A test says no, and yes again. */
    accept(good: boolean): void {
      if (good) tokens[token] = { userId: 'worker', roles };
      else delete tokens[token];
    },
    /** Of v1. */
    sql,
    v1,
    v2,
    producer,
    lines,
    view,

    /** Ends with the file. `v1` and `v2` replace one of both. */
    async worker(options: { v1?: Backend; v2?: Backend } & Partial<WorkerOptions> = {}) {
      const { v1: first = v1, v2: second = v2, ...rest } = options;
      const own = connect();
      const worker = createWorker({
        ...{ connect, keys, dataKeys: dataKeyStore(own, keys), jobKey, retentionMs: 600_000 },
        ...{ privateKeys: readPrivateKeys(dir), stages: { default: 'v1', organizations: { globex: 'v2' } }, log },
        backends: { v1: { backend: first, limit: 4 }, v2: { backend: second, limit: 4 } },
        ...{ deadlineMs: 2_000, settleMs: 500, closeMs: 2_000, probeMs: 500, ...rest },
      });
      atEnd(async () => {
        await worker.close();
        own.disconnect();
      });
      await worker.ready;
      return worker;
    },

    /** Users where their organization lives; with an old password unless `never`. */
    async addUsers(
      org: 'acme' | 'globex',
      ids: string[],
      more: { state?: 'active' | 'locked' | 'inactive' | 'initial'; never?: true; isMachine?: true } = {},
    ) {
      const { never, isMachine, ...fields } = more;
      const old = never ? {} : { password: 'Old-password-1' };
      if (org === 'acme') {
        await v1.addUsers(ids.map((id) => ({ id, org, ...old, ...fields, ...(isMachine && { isMachine }) })));
        return;
      }
      for (const id of ids) {
        await sandbox.addUser({ id, org, userName: id, ...old, ...fields, ...(isMachine && { machine: true }) });
      }
    },

    /** A whole file: stored, and begun. */
    async run(
      org: 'acme' | 'globex',
      rows: BackendRow[],
      options: Partial<RunOptions> & { expiresInMs?: number } = {},
    ) {
      const { expiresInMs = 600_000, ...given } = options;
      const id = await producer.runId('tester', org, `run-${number++}`);
      const run = { format: 'csv', changeRequired: false, overwriteNewer: false, ...given };
      const writer = await producer.openRun({ id, caller: 'tester', org, expiresInMs, options: run });
      for (const [i, { user, password = goodPassword(user), ...rest }] of rows.entries()) {
        const row = { line: i + 1, user, admin: true, ...rest };
        await writer.add(row, rest.refused ? undefined : Secret.fromString(password));
      }
      await writer.flush();
      await producer.runs.closeInput(id, writer.pages());
      return id;
    },

    /** A file in one of our own formats, by whoever may import hashes unless told otherwise. */
    async upload(
      org: 'acme' | 'globex',
      file: string,
      choices: Partial<ImportChoices> = {},
      more: { hashes?: boolean; parse?: ParseOptions } = {},
    ) {
      const { view: run } = await importRows(
        producer,
        {
          ...{ caller: 'tester', org, idempotencyKey: `file-${number++}` },
          ...{ mayImport: () => true, isAdmin: () => true, mayImportHash: () => more.hashes ?? true },
        },
        Readable.from([Buffer.from(file)]),
        {
          choices: { changeRequired: true, overwriteNewer: false, asOf: 'now', ...choices },
          parse: { from: 'own', ...more.parse },
        },
      );
      return run.id;
    },

    /** The run once it is in this state. */
    until: (id: string, state: RunView['state'], timeoutMs = 120_000): Promise<RunView> =>
      waitFor(
        async () => {
          const now = await view(id);
          return now.state === state ? now : undefined;
        },
        { what: `run to be ${state}`, timeoutMs },
      ),

    /** How a row ended: its result or reason; undefined: open. */
    async ended(id: string, row: number): Promise<string | undefined> {
      const found = await producer.runs.row(await view(id), row);
      return found?.reason ?? found?.result;
    },

    /** Would a login work? Asks the store itself. */
    works: (org: string, user: string, password = goodPassword(user)): Promise<boolean> =>
      org === 'globex'
        ? sandbox.verify(user, password)
        : v1.prove(org, user, Secret.fromString(password), AbortSignal.timeout(5_000)),
  };
}

/** `prefix-1` … `prefix-n`. */
export const names = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}-${i + 1}`);
