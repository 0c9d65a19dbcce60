import { type Job, Queue, UnrecoverableError } from 'bullmq';
import type { Redis } from 'ioredis';
import { type QueueName, queueNames, type SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { createHeldJobs, heldAfter, quarantineAfter } from '../ledger/quarantine.ts';
import type { Log } from '../log.ts';
import { trace } from '../trace.ts';

/** A process of its own that takes the quarantined jobs, one at a time, and ends when there are none. */
export interface QuarantineProcess {
  /** Settles when it is gone; `code` 0 when it ended by itself. */
  exited: Promise<{ code: number | null }>;
  /** SIGTERM: it puts back what it has. */
  stop(): void;
}

/**
 * What a worker does with a job whose starts were cut short by the end of their process (P11).
 * `process`: it goes to the quarantine queue, and a process is started for it. `inside`: this is that process.
 * `none`: it is held for a person at once.
 */
export type QuarantineWay = { kind: 'process'; start(): QuarantineProcess } | { kind: 'inside' } | { kind: 'none' };

const lookMs = 2_000;
/** The process ends when nothing is left for so long. */
const idleMs = 5_000;
const restartMs = 1_000;
const longestRestartMs = 60_000;
/** A process that lived so long did start: it was a job that ended it. */
const livedMs = 3_000;

/** @param redis a patient connection; shared with others, not closed here. */
export function createQuarantine(way: QuarantineWay, redis: Redis, keys: Keys, log: Log) {
  const held = createHeldJobs(redis, keys);
  const queue = new Queue(queueNames.quarantine, {
    connection: redis,
    prefix: keys.bullPrefix,
    skipVersionCheck: true,
  });
  queue.on('error', () => {});
  let running: QuarantineProcess | undefined;
  let failures = 0;
  let notBefore = 0;
  let size = 0;
  let stopped = false;
  let looking = false;
  let idleSince = performance.now();
  let endIdle = () => {};
  const idle = new Promise<void>((resolve) => {
    endIdle = resolve;
  });

  /** Is anything there that still wants to run? */
  async function look(): Promise<void> {
    const { waiting = 0, active = 0, delayed = 0 } = await queue.getJobCounts('waiting', 'active', 'delayed');
    size = waiting + active + delayed;
    if (size > 0) idleSince = performance.now();
    if (way.kind === 'process' && size > 0) start();
    if (way.kind === 'inside' && performance.now() - idleSince > idleMs) endIdle();
  }

  function lookSoon(): void {
    if (looking) return;
    looking = true;
    void look()
      .catch((err) => log.debug({ err }, 'the quarantine queue cannot be seen; it is looked at again'))
      .finally(() => {
        looking = false;
      });
  }

  function start(): void {
    if (way.kind !== 'process' || running || stopped || performance.now() < notBefore) return;
    const since = performance.now();
    const started = way.start();
    running = started;
    log.warn({ jobs: size }, 'the quarantine process starts');
    void started.exited.then(({ code }) => {
      running = undefined;
      failures = code === 0 || performance.now() - since > livedMs ? 0 : failures + 1;
      notBefore = performance.now() + (code === 0 ? 0 : Math.min(longestRestartMs, restartMs * 2 ** failures));
      log.warn({ code }, code === 0 ? 'the quarantine process ended' : 'the quarantine process crashed');
    });
  }

  const timer = way.kind === 'none' ? undefined : setInterval(lookSoon, lookMs);
  timer?.unref();
  if (way.kind === 'process') lookSoon();

  /** Into the quarantine queue, under the same id: a repeat finds it there. */
  async function move(job: Job, data: SetPasswordData): Promise<object> {
    await queue.add(data.name, data, {
      ...job.opts,
      // One at a time, as they came.
      priority: 0,
      jobId: data.jobId,
      // Others would age out those that are held. What fails for good is taken away by the sweeper in time.
      removeOnFail: false,
    });
    // It failed here before, and a person has sent it on its way again.
    const there = await queue.getJob(data.jobId);
    if (there && (await there.isFailed()) && !(await held.isHeld(data.jobId))) await there.retry('failed');
    lookSoon();
    return { moved: queueNames.quarantine };
  }

  return {
    /** The queues that this worker takes from. */
    queues: (way.kind === 'inside' ? ['quarantine'] : ['interactive', 'rows']) as QueueName[],
    /** Cut-short starts from which on a job is not begun here. */
    startLimit: way.kind === 'inside' ? heldAfter : quarantineAfter,

    /** Before jobs are taken: one quarantined job at a time among all processes of the installation. */
    async prepare(): Promise<void> {
      if (way.kind === 'inside') await queue.setGlobalConcurrency(1);
    },

    /** A job that is not begun: moves it to the quarantine, or holds it for a person by the error thrown. */
    async take(job: Job, data: SetPasswordData, starts: number): Promise<object> {
      const facts = { jobId: data.jobId, org: data.org, starts };
      if (way.kind === 'process') {
        const result = await move(job, data);
        log.error(facts, 'the job was quarantined: its starts ended with their process');
        trace('job:quarantined', { jobId: data.jobId });
        return result;
      }
      // Not by its age: it is taken away by release, drop, or after its expiry.
      job.opts.removeOnFail = false;
      if (await held.hold(data.org, data.jobId)) {
        log.error(facts, 'the job is held for a person: its starts ended with their process');
        trace('job:held', { jobId: data.jobId });
      }
      throw new UnrecoverableError('quarantined');
    },

    /** Jobs in the quarantine queue that still want to run, as last seen. */
    size: () => size,
    /** Resolves when this process has had nothing to do for some seconds; never for other workers. */
    idle,

    /** Ends the process that was started here and waits for it. */
    async stop(): Promise<void> {
      stopped = true;
      clearInterval(timer);
      running?.stop();
      await running?.exited;
      // Not waited for: Redis may be away.
      void queue.close().catch(() => {});
    },
  };
}
