import type { Code } from './errors.ts';
import { PassferryError } from './errors.ts';

/** Where a password finally lives. */
export type BackendName = 'v1' | 'v2';

/** The queues of BullMQ: nobody who waits stands behind a million rows; what crashed its process runs alone. */
export const queueNames = { interactive: 'interactive', rows: 'rows', quarantine: 'quarantine' } as const;
export type QueueName = keyof typeof queueNames;

/** The version of job data that this code writes. A worker delays and reports what it does not know (F19). */
export const jobDataVersion = 1;

/** What a set-password job stores in Redis: no secret in clear, everything else signed (see `signature.ts`). */
export interface SetPasswordData {
  v: typeof jobDataVersion;
  name: 'set-password';
  jobId: string;
  /** Name of the authenticated caller. */
  caller: string;
  org: string;
  user: string;
  /** Order of acceptance: a decimal of up to 16 digits. */
  seq: string;
  /** Redis time of acceptance, ms since the epoch. */
  acceptedAt: number;
  /** Redis time after which the job ends `expired`, ms since the epoch. */
  expiresAt: number;
  /** The user must change the password at the next login. */
  changeRequired: boolean;
  /** The caller has the permission `admin` here, so protected users may be set. */
  admin: boolean;
  /** A person's later choice in the backend does not make this job `stale`. */
  overwriteNewer: boolean;
  /** Id of the data key that `sealed` is encrypted under. */
  dataKey: string;
  /** AES-256-GCM of the padded password; base64url. */
  sealed: string;
  /** The run this row belongs to, and its number (from 1). */
  run?: string;
  row?: number;
  /** The password of that row was known to be so then (ms since the epoch): what the user chose later stays. */
  asOf?: number;
  /** With `asOf`: when the run was begun. What was accepted since is part of it (ms since the epoch). */
  runAt?: number;
  /** What is sealed is the hash of a password, in the form that backends take. */
  hash?: HashFacts;
  /** The worker hashes the password with bcrypt of this cost, and sends the hash. */
  hashHere?: number;
  /** A row of a reset. */
  reset?: { mode: 'link' | 'random' | 'generate'; endSessions?: true };
  /** A row that names its user otherwise: `user` is not known yet. */
  find?: { email: string } | { userName: string };
  /** HMAC under the shared job key over all of the above but what only a page says. */
  mac: string;
}

/** What is known of a hash without a look at it: no secret. */
export interface HashFacts {
  /** The verifier that checks it. */
  by: string;
  kind: string;
  cost: Record<string, number>;
  /** Cheaper than v2 allows. */
  v1Only?: true;
}

export type JobData = SetPasswordData;

/** The answer of the v1 contract: the number of the change, its times, the owner of the user. */
export interface Details {
  sequence: string;
  /** RFC 3339. */
  creationDate?: string;
  changeDate: string;
  resourceOwner: string;
}

/**
 * How a job ended well. All but `set`, `unchanged`, `mirrored` and `link_sent` mean that another password is in force. `link_sent`, of
 * rows of a reset only: no password was set, the backend took the order to mail a link.
 */
export type Result = 'set' | 'unchanged' | 'superseded' | 'stale' | 'mirrored' | 'link_sent';

export type Outcome = {
  /** The password that was sent is the one in force. */
  inEffect: boolean;
  /** When the outcome was recorded: Redis time, ms since the epoch. */
  at: number;
  backend?: BackendName;
} & (
  | {
      result: Result;
      details?: Details;
      /** v2 only: settled by reading after a lost answer, not by an answer. */
      assumed?: boolean;
    }
  | { code: Code; reason: string; message: string }
);

/** Without its time, which a view shows as `finishedAt`. */
export type ToldOutcome = WithoutTime<Outcome>;
type WithoutTime<Each> = Each extends unknown ? Omit<Each, 'at'> : never;

/** The outcome of a job that ended badly. */
export function failure(error: PassferryError, at: number, backend?: BackendName): Outcome {
  return {
    code: error.code,
    reason: error.reason,
    message: error.message,
    inEffect: false,
    at,
    ...(backend && { backend }),
  };
}

export function isFailure<Any extends Outcome | ToldOutcome>(outcome: Any): outcome is Extract<Any, { code: Code }> {
  return 'code' in outcome;
}

/** Job states are BullMQ's; the ledger knows the first and the last two, the queue all of them. */
export type JobState = 'waiting' | 'active' | 'delayed' | 'completed' | 'failed';

/** What anybody who may see a job sees of it. */
export interface JobView {
  id: string;
  state: JobState;
  done: boolean;
  user: string;
  org: string;
  run?: string;
  row?: number;
  acceptedAt: string;
  expiresAt: string;
  finishedAt?: string;
  /** How often something was sent to a backend for this job. */
  attempts: number;
  /** Why it waits, when a worker had to put it back. */
  waitingFor?: string;
  /** How it ended in one word, the result or code of `outcome`; absent while it is open. */
  ended?: Result | Code;
  outcome?: ToldOutcome;
  /** Until when a failed job can be retried; then its sealed password is destroyed. */
  retryUntil?: string;
  /** How often it was sent on its way again after it had failed, and who did last. */
  reopened?: number;
  reopenedBy?: string;
  /** Who asked in a retry that a person's later choice be overwritten. */
  overwriteNewerBy?: string;
  /** A person gave it up. */
  dropped?: { by: string; reason: string };
}

/** Stored job data → job data; refuses what this code does not know, without echoing it. */
export function decodeJobData(stored: unknown): JobData {
  const data = stored as Partial<SetPasswordData> | null;
  if (typeof data !== 'object' || data === null) throw new PassferryError('job_forged');
  if (data.v !== jobDataVersion || data.name !== 'set-password') {
    throw new PassferryError('job_version_unknown', { scope: 'backend' });
  }
  const strings = [data.jobId, data.caller, data.org, data.user, data.seq, data.dataKey, data.sealed, data.mac];
  const numbers = [data.acceptedAt, data.expiresAt];
  const flags = [data.changeRequired, data.admin, data.overwriteNewer];
  const wellFormed =
    strings.every((s) => typeof s === 'string') &&
    /^\d{1,17}$/.test(data.seq as string) &&
    numbers.every((n) => Number.isSafeInteger(n)) &&
    flags.every((f) => typeof f === 'boolean');
  if (!wellFormed) throw new PassferryError('job_forged');
  return data as SetPasswordData;
}
