import { randomUUID } from 'node:crypto';
import { DelayedError, type Job, UnrecoverableError } from 'bullmq';
import type { Redis } from 'ioredis';
import { PassferryError, type Reason, toPassferryError } from '../errors.ts';
import {
  type BackendName,
  decodeJobData,
  failure,
  isFailure,
  type Outcome,
  type QueueName,
  type SetPasswordData,
} from '../job.ts';
import type { Keys } from '../keys.ts';
import type { Begun } from '../ledger/begun.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Log } from '../log.ts';
import { type JobKey, jobParts, verify } from '../signature.ts';
import { follower, leader, type Stage, stageOfUser } from '../stage.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import { withDeadline } from './deadline.ts';
import type { createDryRun } from './dry-run.ts';
import { endingSessions } from './end-sessions.ts';
import type { createEpochWatch } from './epoch.ts';
import type { HashProbe } from './hash-probe.ts';
import type { InStep } from './in-step.ts';
import type { Lane } from './lane.ts';
import type { createLookUps } from './look-up.ts';
import type { createMigrateRows } from './migrate/row.ts';
import type { WorkerOptions } from './options.ts';
import { type Peek, startPeek } from './peek.ts';
import type { createProver } from './proof.ts';
import type { Protection } from './protect.ts';
import type { createQuarantine } from './quarantine.ts';
import { type createRows, rowJob } from './rows.ts';
import { sendLink } from './send-link.ts';
import { type SetPasswordDeps, setPassword } from './set-password.ts';
import type { KnownStages } from './stages.ts';

/** The margin in which a job that has used up its time still comes to its end under the lease. */
const leaseMarginMs = 10_000;
/** Someone else writes this user; looked at again soon, for that takes one call. */
const busyMs = 250;
const unknownVersionMs = 60_000;
const redisDownMs = 1_000;
const organizationMs = 60_000;

/** What a job is carried out with; each is a capability, none a container. */
export interface JobRunDeps {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  log: Log;
  ledger: Ledger;
  rows: ReturnType<typeof createRows>;
  lanes: Partial<Record<BackendName, Lane>>;
  lookUp: ReturnType<typeof createLookUps>;
  dryRun: ReturnType<typeof createDryRun>;
  protection: Protection;
  inStep: Pick<InStep, 'following' | 'drive'>;
  migrateRows: ReturnType<typeof createMigrateRows>;
  quarantine: ReturnType<typeof createQuarantine>;
  epoch: ReturnType<typeof createEpochWatch>;
  prover: ReturnType<typeof createProver>;
  probe: HashProbe;
  stages: KnownStages;
  meter: WorkerOptions['meter'];
  /** Fires when the worker gives up what it has in hand. */
  stopping: AbortSignal;
  deadlineMs: number;
  settleMs: number;
  /** How long a start has its user for itself. */
  leaseMs: number;
  /** Something went on. */
  moved(): void;
  /** A job came to its end here. */
  ended(): void;
}

