import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { PassferryError, type Reason, toPassferryError } from '../errors.ts';
import {
  type BackendName,
  decodeJobData,
  failure,
  isFailure,
  type Outcome,
  type QueueName,
  queueNames,
  type SetPasswordData,
} from '../job.ts';
import { createBeats } from '../ledger/beats.ts';
import type { Begun } from '../ledger/begun.ts';
import { createEpoch } from '../ledger/epoch.ts';
import { createHolds } from '../ledger/holds.ts';
import { createLedger } from '../ledger/ledger.ts';
import { createPages } from '../ledger/pages.ts';
import { createRepairs } from '../ledger/repair.ts';
import { createRunControl } from '../ledger/run-control.ts';
import { createOpener } from '../seal.ts';
import { type JobKey, jobParts, verify } from '../signature.ts';
import { trace } from '../trace.ts';
import { version } from '../version.ts';
import { within } from '../within.ts';
import { startBeat } from './beat.ts';
import { withDeadline } from './deadline.ts';
import { createDryRun } from './dry-run.ts';
import { endingSessions } from './end-sessions.ts';
import { createEpochWatch, epochCopies } from './epoch.ts';
import { createFailedSweep } from './failed.ts';
import { startFeeder } from './feed.ts';
import { createHolding } from './holding.ts';
import { createLane, type Lane } from './lane.ts';
import { createLookUps } from './look-up.ts';
import type { PassferryWorker, WorkerOptions } from './options.ts';
import { type Peek, startPeek } from './peek.ts';
import { createProver } from './proof.ts';
import { startPulse } from './pulse.ts';
import { createQuarantine } from './quarantine.ts';
import { createRepair, tellInverted } from './repair.ts';
import { createRows, rowJob } from './rows.ts';
import { createRunHolds } from './run-holds.ts';
import { createRunPace } from './run-pace.ts';
import { seldom } from './seldom.ts';
import { sendLink } from './send-link.ts';
import { setPassword } from './set-password.ts';
import { leader, stageOf } from './stage.ts';
import { startSweeper } from './sweep.ts';
import { createTally } from './tally.ts';

/** Recovery after a kill: lock and stall check together, about 15 s at most (F27). */
const lockMs = 10_000;
const stallCheckMs = 4_000;
const leaseMarginMs = 10_000;
/** Someone else writes this user; looked at again soon, for that takes one call. */
const busyMs = 250;
const unknownVersionMs = 60_000;
const redisDownMs = 1_000;
const organizationMs = 60_000;
/** How long Redis has to hear that jobs are put back. */
const lastWordMs = 2_000;
/** One line in so long, whatever the queue's connections go through. */
const tellErrorMs = 5_000;

