import type { PassferryError } from '../errors.ts';
import type { Verifier } from '../hashes/kinds.ts';
import type { BackendName, Details, Result } from '../job.ts';
import type { Secret } from '../secret.ts';

/** One password change, opened and ready to be made. */
export interface Change {
  jobId: string;
  org: string;
  user: string;
  /** Order of acceptance. The highest sequence that was applied wins (P3). */
  seq: bigint;
  /** Redis time of acceptance, ms since the epoch: a later change by someone else makes this one `stale`. */
  acceptedAt: number;
  /** What was changed after this time is a later choice, ours too: of a file that says how old it is. Default `acceptedAt`. */
  asOf?: number;
  /** With `asOf`: sequences from here on belong to the same file. */
  ownFrom?: bigint;
  password: Secret;
  changeRequired: boolean;
  /** Do not end `stale`. */
  overwriteNewer: boolean;
}

/** A hash that is stored as it is; the policy is not asked. */
export interface HashChange extends Omit<Change, 'password'> {
  /** In the form that the backend takes. */
  hash: Secret;
}

/** The password of a user as the backend has it, read in one statement. */
export interface StoredPassword {
  user: BackendUser;
  /** As it is stored; undefined: the user has none. */
  hash?: Secret;
  /** The sequence of our change that is in force; undefined: what is in force was not written by us. */
  appliedSeq?: bigint;
}

/** A user of a backend, for whoever goes through all of them. */
export interface ListedUser {
  /** The id in the other backend where that is another one, as mapped. */
  user: string;
  org: string;
  /** The id here. */
  id: string;
  /** What a new user of the other backend is made from, as far as it is known here. */
  profile?: UserProfile;
}

export interface UserProfile {
  userName?: string;
  givenName?: string;
  familyName?: string;
  email?: string;
  emailVerified?: boolean;
}

/** A row that is no user to go on with, by its id here. */
export interface LeftOut {
  id: string;
  /** Absent: it is in none. */
  org?: string;
  why: 'deleted' | 'machine' | 'unmapped' | 'mapped_twice';
}

/** Users in the order of their ids. Fewer than were asked for, also none, is not the end: that is where `next` is absent. */
export interface UserPage {
  users: ListedUser[];
  /** Of the same stretch of ids. */
  leftOut?: LeftOut[];
  /** Where the next page begins; absent: there is none. */
  next?: string;
}

/** What a backend did. `details` are those of the change that is in force for `set` and `unchanged`. */
export interface Applied {
  result: Extract<Result, 'set' | 'unchanged' | 'superseded' | 'stale'>;
  details?: Details;
}

export type UserState = 'active' | 'inactive' | 'locked' | 'initial' | 'deleted' | 'unknown';

export interface BackendUser {
  user: string;
  /** The organization that owns the user. */
  org: string;
  state: UserState;
  /** ms since the epoch, with fractions where the backend has them; undefined when never set. */
  passwordChangedAt?: number;
  changeRequired?: boolean;
  userName?: string;
  email?: string;
}

/** What names a user where the id is not known: exactly one of both. */
export type UserName = { email: string; userName?: undefined } | { userName: string; email?: undefined };

/** What a change would come to, told without making it. */
export interface Rehearsal {
  /** As `setPassword` would answer or throw; of a backend that is not exact, without a look at what is older or newer. */
  end: Applied['result'] | PassferryError;
  /** Undefined: there is no such user. */
  state?: UserState | 'machine';
  /** As read, where the caller must decide about owner and staleness. */
  user?: BackendUser;
  /** The user would be sent a mail about it; also when nobody can tell. */
  mail?: boolean;
  /** What could not be looked at: the complexity policy, the mails, whether the password was used before. */
  unchecked: Unchecked[];
}

export type Unchecked = 'policy' | 'mails' | 'reuse';

export interface EpochStore {
  /** Undefined when there is none yet. */
  read(namespace: string, signal: AbortSignal): Promise<number | undefined>;
  write(namespace: string, epoch: number, signal: AbortSignal): Promise<void>;
  /** A copy of all stages beside it, a text of ours. Undefined when there is none yet. */
  readStages?(namespace: string, signal: AbortSignal): Promise<string | undefined>;
  writeStages?(namespace: string, text: string, signal: AbortSignal): Promise<void>;
}

/**
 * A backend. `setPassword` is required; every other ability is optional and asked for, never guessed: a missing one is
 * `unimplemented`, loudly.
 *
 * Errors: everything thrown is a `PassferryError`. `scope: 'user'` only for an answer about this user (final);
 * `backend` and `organization` delay the job. `effect: 'unknown'` when the change may have been made.
 */
