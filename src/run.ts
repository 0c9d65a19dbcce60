import type { MigrationCounts, MigrationMode, MigrationOptions } from './migration.ts';

/** States of a run. `holding`: by itself, with a reason; the three in `-ing` last until what has begun has ended. */
export const runStates = [
  'receiving',
  'running',
  'pausing',
  'paused',
  'holding',
  'cancelling',
  'cancelled',
  'completed',
] as const;
export type RunState = (typeof runStates)[number];

/** Why a run holds, and what ends it. */
export const holdReasons = {
  backend_down: 'The backend does not answer. Goes on by itself when it does.',
  backend_limited: 'The backend asks to slow down. Goes on by itself.',
  backend_unauthenticated: 'The backend refuses our credentials. Goes on by itself when they work again.',
  backend_held: 'The backend is held by a person. Goes on when it is released.',
  redis_memory: 'Redis has little memory left. Goes on by itself when there is room.',
  too_many_failures: 'More rows failed than the run allows. Look at the rejects, then resume or cancel.',
  proof_failed:
    'The backend said that a password was set, and a login with it failed. Look at the backend, then resume or cancel.',
  hash_probe_failed:
    'A hash of a kind that the run has was tried on a user of the backend, and a login with it failed. Look at the verifiers there, then resume or cancel.',
  mails_not_allowed:
    'The backend would mail users that their password was changed. Resume with mails=allow to let it; or turn that mail off there and resume; or cancel.',
  backend_forbidden:
    'The backend denies us the permission for too many users. Give the service account its role there, then resume or cancel.',
  backend_slow: 'The backend takes too long for each change. Goes on by itself when it is faster.',
  stage_not_dual:
    'Users of an organization are not written in both backends any more. Bring it to dual-v1, then resume; or cancel.',
  target_unsupported: 'The backend is of a version that takes no hashes. Update it, then resume; or cancel.',
  users_locked:
    'The backend has locked users since they were brought over: logins with their passwords fail there, or somebody guesses. Log in by hand, look at the hashes, unlock them there, then resume or cancel.',
  divergence_grows:
    'More and more users are not in step, beside those that this run could not bring in step. Look at the divergences, then resume or cancel.',
  columns_swapped:
    'None of the first users exists. Is the right column taken for the user id? Resume if it is, else cancel.',
} as const;
export type HoldReason = keyof typeof holdReasons;

/** Reasons that end by themselves. */
export const passingHolds: ReadonlySet<string> = new Set<HoldReason>([
  'backend_down',
  'backend_limited',
  'backend_unauthenticated',
  'backend_held',
  'backend_slow',
  'redis_memory',
]);

/** Limits on how fast a run goes. */
export const runLimits = ['rate', 'concurrency', 'backend_rate', 'window'] as const;
export type RunLimit = (typeof runLimits)[number];

/** Rows by how they ended. */
export const rowCounts = [
  'set',
  'unchanged',
  'superseded',
  'stale',
  'failed',
  'expired',
  'canceled',
  'linkSent',
] as const;

/** What becomes of the users of a reset: a link from the backend, an unknown password, or one that is handed out. */
export const resetModes = ['link', 'random', 'generate'] as const;
export type ResetMode = (typeof resetModes)[number];
/** What stands in the list of a reset. */
export const resetKinds = ['id', 'email', 'username'] as const;
export type ResetKind = (typeof resetKinds)[number];

/** What was asked of a run; the same for all uploads under its key. */
export interface RunOptions {
  format: string;
  /** The product whose file it was, and what named its users there; absent: a format of our own. */
  source?: string;
  by?: ResetKind;
  /** Default of rows that say nothing. */
  changeRequired: boolean;
  overwriteNewer: boolean;
  dryRun?: boolean;
  /** What the passwords were known to be then, ms since the epoch, for rows that do not say; absent: `acceptedAt`. */
  asOf?: number;
  /** Failed rows from which on the run holds. */
  maxFailures?: number;
  /** The backend may mail users that their password was changed. */
  mails?: 'allow';
  /** Workers check the policy, hash with bcrypt of this cost, and send hashes: the backend does not hash. */
  hashHere?: number;
  /** Share of rows whose login is proved, 0 to 1. */
  proofShare?: number;
  /** No row begins before, ms since the epoch. */
  notBefore?: number;
  /** Rows a second, at most. */
  rate?: number;
  /** Rows at work at once, at most. */
  concurrency?: number;
  /** Hours in which rows begin, as `22:00-06:00` in UTC or with an offset (`22:00-06:00+02:00`). */
  window?: string;
  /** A migration: its rows are users of v1. */
  migration?: MigrationOptions;
  /** A reset: its rows name no passwords. `recipient`: the thumbprint of the key that generated ones are sealed to. */
  reset?: { mode: ResetMode; by: ResetKind; endSessions?: true; recipient?: string };
  /** Our column → the file's, as it was found. */
  map?: Record<string, string>;
  /** Columns of the file that its rejects have, in its order; and how it is written. */
  kept?: string[];
  encoding?: string;
  delimiter?: string;
  header?: false;
  comments?: true;
  /** The caller said that the passwords are those of now. */
  asOfNow?: true;
  /** Same user twice: `last` row wins (default of our own formats), or later ones are refused. */
  duplicates?: 'last' | 'refuse';
  [more: string]: unknown;
}