/** Takes jobs, calls the handler, and settles: the one place that turns an ending into a queue operation. */
export function createWorker(options: WorkerOptions): PassferryWorker {
  const { keys, jobKey, log, deadlineMs = 20_000, settleMs = 10_000, closeMs = 25_000, probeMs = 30_000 } = options;
  const redis = options.connect();
  const longestMs = 2 * deadlineMs + settleMs + leaseMarginMs;
  const { stuckMs = longestMs } = options;
  const { retentionMs, failedSecretMs } = options;
  const times = { retentionMs, ...(failedSecretMs !== undefined && { failedSecretMs }) };
  const tellForged = (what: string, jobId: string) => {
    log.error({ what, jobId }, 'a record in Redis is not signed by us and counts as absent');
    trace('ledger:forged', { jobId, reason: what });
  };
  const tally = createTally();
  const onOutcome = (outcome: Outcome) => {
    tally.ended();
    options.meter?.ended(outcome);
  };
  const ledger = createLedger({ redis, keys, jobKey, ...times, onInverted: tellInverted(log), onOutcome }, tellForged);
  const pages = createPages(redis, keys, jobKey, (id) => tellForged('page', id));
  const runs = createRunControl(redis, keys, retentionMs, jobKey);
  const rows = createRows(
    pages,
    jobKey,
    createOpener(options.privateKeys, jobKey, options.dataKeys, (id) => tellForged('data key', id)),
  );
  const { open } = rows;
  const lookUp = createLookUps(redis, keys, jobKey);
  const shareOf = async (run: string, row: number) => (await rows.headOf(run, row))?.proofShare;
  const prover = createProver({ redis, keys, runs, log, shareOf });
  const holding = createHolding(createHolds(redis, keys, jobKey), options.localHold, log);
  const lanes: Partial<Record<BackendName, Lane>> = {};
  for (const [name, entry] of Object.entries(options.backends)) {
    lanes[name as BackendName] = createLane(entry, holding, log, probeMs);
  }
  const quarantine = createQuarantine(options.quarantine ?? { kind: 'none' }, redis, keys, log);
  const { protectedUsers: users, protectedRoles: roles } = options;
  const protection = { ...(users && { users }), ...(roles && { roles }) };
  const v2Rate = options.v2Rate === undefined ? {} : { v2Rate: options.v2Rate };
  const dryRun = createDryRun({ redis, keys, jobKey, rows, open, protection, ...v2Rate });
  const stopping = new AbortController();
  const epoch = createEpochWatch({
    epoch: createEpoch(redis, keys, jobKey),
    copies: epochCopies(options, deadlineMs),
    backends: Object.keys(lanes) as BackendName[],
    onLost: confirmOrder,
    log,
    everyMs: options.epochMs,
  });
  let finished = 0;
  let lastAt = 0;

  /** Rows 7 to 13 for one job. */
  async function run(queue: QueueName, job: Job, token: string | undefined, given?: AbortSignal): Promise<object> {
    const signal = given ? AbortSignal.any([given, stopping.signal]) : stopping.signal;
    const putOff = async (ms: number, reason: string): Promise<never> => {
      trace('job:delayed', { jobId: job.id ?? '', reason });
      await job.moveToDelayed(Date.now() + Math.max(1, Math.round(ms)), token);
      throw new DelayedError();
    };

    trace('job:taken', { jobId: job.id ?? '' });
    let data: SetPasswordData;
    try {
      const decoded = job.name === rowJob.name ? await rows.decode(job) : decodeSigned(job, jobKey);
      // Its page is gone with its run.
      if (!decoded) return { left: 'run_over' };
      data = decoded;
    } catch (thrown) {
      const error = toPassferryError(thrown);
      log.error({ jobId: job.id, reason: error.reason }, error.message);
      if (error.reason === 'redis_down') return putOff(redisDownMs, error.reason);
      if (error.reason === 'job_version_unknown') return putOff(unknownVersionMs, error.reason);
      throw new UnrecoverableError(error.reason);
    }

    trace('job:decoded', { jobId: data.jobId });
    const lane = lanes[leader(stageOf(options.stages, data.org))];
    if (!lane) {
      log.error({ jobId: data.jobId, org: data.org }, 'no backend is configured for the stage of this organization');
      return putOff(organizationMs, 'held');
    }
    const leaseToken = randomUUID();
    const wait = Date.now() < data.expiresAt ? await lane.mustWait(data.org) : undefined;
    if (wait) {
      pulse.moved();
      options.meter?.putOff(lane.backend.name, wait.reason);
      // So that whoever asks is told why; the lease of whoever has it stays.
      await ledger.release(data, leaseToken, wait.reason).catch(() => {});
      return putOff(wait.ms, wait.reason);
    }

    let leave = () => {};
    try {
      leave = await lane.gate.enter(queue, signal, data.org);
      const leaseMs = longestMs;
      const { name: backend, exact } = lane.backend;
      const { startLimit } = quarantine;
      const looked = await lookUp(data, lane.backend, signal);
      data = looked.data;
      if (await dryRun.isDry(data)) {
        const row = data;
        const left = await withDeadline(leaseMs, signal, (until) => dryRun.run(row, lane, looked.refused, until));
        lane.worked(data.org);
        pulse.moved();
        return { left };
      }
      const peek = data.find ? undefined : startPeek(data, lane.backend, protection, signal);
      const begun = await ledger.begin(data, {
        token: leaseToken,
        leaseMs,
        backend,
        exact,
        startLimit,
        epoch: epoch.seen(),
      });
      if (begun.kind === 'busy') return await putOff(Math.min(busyMs, begun.waitMs), 'busy');
      if (begun.kind === 'ledger_lost') {
        await epoch.check();
        throw new PassferryError('held', { scope: 'backend' });
      }
      if (begun.kind === 'poison') {
        pulse.moved();
        return await quarantine.take(job, data, begun.starts);
      }
      // It leaves the queue; the feeder brings it back when its run goes on.
      if (begun.kind === 'run_waits' || begun.kind === 'run_over') {
        lane.untried();
        pulse.moved();
        return { left: begun.kind };
      }
      trace('job:begun', { jobId: data.jobId, backend });
      const outcome = await withDeadline(leaseMs - leaseMarginMs / 2, signal, (until) =>
        conclude(data, begun, leaseToken, lane, until, peek, looked.refused),
      );
      // Only an answer of the backend ends its pause; an expiry says nothing about it.
      if (begun.kind === 'go') lane.worked(data.org);
      finished++;
      pulse.moved();
      lastAt = Date.now();
      trace('job:committed', { jobId: data.jobId, backend });
      return settle(outcome);
    } catch (thrown) {
      if (thrown instanceof DelayedError || thrown instanceof UnrecoverableError) throw thrown;
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      const wait = signal.aborted ? 0 : lane.waitAfter(error, data.org);
      options.meter?.putOff(lane.backend.name, error.reason);
      log.warn({ jobId: data.jobId, backend: lane.backend.name, waitMs: Math.round(wait), err: error }, 'job put off');
      // Without Redis the lease ends by itself.
      await ledger.release(data, leaseToken, error.reason, effectOf(error)).catch(() => {});
      return putOff(wait, error.reason);
    } finally {
      leave();
    }
  }

  async function conclude(
    data: SetPasswordData,
    begun: Exclude<Begun, { kind: 'busy' | 'ledger_lost' | 'poison' | 'run_waits' | 'run_over' }>,
    token: string,
    lane: Lane,
    signal: AbortSignal,
    peek: Peek | undefined,
    refused: PassferryError | undefined,
  ): Promise<Outcome> {
    const backend = lane.backend.name;
    switch (begun.kind) {
      case 'done':
        return begun.outcome;
      case 'superseded':
        return ledger.commit(data, { result: 'superseded', inEffect: false, backend, at: 0 }, { token });
      case 'expired':
        return ledger.commit(data, failure(new PassferryError('job_expired'), 0), { token });
      case 'canceled':
        return ledger.commit(data, failure(new PassferryError('run_canceled'), 0), { token });
      case 'go': {
        if (refused) return ledger.commit(data, failure(refused, 0, backend), { token });
        // Its run stood still when it was looked at, and goes on now.
        if (data.find) throw new PassferryError('aborted', { scope: 'backend' });
        const ending = { redis, keys, backend: lane.backend, log, deadlineMs, signal };
        const told = data.reset?.endSessions ? endingSessions(ledger, ending) : ledger;
        if (data.reset?.mode === 'link') {
          return sendLink(
            data,
            begun,
            token,
            { ledger: told, backend: lane.backend, protection, deadlineMs },
            signal,
            peek,
          );
        }
        const deps = { ledger: told, open, backend: lane.backend, protection, settleMs, deadlineMs, prover };
        return setPassword(data, begun, token, deps, signal, peek);
      }
    }
  }

  const repairs = createRepairs(redis, keys, jobKey);
  const repair = createRepair({ repairs, open, lanes, log, deadlineMs, settleMs });
  const failed = createFailedSweep(redis, keys, ledger, jobKey);
  const sweeper = startSweeper(
    ledger,
    (err) => log.warn({ err }, 'the sweeper could not finish; it tries again'),
    [failed.redriveOpen, failed.destroySecrets, () => epoch.check().then(() => repair(stopping.signal))],
    failed.dataKeyOf,
  );
  const holds = createRunHolds({ redis, pages, runs, lanes, stages: options.stages });
  const feeder =
    options.quarantine?.kind === 'inside'
      ? undefined
      : startFeeder({
          ...{ redis, keys, jobKey, pages, runs, log, holds },
          pace: createRunPace({ redis, keys, ...v2Rate, backendsOf: holds.backendsOf }),
        });
  const tellError = seldom<Error>(tellErrorMs, (err, more) => log.warn({ err, more }, 'queue connection'));
  const pulse = startPulse(async () => {
    const lengths = await Promise.all(
      quarantine.queues.flatMap((queue) => [
        redis.llen(`${keys.bullPrefix}:${queueNames[queue]}:wait`),
        redis.zcard(keys.line(queueNames[queue])),
      ]),
    );
    return lengths.some((length) => length > 0);
  });
  const limits = Object.values(options.backends).reduce((sum, entry) => sum + entry.limit, 0);
  const workers: Worker[] = [];

  async function start(): Promise<void> {
    await retried(epoch.start, 'Redis cannot be compared with the copies of its epoch yet');
    await confirmOrder();
    await quarantine.prepare();
    for (const queue of quarantine.queues) {
      if (stopping.signal.aborted) return;
      const worker = new Worker(queueNames[queue], (job, token, signal) => run(queue, job, token, signal), {
        connection: options.connect(),
        prefix: keys.bullPrefix,
        // More than the gates let in, so that a slow backend does not keep the other one's jobs from starting.
        concurrency: queue === 'quarantine' ? 1 : limits * 4,
        lockDuration: lockMs,
        stalledInterval: stallCheckMs,
        // Starts are counted by the ledger; BullMQ charges bystanders of a crash (F49).
        maxStalledCount: 1_000_000,
      });
      worker.on('error', tellError);
      for (const ending of ['completed', 'failed'] as const) {
        worker.on(ending, (job?: Job) => trace('job:settled', { jobId: job?.id ?? '' }));
      }
      worker.on('lockRenewalFailed', (ids) => {
        for (const id of ids) worker.cancelJob(id, 'lock lost');
      });
      workers.push(worker);
    }
  }

  /** The counter of a fresh Redis must not start below what v1 has applied (F32); until then producers answer 503. */
  async function confirmOrder(): Promise<void> {
    await retried(async () => {
      let lowest = 0n;
      for (const lane of Object.values(lanes)) {
        const highest = await lane.backend.highestSequence?.(AbortSignal.timeout(deadlineMs));
        if (highest !== undefined && highest > lowest) lowest = highest;
      }
      await ledger.raiseFloor(lowest);
    }, 'the order of changes cannot be confirmed yet');
  }

  async function retried(step: () => Promise<void>, otherwise: string): Promise<void> {
    for (let pause = 250; !stopping.signal.aborted; pause = Math.min(5_000, pause * 2)) {
      try {
        return await step();
      } catch (err) {
        log.warn({ err }, otherwise);
        await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {});
      }
    }
  }

  const ready = start();
  ready.catch((err) => log.error({ err }, 'the worker could not start'));

  const lanesNow = () => Object.fromEntries(Object.entries(lanes).map(([name, lane]) => [name, lane.facts()]));
  const [id, bornAt] = [randomUUID(), performance.now()];
  let isReady = false;
  ready.then(
    () => {
      isReady = true;
      beat.tell();
    },
    () => {},
  );
  const beat = startBeat(
    createBeats(redis, keys, jobKey),
    options.stages,
    () => ({
      id,
      kind: quarantine.queues.includes('quarantine') ? 'quarantine' : 'worker',
      version,
      upMs: Math.round(performance.now() - bornAt),
      ready: isReady,
      healthy: pulse.stuckForMs() < stuckMs,
      stuckForMs: pulse.stuckForMs(),
      ended: tally.counts(),
      lanes: lanesNow(),
    }),
    log,
  );

  return {
    ready,
    progress: () => ({
      finished,
      lastAt,
      stuckForMs: pulse.stuckForMs(),
      healthy: pulse.stuckForMs() < stuckMs,
      quarantined: quarantine.size(),
      lanes: lanesNow(),
      slowedTo: Object.fromEntries(
        Object.entries(lanes).flatMap(([name, { gate }]) => (gate.room() < gate.limit ? [[name, gate.room()]] : [])),
      ),
      waitingFor: Object.fromEntries(
        Object.entries(lanes).flatMap(([name, lane]) => (lane.whyWaiting() ? [[name, lane.whyWaiting()]] : [])),
      ),
    }),
    idle: quarantine.idle,
    async close() {
      pulse.stop();
      const quarantineEnds = quarantine.stop();
      const abort = setTimeout(() => stopping.abort(new PassferryError('shutting_down')), closeMs);
      // Without Redis nothing of this ends by itself: then the connections go first.
      await within(closeMs + lastWordMs, Promise.all(workers.map((worker) => worker.close().catch(() => {}))));
      clearTimeout(abort);
      stopping.abort(new PassferryError('shutting_down'));
      await beat.stop();
      await within(
        lastWordMs,
        Promise.all([quarantineEnds, ready.catch(() => {}), sweeper.stop(), feeder?.stop(), failed.close()]),
      );
      epoch.stop();
      for (const worker of workers) (worker.opts.connection as Redis).disconnect();
      redis.disconnect();
    },
  };
}

/** What is also thrown after the change was made: while it was recorded, or when the work was stopped. */
const silentOnEffect = new Set<string>(['redis_down', 'lease_lost', 'aborted', 'internal'] satisfies Reason[]);

function effectOf(error: PassferryError): 'none' | 'unknown' {
  return silentOnEffect.has(error.reason) ? 'unknown' : error.effect;
}

/** Well → a small plain object; badly → failed for good with the reason as text (both are stored in clear). */
function settle(outcome: Outcome): object {
  if (isFailure(outcome)) throw new UnrecoverableError(outcome.reason);
  return { result: outcome.result };
}

/** Stored job → job data that a producer of ours has signed. Errors: `job_forged`, `job_version_unknown`. */
function decodeSigned(job: Job, jobKey: JobKey): SetPasswordData {
  const data = decodeJobData(job.data);
  if (job.id !== data.jobId || !verify(jobKey, 'job', jobParts(data), data.mac)) throw new PassferryError('job_forged');
  return data;
}
