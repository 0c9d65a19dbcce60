/** The library: what is exported here is the only promise. */
import { type Environment, loadWorkConfig } from './config.ts';
import { PassferryError } from './errors.ts';
import type { Event } from './event.ts';
import type { JobView, Outcome } from './job.ts';
import { followJobKey, followPublicKeys, readFingerprintKey } from './key-files.ts';
import { redisKeys } from './keys.ts';
import { createLog } from './log.ts';
import { type EventsOptions, iterateEvents } from './producer/event-iterator.ts';
import { type Accepted, createProducer as compose } from './producer/producer.ts';
import { parseIdempotencyKey, parseSetPassword } from './producer/validate.ts';
import { quarantineProcess } from './quarantine-process.ts';
import { checkRedisUrl, connectRedis, ready } from './redis.ts';
import { openBackends, work } from './work.ts';
import type { PassferryWorker } from './worker/options.ts';

export { type Code, PassferryError } from './errors.ts';
export type { Event, EventId, EventType, JobEvent, RunEvent } from './event.ts';
export type { Details, JobView, Outcome, Result } from './job.ts';
export type { EventsOptions } from './producer/event-iterator.ts';
export type { Accepted } from './producer/producer.ts';
export type { PassferryWorker } from './worker/options.ts';

export interface ProducerOptions {
  /** `redis://` or `rediss://`. */
  redisUrl: string;
  /** Directory with `public.json`, `shared.json`, `fingerprint.json` (made by `passferry keys init`). */
  keysDir: string;
  /** Who asks; jobs carry it. Default `library`. */
  caller?: string;
  /** The asker may set protected users. Default false. */
  admin?: boolean;
  /** Default `passferry`. */
  namespace?: string;
  /** How long outcomes stay readable, ms. Default 7 days. */
  retentionMs?: number;
}

export interface SetPasswordInput {
  org: string;
  user: string;
  password: string;
  /** Default true, as in the v1 call: the user must change it at the next login. */
  changeRequired?: boolean;
  /** Same key and same request: the same job. Default: a new key. */
  idempotencyKey?: string;
  /** Default 24 h. */
  expiresInMs?: number;
  /** A person's later choice is overwritten; only with `admin` (error `permission_missing`). Default false. */
  overwriteNewer?: boolean;
}

/** A stored job. */
export interface AcceptedJob extends Accepted {
  /** Its outcome, or undefined after `timeoutMs`. */
  wait(timeoutMs: number): Promise<Outcome | undefined>;
}

export interface ProducerHandle {
  /** Resolves when the job is stored. Errors: `PassferryError`; after `accept_unknown` send it again with the same key. */
  setPassword(input: SetPasswordInput): Promise<AcceptedJob>;
  /** The outcome, or undefined after `timeoutMs`. */
  wait(jobId: string, timeoutMs: number): Promise<Outcome | undefined>;
  /**
   * What ends in an organization, in order, from now on or after an event that you have. Leave it by `break` or by the signal.
   * Errors: `events_lost` when events after `after` are kept no longer (24 h); `redis_down` when Redis is away at the beginning.
   */
  events(options: EventsOptions): AsyncGenerator<Event, void>;
  /** What is known of a job, or undefined after its retention. */
  job(jobId: string): Promise<JobView | undefined>;
  /** Takes back what no worker has begun; repeating is harmless. Errors: `job_unknown`, `job_begun`, `job_done`, `quarantined`. */
  cancel(jobId: string): Promise<JobView>;
  close(): Promise<void>;
}

/**
 * Enqueues set-password jobs from your own process. Errors: `config_invalid` (address or key files), `redis_down` when Redis
 * does not answer within 5 s.
 */
export async function createProducer(options: ProducerOptions): Promise<ProducerHandle> {
  const target = { url: checkRedisUrl(options.redisUrl) };
  const publicKeys = followPublicKeys(options.keysDir);
  const jobKey = followJobKey(options.keysDir);
  const fingerprintKey = readFingerprintKey(options.keysDir);
  const redis = connectRedis(target, 'producer');
  await ready(redis);
  const producer = compose({
    redis,
    connectEvents: () => connectRedis(target, 'worker'),
    keys: redisKeys(options.namespace ?? 'passferry'),
    publicKeys,
    jobKey,
    fingerprintKey,
    retentionMs: options.retentionMs ?? 7 * 86_400_000,
  });
  const asker = { caller: options.caller ?? 'library', admin: options.admin ?? false };
  return {
    async setPassword({ org, user, password, changeRequired = true, idempotencyKey, expiresInMs, overwriteNewer }) {
      if (overwriteNewer && !asker.admin) throw new PassferryError('permission_missing');
      const request = parseSetPassword({ password, noChangeRequired: !changeRequired }, org, user);
      const whole = { ...request, ...(overwriteNewer && { overwriteNewer }) };
      const { repeats, ...accepted } = await producer.setPassword(asker, whole, {
        ...(idempotencyKey !== undefined && { idempotencyKey: parseIdempotencyKey(idempotencyKey) }),
        ...(expiresInMs !== undefined && { expiresInMs }),
      });
      repeats.forget();
      return { ...accepted, wait: (timeoutMs) => producer.wait(accepted.jobId, timeoutMs) };
    },
    wait: producer.wait,
    events: (options) => iterateEvents(producer.events, options),
    job: producer.view,
    cancel: producer.cancel,
    close: producer.close,
  };
}

/**
 * Runs a worker in your own process, configured like `passferry work` (PASSFERRY_* names). Set UV_THREADPOOL_SIZE to
 * cores + 2 before the process starts.
 */
export async function createWorker(environment: Environment): Promise<PassferryWorker> {
  const config = loadWorkConfig(environment);
  const log = createLog(config.PASSFERRY_LOG_LEVEL, 'work');
  return work(config, await openBackends(config, log), log, quarantineProcess(environment));
}