/** Rows 7 to 13 of the flow, for one job: decode, begin, conclude, settle. */
export function createJobRun(deps: JobRunDeps) {
  const { redis, keys, jobKey, log, ledger, rows, lanes, lookUp, dryRun, protection, quarantine, epoch, prover } = deps;
  const { stopping, deadlineMs, settleMs, leaseMs } = deps;
  const { open } = rows;

  /** Rows 7 to 13 for one job. */
  async function run(queue: QueueName, job: Job, token: string | undefined, signal: AbortSignal): Promise<object> {
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
    if (await deps.migrateRows.isOne(data)) {
      const said = await withDeadline(2 * leaseMs, signal, (until) => deps.migrateRows.run(data, until));
      deps.moved();
      if ('waits' in said) return putOff(said.ms, said.waits);
      deps.ended();
      return said;
    }
    const placed = await deps.stages.of(data.org).catch((thrown: unknown) => toPassferryError(thrown));
    if (placed instanceof PassferryError) {
      log.error({ jobId: data.jobId, org: data.org, reason: placed.reason }, placed.message);
      return putOff(placed.reason === 'redis_down' ? redisDownMs : organizationMs, placed.reason);
    }
    data = await lookUp.known(data);
    const stage = stageOfUser(placed, data.org, data.user);
    const lane = lanes[leader(stage)];
    if (!lane) {
      log.error({ jobId: data.jobId, org: data.org }, 'no backend is configured for the stage of this organization');
      return putOff(organizationMs, 'held');
    }
    const leaseToken = randomUUID();
    const wait = Date.now() < data.expiresAt ? await lane.mustWait(data.org) : undefined;
    if (wait) {
      deps.moved();
      deps.meter?.putOff(lane.backend.name, wait.reason);
      // So that whoever asks is told why; the lease of whoever has it stays.
      await ledger.release(data, leaseToken, wait.reason).catch(() => {});
      return putOff(wait.ms, wait.reason);
    }

    let leave = () => {};
    try {
      leave = await lane.gate.enter(queue, signal, data.org);
      const { name: backend, exact } = lane.backend;
      const { startLimit } = quarantine;
      const looked = await lookUp(data, lane.backend, signal);
      data = looked.data;
      // Who it is was not known when the way was chosen: the next start goes the right one.
      if (!data.find && leader(stageOfUser(placed, data.org, data.user)) !== backend)
        return await putOff(1, 'stage_moved');
      if (await dryRun.isDry(data)) {
        const row = data;
        const left = await withDeadline(leaseMs, signal, (until) => dryRun.run(row, lane, looked.refused, until));
        lane.worked(data.org);
        deps.moved();
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
        stage: placed.stored,
      });
      if (begun.kind === 'stage_moved') {
        await deps.stages.moved(data.org);
        return await putOff(1, 'stage_moved');
      }
      if (begun.kind === 'busy') return await putOff(Math.min(busyMs, begun.waitMs), 'busy');
      if (begun.kind === 'ledger_lost') {
        await epoch.check();
        throw new PassferryError('held', { scope: 'backend' });
      }
      if (begun.kind === 'poison') {
        deps.moved();
        return await quarantine.take(job, data, begun.starts);
      }
      // It leaves the queue; the feeder brings it back when its run goes on.
      if (begun.kind === 'run_waits' || begun.kind === 'run_over') {
        lane.untried();
        deps.moved();
        return { left: begun.kind };
      }
      trace('job:begun', { jobId: data.jobId, backend });
      const outcome = await withDeadline(leaseMs - leaseMarginMs / 2, signal, (until) =>
        conclude(data, begun, leaseToken, lane, until, peek, looked.refused, stage),
      );
      // Only an answer of the backend ends its pause; an expiry says nothing about it.
      if (begun.kind === 'go') lane.worked(data.org);
      if (outcome.inEffect && follower(stage)) deps.inStep.drive({ org: data.org, user: data.user });
      deps.ended();
      deps.moved();
      trace('job:committed', { jobId: data.jobId, backend });
      return settle(outcome);
    } catch (thrown) {
      if (thrown instanceof DelayedError || thrown instanceof UnrecoverableError) throw thrown;
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      const wait = signal.aborted ? 0 : lane.waitAfter(error, data.org);
      deps.meter?.putOff(lane.backend.name, error.reason);
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
    begun: Exclude<Begun, { kind: 'busy' | 'ledger_lost' | 'stage_moved' | 'poison' | 'run_waits' | 'run_over' }>,
    token: string,
    lane: Lane,
    signal: AbortSignal,
    peek: Peek | undefined,
    refused: PassferryError | undefined,
    stage: Stage,
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
        const handler = {
          ledger: told,
          open,
          backend: lane.backend,
          protection,
          settleMs,
          deadlineMs,
          // A run has a share of its own.
          prover: data.run === undefined && stage === 'dual-v2' ? prover.live : prover,
          probe: deps.probe,
        };
        const following: SetPasswordDeps['following'] = (given) => deps.inStep.following(data, stage, given);
        return setPassword(data, begun, token, { ...handler, following }, signal, peek);
      }
    }
  }

  return (queue: QueueName, job: Job, token: string | undefined, given?: AbortSignal): Promise<object> =>
    under([given, stopping], (signal) => run(queue, job, token, signal));
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
