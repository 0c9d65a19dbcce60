import { type JobsOptions, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { PassferryError, type Reason } from '../errors.ts';
import { isJobIdOf, makeIdempotencyKey, makeJobId, makeRunId, rowJobId } from '../ids.ts';
import { jobDataVersion, type QueueName, queueNames, type SetPasswordData } from '../job.ts';
import type { FingerprintKeys } from '../key-files.ts';
import type { Keys } from '../keys.ts';
import { dataKeyStore } from '../ledger/data-keys.ts';
import { redisError } from '../ledger/evaluate.ts';
import { createHolds } from '../ledger/holds.ts';
import { createLedger } from '../ledger/ledger.ts';
import { createHeldJobs } from '../ledger/quarantine.ts';
import { createRuns } from '../ledger/runs.ts';
import { createSealer, type KeyPairs } from '../seal.ts';
import type { Secret } from '../secret.ts';
import { acceptedKeys, type JobKey, jobParts, sign } from '../signature.ts';
import { trace } from '../trace.ts';
import { createCancelDesk } from './cancel.ts';
import { createWaiters } from './events.ts';
import { fingerprint, keyDigest } from './fingerprint.ts';
import { createQuarantineDesk } from './quarantine.ts';
import { createRetry } from './retry.ts';
import { createUserList } from './user-jobs.ts';
import type { SetPasswordRequest } from './validate.ts';
import { createView } from './view.ts';

export interface ProducerOptions {
  /** Fail-fast connection (see `redis.ts`). */
  redis: Redis;
  /** Makes a patient connection for events. */
  connectEvents: () => Redis;
  keys: Keys;
  publicKeys: KeyPairs;
  jobKey: JobKey;
  fingerprintKey: FingerprintKeys;
  retentionMs: number;
}

/** Who asks: name and whether protected users may be set. */
export interface Asker {
  caller: string;
  admin: boolean;
}

export interface Accepted {
  jobId: string;
  /** The key that names this request; made here when the caller sent none. */
  idempotencyKey: string;
  /** The same request under the same key was accepted before. */
  replayed: boolean;
  acceptedAt: number;
  expiresAt: number;
}

export interface ImportRow {
  row: number;
  org: string;
  user: string;
  password: Secret;
  changeRequired: boolean;
  overwriteNewer?: boolean;
}

export type Producer = ReturnType<typeof createProducer>;

/** When a caller does not say: nobody waits for it. */
export const asyncExpiryMs = 24 * 3_600_000;

/** Never before the sweeper, which destroys the secret of a failed job in its time (at most 30 days). */
const failedKeptSeconds = 40 * 86_400;

const jobOptions = {
  // Never the queue's decision: an error of the queue itself must not fail a job (F04); failures for good say so.
  attempts: 1_000_000,
  backoff: { type: 'fixed', delay: 1_000, jitter: 0.5 },
  removeOnComplete: true,
  removeOnFail: { age: failedKeptSeconds },
  stackTraceLimit: 0,
} satisfies JobsOptions;

/** Checks nothing and knows no backend: reserves, seals, signs, stores. */
export function createProducer(options: ProducerOptions) {
  const { redis, keys, jobKey, fingerprintKey } = options;
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: options.retentionMs });
  const runs = createRuns(redis, keys, options.retentionMs);
  const seal = createSealer(options.publicKeys, jobKey, dataKeyStore(redis, keys));
  const waiters = createWaiters({ connect: options.connectEvents, keys, ledger });
  const queues = Object.fromEntries(
    Object.entries(queueNames).map(([key, name]) => {
      // Own client and no version check: the only set of options that fails fast and recovers (F64).
      const queue = new Queue(name, { connection: redis, prefix: keys.bullPrefix, skipVersionCheck: true });
      queue.on('error', () => {});
      return [key, queue];
    }),
  ) as Record<QueueName, Queue>;

  // A key must also go with its window while nobody sends anything.
  const rotation = setInterval(() => fingerprintKey.current(options.retentionMs), 3_600_000);
  rotation.unref();

  /** Job data: sealed, then signed as a whole. */
  async function makeData(
    asker: Asker,
    request: SetPasswordRequest,
    at: { jobId: string; seq: string; acceptedAt: number; expiresAt: number; run?: string; row?: number },
  ): Promise<SetPasswordData> {
    const identity = { jobId: at.jobId, org: request.org, user: request.user, seq: at.seq };
    const sealed = await seal(request.password, identity, at.expiresAt);
    const unsigned: Omit<SetPasswordData, 'mac'> = {
      v: jobDataVersion,
      name: 'set-password',
      caller: asker.caller,
      ...identity,
      acceptedAt: at.acceptedAt,
      expiresAt: at.expiresAt,
      changeRequired: request.changeRequired,
      admin: asker.admin,
      overwriteNewer: request.overwriteNewer ?? false,
      ...sealed,
      ...(at.run !== undefined && at.row !== undefined ? { run: at.run, row: at.row } : {}),
    };
    return { ...unsigned, mac: sign(jobKey, 'job', jobParts(unsigned)) };
  }

  /**
   * Accepts one request: when this returns, the job is stored (P1). Errors: `accept_unknown` (send again with the key that
   * is returned), `ledger_not_ready`, `idempotency_key_reused`, `idempotency_key_locked`. `mayJoin`: the key was made by us, so a
   * request equal to this user's newest open job of the caller is that job (proxies repeat 504s by themselves).
   */
  async function setPassword(
    asker: Asker,
    request: SetPasswordRequest,
    {
      idempotencyKey = makeIdempotencyKey(),
      mayJoin = false,
      expiresInMs = asyncExpiryMs,
    }: { idempotencyKey?: string; mayJoin?: boolean; expiresInMs?: number } = {},
  ): Promise<Accepted> {
    const [current, ...others] = acceptedKeys(jobKey) as [Buffer, ...Buffer[]];
    const digest = (key: Buffer) => keyDigest(key, asker.caller, request.org, idempotencyKey);
    let reserved: Awaited<ReturnType<typeof ledger.reserve>>;
    trace('accept:received', { jobId: '' });
    try {
      reserved = await ledger.reserve({
        keyDigest: digest(current),
        otherKeyDigests: others.map(digest),
        jobId: makeJobId(current, request.org),
        fingerprint: await fingerprint(fingerprintKey.current(options.retentionMs), asker.caller, request),
        fingerprintUnder: async (id) => {
          const key = fingerprintKey.find(id);
          return key && fingerprint(key, asker.caller, request);
        },
        caller: asker.caller,
        org: request.org,
        user: request.user,
        expiresInMs,
        mayJoin,
      });
      const { jobId } = reserved;
      trace('accept:reserved', { jobId });
      if (!reserved.done) {
        const data = await makeData(asker, request, reserved);
        trace('accept:sealed', { jobId });
        await queues.interactive.add(data.name, data, { ...jobOptions, jobId: data.jobId });
        trace('accept:added', { jobId });
      }
    } catch (error) {
      throw unknownAccept(error);
    } finally {
      request.password.wipe();
    }
    return {
      jobId: reserved.jobId,
      idempotencyKey,
      replayed: reserved.replayed,
      acceptedAt: reserved.acceptedAt,
      expiresAt: reserved.expiresAt,
    };
  }

  /** Stores one chunk (up to 500 rows) of a run. Safe to repeat: ids and sequences are the same again. */
  async function addRows(asker: Asker, run: { id: string; expiresAt: number }, rows: ImportRow[]): Promise<void> {
    try {
      const reserved = await ledger.reserveRows(
        { run: run.id, caller: asker.caller, expiresAt: run.expiresAt },
        rows.map((row) => ({ jobId: rowJobId(run.id, row.row), row: row.row, org: row.org, user: row.user })),
      );
      const jobs = await Promise.all(
        reserved.map(async (at, i) => {
          if (at.done) return undefined;
          const place = { ...at, expiresAt: run.expiresAt, run: run.id };
          const data = await makeData(asker, rows[i] as ImportRow, place);
          return { name: data.name, data, opts: { ...jobOptions, jobId: data.jobId } };
        }),
      );
      const open = jobs.filter((job) => job !== undefined);
      if (open.length > 0) await queues.rows.addBulk(open);
    } catch (error) {
      throw unknownAccept(error);
    } finally {
      for (const row of rows) row.password.wipe();
    }
  }

  const view = createView(ledger, queues);

  return {
    setPassword,
    addRows,
    runs,
    holds: createHolds(redis, keys, jobKey),
    quarantine: createQuarantineDesk({
      ledger,
      held: createHeldJobs(redis, keys),
      quarantine: queues.quarantine,
      others: [queues.interactive, queues.rows],
    }),
    /** The run that this key names, also one that was begun under another accepted job key. Error: `redis_down`. */
    runId: (caller: string, org: string, key: string) =>
      runs.firstKnown(acceptedKeys(jobKey).map((each) => makeRunId(each, caller, org, key))),
    view: (jobId: string) => view(jobId),
    /** Was this id given to a job of this organization, whether or not its record is still kept? */
    isIdOf: (jobId: string, org: string) => isJobIdOf(jobId, acceptedKeys(jobKey), org),
    cancel: createCancelDesk({ ledger, queues: Object.values(queues), view }),
    jobsOf: createUserList(ledger, view),
    failed: createRetry({ redis, jobKey, ledger, queues: Object.values(queues), view }),
    wait: waiters.wait,
    isReady: () => ledger.isReady(),
    ping: () => redis.ping(),
    async close() {
      clearInterval(rotation);
      await waiters.close();
      await Promise.all(Object.values(queues).map((queue) => queue.close().catch(() => {})));
      redis.disconnect();
    },
  };
}

/** Any error while storing means "unknown", not "no": in every case tried the job was stored (F16). */
function unknownAccept(error: unknown): PassferryError {
  if (error instanceof PassferryError && error.reason !== ('redis_down' satisfies Reason)) return error;
  return new PassferryError('accept_unknown', { scope: 'backend', cause: redisError(error) });
}