/** What a dry run foretells of the real one. */
export interface RunForecast {
  /** Rows that would be set. */
  rows: number;
  /** Users of rows whose state deserves a look; the first two could be set, the others not. */
  locked: number;
  inactive: number;
  initial: number;
  machine: number;
  /** Users who would have to choose a new password at the next login. */
  changeRequired: number;
  /** Mails that the backend would send to users; where that cannot be read, each is counted. */
  mails: number;
  /** What could not be looked at, for at least one row: policy, mails, or whether the password was used before (`reuse`). */
  unchecked: ('policy' | 'mails' | 'reuse')[];
  /** Hours of one core that hashing would take, from a hash that was timed; absent where a backend hashes elsewhere. */
  coreHours?: number;
  /** How long it would take with what is limited: this worker's cores, a rate. Absent where nothing tells. */
  seconds?: number;
  limitedBy?: 'hashing' | 'backend_rate' | 'rate';
}

/** What only a migration has. */
export type MigrationView = Pick<RunView, 'mirrored' | 'wouldMirror' | 'equal' | 'differs' | 'migration'>;

/** An import as everybody who may see it sees it. Counters are exact: each row is counted once, in the step of its end. */
export interface RunView {
  id: string;
  org: string;
  caller: string;
  state: RunState;
  /** Why it holds, and what ends that. */
  reason?: HoldReason;
  advice?: string;
  /** Mails that the backend would send at most, as far as its rows were looked at; absent: none, or nobody looked. */
  mails?: number;
  /** Rows read so far: those that were accepted and those that were refused. */
  received: number;
  rejected: number;
  /** Rows that name a user whom the file had named before; `options.duplicates` says which one counts. Known when the file has been read. */
  repeated?: number;
  /**
   * Rows with a hash instead of a password: their policy was not checked. `proved`: the asker tried one known password of the source;
   * else that users can log in is not proved. `probes`: what each kind and cost came to when it was tried on a user of the target.
   */
  hashes?: {
    rows: number;
    policyChecked: false;
    proved: 'known_password' | 'not_proved';
    probes?: Record<string, 'works' | 'fails' | 'not_tried'>;
    /** Of a sample: was the change to be read in v2 afterwards? `unknown`: it could not be told. */
    stored?: { seen: number; missing: number; unknown: number };
  };
  accepted: number;
  finished: number;
  /** Rows that have begun and not ended. */
  inflight: number;
  set: number;
  unchanged: number;
  superseded: number;
  stale: number;
  failed: number;
  expired: number;
  canceled: number;
  /** Reset links that the backend took to send: no password is set by them. */
  linkSent: number;
  /** Of a reset with `endSessions`: sessions that were ended, at least; and users whose sessions the backend did not end. */
  sessionsEnded?: number;
  sessionsKept?: number;
  /** Rows whose password is not in force, or not yet. */
  notInEffect: number;
  /** A dry run only: rows that would be set. `stale`, `superseded` and `failed` say what the others would come to. */
  wouldSet?: number;
  /** A dry run only: what the real run would come to, by what was looked at so far. */
  forecast?: RunForecast;
  /** A migration only: users that were brought in step, users that would be, equal and differing ones by mere reading. */
  mirrored?: number;
  wouldMirror?: number;
  equal?: number;
  differs?: number;
  /** A migration only: what it has counted, and what a plan foretells. */
  migration?: MigrationCounts & {
    mode: MigrationMode;
    /** What became of the hash that was tried on a user of v2 before the first of its kind and cost was written. */
    probes?: Record<string, 'works' | 'fails' | 'not_tried'>;
    /** `mails`: what v2 would send. `seconds`: by the time that reading took, and what is limited. */
    forecast?: { users: number; mails: number; seconds?: number; limitedBy?: 'rate' | 'backend_rate' | 'concurrency' };
  };
  /** Logins that were tried after a password was set: absent when none was. `unknown`: it could not be told, as of locked users. */
  proof?: { works: number; fails: number; unknown: number };
  /** What makes it go no faster now, where that is a limit: its own, or the rate of all runs towards the backend. */
  limitedBy?: RunLimit;
  /** Rows a second, lately; absent while nothing moves. */
  rate?: number;
  /** Seconds until the last row, by that rate. */
  etaSeconds?: number;
  options: RunOptions;
  /** Of the input without its passwords, once all of it is stored: the same rows, the same digest. */
  digest?: string;
  acceptedAt: string;
  expiresAt: string;
  finishedAt?: string;
}