export interface Backend {
  readonly name: BackendName;
  /**
   * True when `setPassword` itself decides order, staleness and repetition in one transaction with the change (v1-postgres).
   * False: the worker records each attempt before it sends and settles open ones by reading (v2).
   */
  readonly exact: boolean;
  setPassword(change: Change, signal: AbortSignal): Promise<Applied>;
  /**
   * Stores a hash as it is, in the same order and with the same answers as `setPassword`. `unchanged`: it is stored already, where that
   * can be told. Error of scope user: `hash_refused`.
   */
  setHash?(change: HashChange, signal: AbortSignal): Promise<Applied>;
  /** A password as `setHash` takes it, hashed here. Errors of scope user: what cannot be hashed. */
  makeHash?(password: Secret, signal: AbortSignal): Promise<Secret>;
  /**
   * Refuses what `setPassword` would refuse of the password itself, and sends nothing: for whoever sends its hash instead. Errors of scope
   * user: those of the policy; `backend_forbidden` (scope organization) where that cannot be read.
   */
  checkPassword?(org: string, password: Secret, signal: AbortSignal): Promise<void>;
  /**
   * Does this version of the backend know a call that stores hashes? Asked about a user who does not exist, so nothing can change. One
   * without this question does.
   */
  takesHashes?(signal: AbortSignal): Promise<boolean>;
  /** Kinds of hashes that `setHash` takes, by the name of what verifies them; as configured, not guessed. */
  readonly verifiers?: readonly Verifier[];
  /**
   * Would a login work with such a hash? Tried on a user that is made for it, without grants and out of service afterwards, or on one
   * that an operator has named. `password` is the one of the hash.
   */
  probeHash?(org: string, hash: Secret, password: Secret, signal: AbortSignal): Promise<boolean>;
  /** Hash, change flag and our sequence in one look. Throws `COMMAND-G8dh3` (scope user) when there is no such user. */
  readHash?(org: string, user: string, signal: AbortSignal): Promise<StoredPassword>;
  /** All users, some at a time, in the order of their ids. @param after where a page before said that the next begins. */
  users?(after: string | undefined, limit: number, signal: AbortSignal): Promise<UserPage>;
  /** Adds a user with a hash; never changes one that is there: `user_exists` (scope user). */
  createUser?(
    user: { org: string; user: string; profile: UserProfile; hash: Secret; changeRequired: boolean },
    signal: AbortSignal,
  ): Promise<void>;
  /** Throws `COMMAND-G8dh3` (scope user) when there is no such user. */
  readUser?(org: string, user: string, signal: AbortSignal): Promise<BackendUser>;
  /** Manager roles of the user anywhere in the instance; throws `backend_forbidden` when they cannot be read. */
  readRoles?(org: string, user: string, signal: AbortSignal): Promise<string[]>;
  /** Would a login with this password work? Counts as a login attempt where the backend counts them. */
  prove?(org: string, user: string, password: Secret, signal: AbortSignal): Promise<boolean>;
  /**
   * The one user of the organization that is so named: e-mail addresses whatever their case, user names exactly. Never a guess. Errors
   * (scope user): `user_not_found`, `user_ambiguous`.
   */
  findUser?(org: string, by: UserName, signal: AbortSignal): Promise<string>;
  /** The backend itself mails a link with which the user chooses a new password. Nothing is changed. */
  sendResetLink?(org: string, user: string, signal: AbortSignal): Promise<void>;
  /** Ends the sessions of a user that the backend can end; how many these were. */
  endSessions?(org: string, user: string, signal: AbortSignal): Promise<number>;
  /** Says what `setPassword` would do and changes nothing, not even a count of logins. */
  rehearse?(change: Change, signal: AbortSignal): Promise<Rehearsal>;
  /** Would users of the organization be mailed that their password was changed? Undefined: we may not know. A backend without it sends none. */
  mailsOnChange?(org: string, signal: AbortSignal): Promise<boolean | undefined>;
  /** What one change costs this machine: ms of one core, measured. A backend that hashes elsewhere has none. */
  coreMs?(): Promise<number>;
  /** The highest sequence this backend has applied: the floor of a fresh ledger. */
  highestSequence?(signal: AbortSignal): Promise<bigint>;
  /** Keeps a copy of the epoch of each ledger, by namespace: what tells a wiped or restored Redis. Never lowers one. */
  epoch?: EpochStore;
  /** Answers or throws: is the backend there? */
  ping(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
