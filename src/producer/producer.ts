import { type JobsOptions, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { PassferryError, type Reason } from '../errors.ts';
import { isJobIdOf, makeJobId, makeRunId } from '../ids.ts';
import { jobDataVersion, type QueueName, queueNames, type SetPasswordData } from '../job.ts';
import type { FingerprintKeys } from '../key-files.ts';
import type { Keys } from '../keys.ts';
import { type AuditEntry, type AuditOptions, createAudit } from '../ledger/audit.ts';
import { createAuditReader } from '../ledger/audit-read.ts';
import { dataKeyStore } from '../ledger/data-keys.ts';
import { type DeliveryData, deliverQueue } from '../ledger/delivery-job.ts';
import { createDivergences } from '../ledger/divergence.ts';
import { redisError } from '../ledger/evaluate.ts';
import { createEventLog } from '../ledger/event-log.ts';
import { createHolds } from '../ledger/holds.ts';
import { keepJoinable } from '../ledger/joinable.ts';
import { createLedger } from '../ledger/ledger.ts';
import { defaultOrgLimit, type OrgLimit } from '../ledger/load.ts';
import { createPages } from '../ledger/pages.ts';
import { createHeldJobs } from '../ledger/quarantine.ts';
import { createRunControl } from '../ledger/run-control.ts';
import { noteDataKey } from '../ledger/run-evidence.ts';
import { createRunRetry } from '../ledger/run-retry.ts';
import { createOutgoingCheck, type OutgoingCheck } from '../outgoing.ts';
import type { RunOptions } from '../run.ts';
import { createSealer, type KeyPairs, makeRunKey, runKeyUntil } from '../seal.ts';
import { Secret } from '../secret.ts';
import { acceptedKeys, type JobKey, jobParts, sign } from '../signature.ts';
import { trace } from '../trace.ts';
import { createCancelDesk } from './cancel.ts';
import { createEventHub } from './event-hub.ts';
import { createWaiters } from './events.ts';
import { createEvidence } from './evidence.ts';
import { fingerprint, keyDigest } from './fingerprint.ts';
import { createInputMac } from './import/input-mac.ts';
import { createPageWriter } from './import/page-writer.ts';
import { createImportPlans } from './import-plan.ts';
import { createEventOf } from './job-event.ts';
import { createRecent, madeFingerprint, makeKeyFor, namesRequest } from './made-key.ts';
import { createMigrationDesk } from './migration/migrations.ts';
import { createQuarantineDesk } from './quarantine.ts';
import { createAbilities } from './resets/abilities.ts';
import { createHandouts } from './resets/handout.ts';
import { createRetry } from './retry.ts';
import { createRunDesk } from './runs.ts';
import { createStageDesk } from './stages/desk.ts';
import { createStatus } from './status.ts';
import { createUserList } from './user-jobs.ts';
import type { SetPasswordRequest } from './validate.ts';
import { createView } from './view.ts';
import { createWebhookDesk } from './webhooks.ts';
import { createWhy } from './why.ts';

export interface ProducerOptions {
  /** Fail-fast connection (see `redis.ts`). */
  redis: Redis;
  /** Makes a patient connection for events. */
  connectEvents: () => Redis;
  /** Told of entries of the event log that are not signed by us. */
  onForgedEvent?: (id: string) => void;
  keys: Keys;
  publicKeys: KeyPairs;
  jobKey: JobKey;
  fingerprintKey: FingerprintKeys;
  retentionMs: number;
  /** Where webhooks may lead. Default: only the public internet. */
  outgoing?: OutgoingCheck;
  /** How much one organization may have open. Default: 100,000 jobs, 512 MiB. */
  orgLimit?: OrgLimit;
  audit?: AuditOptions;
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

/** What is to be done about repeats of a request that came without a key; one of both, once. */
export interface Repeats {
  /** They may come by way of any process: it has not ended within the wait. Never throws. */
  expect(): Promise<void>;
  /** None is expected. */
  forget(): void;
}

export type Producer = ReturnType<typeof createProducer>;

/** So long a dry run lives, ms. */
const dryRunMs = 24 * 3_600_000;

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
  const { redis, keys, jobKey, fingerprintKey, orgLimit = defaultOrgLimit } = options;
  const ledger = createLedger({ redis, keys, jobKey, retentionMs: options.retentionMs });
  const runs = createRunControl(redis, keys, options.retentionMs, jobKey);
  const pages = createPages(redis, keys, jobKey);
  const dataKeys = dataKeyStore(redis, keys);
  const seal = createSealer(options.publicKeys, jobKey, dataKeys);
  const audit = createAudit({ redis, keys, jobKey, ...options.audit });
  const log = createEventLog(redis, keys, jobKey, options.onForgedEvent);
  const events = createEventHub({ log, connect: options.connectEvents });
  const waiters = createWaiters({ connect: options.connectEvents, keys, ledger, hub: events });
  const queues = Object.fromEntries(
    Object.entries(queueNames).map(([key, name]) => {
      // Own client and no version check: the only set of options that fails fast and recovers (F64).
      const queue = new Queue(name, { connection: redis, prefix: keys.bullPrefix, skipVersionCheck: true });
      queue.on('error', () => {});
      return [key, queue];
    }),
  ) as Record<QueueName, Queue>;

  const recent = createRecent();
  const today = () => fingerprintKey.current(options.retentionMs);
  /** The key of a request whose caller sent none: told also when storing it fails. */
  const makeKey = ({ caller }: Pick<Asker, 'caller'>, request: SetPasswordRequest) =>
    makeKeyFor(today(), caller, request);

  const deliver = new Queue<DeliveryData>(deliverQueue, {
    connection: redis,
    prefix: keys.bullPrefix,
    skipVersionCheck: true,
  });
  deliver.on('error', () => {});

  // A key must also go with its window while nobody sends anything.
  const rotation = setInterval(today, 3_600_000);
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
   * is returned), `ledger_not_ready`, `org_quota`, `idempotency_key_reused`, `idempotency_key_locked`. `mayJoin`: the key was made by us, so a
   * request equal to this user's newest open job of the caller is that job (proxies repeat 504s by themselves). `queue`: one of
   * many goes into that of rows.
   */
  async function setPassword(
    asker: Asker,
    request: SetPasswordRequest,
    {
      idempotencyKey = makeKey(asker, request),
      mayJoin = false,
      expiresInMs = asyncExpiryMs,
      queue = 'interactive',
      record = audit.entry({}),
    }: {
      idempotencyKey?: string;
      mayJoin?: boolean;
      expiresInMs?: number;
      queue?: 'interactive' | 'rows';
      record?: AuditEntry;
    } = {},
  ): Promise<Accepted & { repeats: Repeats }> {
    const [current, ...others] = acceptedKeys(jobKey) as [Buffer, ...Buffer[]];
    const digest = (key: Buffer) => keyDigest(key, asker.caller, request.org, idempotencyKey);
    const print = async (id: string) => {
      const key = fingerprintKey.find(id);
      return key && fingerprint(key, asker.caller, request);
    };
    let reserved: Awaited<ReturnType<typeof ledger.reserve>>;
    let kept: Secret | undefined;
    record.about({ action: 'set', caller: asker.caller, org: request.org, user: request.user });
    const newId = makeJobId(current, request.org);
    trace('accept:received', { jobId: '' });
    try {
      const made = namesRequest(fingerprintKey, idempotencyKey, asker.caller, request);
      const asMade = made ? madeFingerprint.same : madeFingerprint.other;
      reserved = await ledger.reserve({
        keyDigest: digest(current),
        otherKeyDigests: others.map(digest),
        jobId: newId,
        fingerprint: made ? asMade : await fingerprint(today(), asker.caller, request),
        fingerprintUnder: async (id) => (id === 'made' ? asMade : print(id)),
        caller: asker.caller,
        org: request.org,
        user: request.user,
        expiresInMs,
        ...(mayJoin && {
          isSame: async (jobId, stored) =>
            recent.isSame(jobId, idempotencyKey) ?? stored === (await print(stored.slice(0, stored.indexOf('.')))),
        }),
        limit: orgLimit,
        queue,
        audit: () => record.accepting({ job: newId }),
      });
      const { jobId } = reserved;
      trace('accept:reserved', { jobId });
      if (!reserved.done) {
        const data = await makeData(asker, request, reserved);
        trace('accept:sealed', { jobId });
        const { queue: line, turn: priority } = reserved;
        await queues[line].add(data.name, data, { ...jobOptions, jobId: data.jobId, priority });
        trace('accept:added', { jobId });
      }
      if (mayJoin && made && !reserved.replayed) {
        recent.remember(jobId, idempotencyKey);
        kept = new Secret(Buffer.from(request.password.bytes()));
      }
    } catch (error) {
      const told = unknownAccept(error);
      void record.refused(told);
      throw told;
    } finally {
      request.password.wipe();
    }
    if (reserved.replayed) void record.accepted({ job: reserved.jobId, replayed: true });
    else record.stored({ job: reserved.jobId });
    return {
      jobId: reserved.jobId,
      idempotencyKey,
      replayed: reserved.replayed,
      acceptedAt: reserved.acceptedAt,
      expiresAt: reserved.expiresAt,
      repeats: {
        async expect() {
          if (!kept) return;
          try {
            const again = await fingerprint(today(), asker.caller, { ...request, password: kept });
            await keepJoinable(redis, keys, reserved.jobId, again);
          } catch {
            // Then a repeat by way of another process is a job of its own: the same password once more.
          } finally {
            kept.wipe();
          }
        },
        forget: () => kept?.wipe(),
      },
    };
  }

  /** Opens a run or goes on with it, and takes its rows. Errors: `idempotency_key_reused`, `ledger_not_ready`, `run_ended`. */
  async function openRun(run: { id: string; caller: string; org: string; expiresInMs: number; options: RunOptions }) {
    const expiresInMs = run.options.dryRun ? Math.min(run.expiresInMs, dryRunMs) : run.expiresInMs;
    const { acceptedAt: runAt, expiresAt, ttlMs } = await runs.open({ ...run, expiresInMs });
    const { id, caller, org } = run;
    return createPageWriter({
      pages,
      jobKey,
      place: {
        ...{ run: id, caller, org, runAt, expiresAt, ttlMs, overwriteNewer: run.options.overwriteNewer },
        ...(run.options.reset && { reset: resetOf(run.options.reset) }),
        ...(run.options.dryRun && { dryRun: true }),
        ...(run.options.hashHere !== undefined && { hashHere: run.options.hashHere }),
        ...(run.options.proofShare !== undefined && { proofShare: run.options.proofShare }),
      },
      newKey: async () => {
        const key = await makeRunKey(options.publicKeys, jobKey, dataKeys, expiresAt);
        await noteDataKey(redis, keys, id, key.id, runKeyUntil(expiresAt));
        return key;
      },
      prints: fingerprintKey,
      retentionMs: options.retentionMs,
    });
  }

  const desk = createRunDesk(redis, keys, jobKey, pages, runs);
  const viewJob = createView(ledger, queues);
  // A row has a record only while it is at work.
  const view: typeof viewJob = async (jobId, record) => (await viewJob(jobId, record)) ?? desk.asJob(jobId);
  const status = createStatus(redis, keys, jobKey, options.retentionMs);

  return {
    setPassword,
    makeKey,
    openRun,
    /** The records of what was asked for, and their reader. */
    audit,
    audited: createAuditReader({ redis, keys, jobKey }),
    runs: { ...runs, ...desk, ...createRunRetry(redis, keys, jobKey, pages) },
    /** Can the backend of this organization do this? */
    can: createAbilities(redis, keys, jobKey),
    handout: createHandouts(redis, keys, jobKey, pages),
    evidence: createEvidence(redis, keys, jobKey),
    /** Takes an input into account while it arrives. */
    inputMac: () => createInputMac(today()),
    holds: createHolds(redis, keys, jobKey),
    webhooks: createWebhookDesk({
      redis,
      keys,
      jobKey,
      publicKeys: options.publicKeys,
      queue: deliver,
      check: options.outgoing ?? createOutgoingCheck([]),
    }),
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
    /** What ends, for any number of readers. */
    events,
    eventOf: createEventOf(ledger),
    isReady: () => ledger.isReady(),
    ping: () => redis.ping(),
    status,
    /** How long an import would take. */
    plan: createImportPlans(redis, keys, status),
    /** Users of v1 are brought to v2. */
    migrations: createMigrationDesk(redis, keys, runs, status),
    stages: createStageDesk(redis, keys, jobKey, status),
    divergences: createDivergences(redis, keys),
    why: createWhy({ redis, keys, jobKey, ledger, status }),
    async close() {
      clearInterval(rotation);
      events.close();
      await waiters.close();
      await audit.close();
      await Promise.all([...Object.values(queues), deliver].map((queue) => queue.close().catch(() => {})));
      redis.disconnect();
    },
  };
}

/** What its workers have to know of a reset. */
function resetOf({ mode, endSessions }: NonNullable<RunOptions['reset']>) {
  return { mode, ...(endSessions && { endSessions }) };
}

/** Any error while storing means "unknown", not "no": in every case tried the job was stored (F16). */
function unknownAccept(error: unknown): PassferryError {
  if (error instanceof PassferryError && error.reason !== ('redis_down' satisfies Reason)) return error;
  return new PassferryError('accept_unknown', { scope: 'backend', cause: redisError(error) });
}
