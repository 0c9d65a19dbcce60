import type { Event } from '../event.ts';
import type { JobView, ToldOutcome } from '../job.ts';
import { type ListedPassword, type SentPasswords, setPasswords } from './batch.ts';
import { type EventsOptions, type Reset, readEvents } from './events.ts';
import { type ClientOptions, createHttp, optionInvalid } from './http.ts';
import { type SentImport, sendImport } from './import.ts';
import type { ImportSource } from './import-body.ts';
import type { ImportOptions } from './import-options.ts';
import { cancelJob, readJob, waitForJob } from './jobs.ts';
import { patienceOf, type WaitOptions } from './patience.ts';
import { checkOrg, type SentPassword, type SetPassword, setPassword } from './set.ts';

export type { Code } from '../errors.ts';
export type { Event, EventId, EventType, JobEvent, RunEvent } from '../event.ts';
export type { Details, JobView, Result, ToldOutcome } from '../job.ts';
export type { ListedPassword, SentItem, SentPasswords } from './batch.ts';
export { type ClientReason, PassferryClientError } from './error.ts';
export type { EventsOptions, Reset } from './events.ts';
export type { ClientOptions } from './http.ts';
export type { ImportReject, ImportView, SentImport } from './import.ts';
export type { ImportSource } from './import-body.ts';
export type { HashParams, ImportOptions } from './import-options.ts';
export type { WaitOptions } from './patience.ts';
export type { SentPassword, SetPassword } from './set.ts';

/** A caller of one Passferry. Holds no connection and no state; nothing is to be closed. */
export interface Client {
  /** One request. Resolves when it is accepted for certain; with `wait`, when it has ended or the time is over. */
  setPassword(request: SetPassword): Promise<SentPassword>;
  /** Any number of requests; each item has its own word. */
  setPasswords(items: Iterable<ListedPassword>, options?: WaitOptions): Promise<SentPasswords>;
  /** The outcome; undefined when the time is over before. */
  wait(jobId: string, options?: WaitOptions): Promise<ToldOutcome | undefined>;
  /** A job as it is now. */
  job(jobId: string, options?: WaitOptions): Promise<JobView>;
  /** Takes back what no worker has begun; the job as it is then. Too late: `job_begun`, `job_done`, `quarantined`. */
  cancel(jobId: string, options?: WaitOptions): Promise<JobView>;
  /** What ends from now on, or since `after`. */
  events(options?: EventsOptions): AsyncGenerator<Event | Reset>;
  /** Sends a file of users and passwords. */
  import(source: ImportSource, options?: ImportOptions): Promise<SentImport>;
}

const usualTimeoutMs = 60_000;

/**
 * A client of the HTTP API. Every call tries again what passes by itself (a lost connection, 408, 429 and 503 with their
 * `Retry-After`, 502, 504) until its time is over; everything it sends may be repeated.
 *
 * Errors, here and in every call: {@link PassferryClientError}, none of which holds a password or the token.
 */
export function createClient(options: ClientOptions): Client {
  const http = createHttp(options);
  const { timeoutMs = usualTimeoutMs } = options;
  if (!(timeoutMs > 0)) throw optionInvalid('timeoutMs');
  const defaults = { org: checkOrg(options.org), timeoutMs };
  const patience = (how: WaitOptions = {}) => patienceOf(how, timeoutMs);
  return {
    setPassword: (request) => setPassword(http, request, defaults),
    setPasswords: (items, how) => setPasswords(http, items, defaults.org, patience(how)),
    wait: async (jobId, how) => waitForJob(http, jobId, patience(how)),
    job: async (jobId, how) => readJob(http, jobId, patience(how)),
    cancel: async (jobId, how) => cancelJob(http, jobId, patience(how)),
    events: (how = {}) => readEvents(http, { ...how, ...(defaults.org && !how.org && { org: defaults.org }) }),
    import: (source, how = {}) => sendImport(http, source, how, defaults),
  };
}
