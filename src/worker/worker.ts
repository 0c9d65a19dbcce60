import { randomUUID } from 'node:crypto';
import { type Job, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { type BackendName, type Outcome, queueNames } from '../job.ts';
import { createBeats } from '../ledger/beats.ts';
import { createEpoch } from '../ledger/epoch.ts';
import { createHolds } from '../ledger/holds.ts';
import { createLedger } from '../ledger/ledger.ts';
import { createPages } from '../ledger/pages.ts';
import { createRepairs } from '../ledger/repair.ts';
import { createRunControl } from '../ledger/run-control.ts';
import { createStageTable } from '../ledger/stages.ts';
import { createOpener } from '../seal.ts';
import { trace } from '../trace.ts';
import { version } from '../version.ts';
import { within } from '../within.ts';
import { startBeat } from './beat.ts';
import { confirmOrder as confirm, retried } from './confirm-order.ts';
import { createDryRun } from './dry-run.ts';
import { createEpochWatch, epochCopies } from './epoch.ts';
import { createFailedSweep } from './failed.ts';
import { startFeeder } from './feed.ts';
import { createHashProbe } from './hash-probe.ts';
import { createHolding } from './holding.ts';
import { createInStep } from './in-step.ts';
import { createJobRun } from './job-run.ts';
import { createLane, type Lane } from './lane.ts';
import { createLookUps } from './look-up.ts';
import { startFiller } from './migrate/fill.ts';
import { createMigrationHolds } from './migrate/holds.ts';
import { startLockouts } from './migrate/lockouts.ts';
import { createMigrateRows } from './migrate/row.ts';
import type { PassferryWorker, WorkerOptions } from './options.ts';
import { createProver } from './proof.ts';
import { startPulse } from './pulse.ts';
import { createQuarantine } from './quarantine.ts';
import { createRepair, tellInverted } from './repair.ts';
import { createRows } from './rows.ts';
import { createRunHolds } from './run-holds.ts';
import { createRunMails } from './run-mails.ts';
import { createRunPace } from './run-pace.ts';
import { seldom } from './seldom.ts';
import { createStageCopies } from './stage-copies.ts';
import { createKnownStages } from './stages.ts';
import { startSweeper } from './sweep.ts';
import { createTally } from './tally.ts';

/** Recovery after a kill: lock and stall check together, about 15 s at most (F27). */
const lockMs = 10_000;
const stallCheckMs = 4_000;
const leaseMarginMs = 10_000;
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
  const backendHolds = createHolds(redis, keys, jobKey);
  const prover = createProver({
    ...{ redis, keys, runs, log, shareOf, settleMs },
    ...(options.proofShare !== undefined && { liveShare: options.proofShare }),
    hold: (backend, reason) => backendHolds.put(backend, reason, 'worker'),
  });
  const probe = createHashProbe({ redis, keys, runs, log });
  const holding = createHolding(backendHolds, options.localHold, log);
  const lanes: Partial<Record<BackendName, Lane>> = {};
  for (const [name, entry] of Object.entries(options.backends)) {
    lanes[name as BackendName] = createLane(entry, holding, log, probeMs, options.organizationMs);
  }
  const quarantine = createQuarantine(options.quarantine ?? { kind: 'none' }, redis, keys, log);
  const { protectedUsers: users, protectedRoles: roles } = options;
  const protection = { ...(users && { users }), ...(roles && { roles }) };
  const v2Rate = options.v2Rate === undefined ? {} : { v2Rate: options.v2Rate };
  const dryRun = createDryRun({ redis, keys, jobKey, rows, open, protection, ...v2Rate });
  const stopping = new AbortController();
  const confirmOrder = () => confirm({ ledger, lanes, deadlineMs, log, signal: stopping.signal });
  const stageTable = createStageTable(redis, keys, jobKey);
  const copies = epochCopies(options, deadlineMs);
  const stageCopies = createStageCopies({
    ...{ table: stageTable, log },
    copies: copies.flatMap(({ stages }) => stages ?? []),
  });
  const epoch = createEpochWatch({
    ...{ epoch: createEpoch(redis, keys, jobKey), copies, stages: stageCopies },
    backends: Object.keys(lanes) as BackendName[],
    onLost: confirmOrder,
    log,
    everyMs: options.epochMs,
  });
  let finished = 0;
  let lastAt = 0;

  const stages = createKnownStages(stageTable, options.stages);
  const inStep = createInStep({
    ...{ redis, keys, jobKey, open, lanes, stages, log, deadlineMs, settleMs, leaseMs: longestMs },
    stopping: stopping.signal,
  });

  const migrationHolds = createMigrationHolds({ redis, keys, runs, log });
  const lockouts = startLockouts({ redis, keys, runs, lanes, log });
  const migrateRows = createMigrateRows({
    ...{ redis, keys, jobKey, rows, runs, lanes, stages, inStep, probe, holds: migrationHolds, log, deadlineMs },
    ...{ leaseMs: longestMs, lockouts, ...v2Rate },
  });

  const run = createJobRun({
    ...{ redis, keys, jobKey, log, ledger, rows, lanes, lookUp, dryRun, protection, quarantine, epoch, prover, probe },
    ...{ stages, inStep, migrateRows, meter: options.meter, stopping: stopping.signal, deadlineMs, settleMs },
    leaseMs: longestMs,
    moved: () => pulse.moved(),
    ended: () => {
      finished++;
      lastAt = Date.now();
    },
  });

  const repairs = createRepairs(redis, keys, jobKey);
  const repair = createRepair({ repairs, open, lanes, log, deadlineMs, settleMs });
  const failed = createFailedSweep(redis, keys, ledger, jobKey);
  const sweeper = startSweeper(
    ledger,
    (err) => log.warn({ err }, 'the sweeper could not finish; it tries again'),
    [failed.redriveOpen, failed.destroySecrets, () => epoch.check().then(() => repair(stopping.signal))],
    failed.dataKeyOf,
  );
  const holds = createRunHolds({ redis, pages, runs, lanes, stages });
  const feeder =
    options.quarantine?.kind === 'inside'
      ? undefined
      : startFeeder({
          ...{ redis, keys, jobKey, pages, runs, log, holds },
          mails: createRunMails({ redis, keys, pages, runs, lanes, log, stages }),
          pace: createRunPace({ redis, keys, ...v2Rate, backendsOf: holds.backendsOf }),
        });
  const filler =
    options.quarantine?.kind === 'inside'
      ? undefined
      : startFiller({ ...{ redis, keys, jobKey, pages, runs, lanes, log }, watch: migrationHolds.watch });
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
    await retried(epoch.start, 'Redis cannot be compared with the copies of its epoch yet', log, stopping.signal);
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

  const ready = start();
  ready.catch((err) => log.error({ err }, 'the worker could not start'));

  const rateOf = (name: string) => (name === 'v2' && options.v2Rate !== undefined ? { rate: options.v2Rate } : {});
  const lanesNow = () =>
    Object.fromEntries(Object.entries(lanes).map(([name, lane]) => [name, { ...lane.facts(), ...rateOf(name) }]));
  const [id, bornAt] = [randomUUID(), performance.now()];
  let isReady = false;
  ready.then(
    () => {
      isReady = true;
      beat.tell();
      // For plans: how long an import would take.
      if (feeder) for (const lane of Object.values(lanes)) void lane.cost.measure().then(lane.cost.measureHere);
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
        Promise.all([
          ...[
            quarantineEnds,
            ready.catch(() => {}),
            sweeper.stop(),
            feeder?.stop(),
            filler?.stop(),
            lockouts.stop(),
            failed.close(),
            inStep.stop(),
          ],
        ]),
      );
      epoch.stop();
      stageCopies.stop();
      for (const worker of workers) (worker.opts.connection as Redis).disconnect();
      redis.disconnect();
    },
  };
}
