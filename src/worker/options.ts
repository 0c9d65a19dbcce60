import type { Redis } from 'ioredis';
import type { Backend } from '../adapters/port.ts';
import type { BackendName, Outcome } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { LaneFacts } from '../ledger/beats.ts';
import type { Log } from '../log.ts';
import type { DataKeyStore, KeyPairs } from '../seal.ts';
import type { JobKey } from '../signature.ts';
import type { Stages } from '../stage.ts';
import type { LocalHold } from './hold-file.ts';
import type { QuarantineWay } from './quarantine.ts';

export interface WorkerOptions {
  /** Patient connections (see `redis.ts`); each BullMQ worker blocks on one of its own. */
  connect: () => Redis;
  keys: Keys;
  dataKeys: DataKeyStore;
  privateKeys: KeyPairs;
  jobKey: JobKey;
  retentionMs: number;
  /** How long the sealed password of a failed job is kept for a retry, ms. Default 24 h. */
  failedSecretMs?: number;
  backends: Partial<Record<BackendName, { backend: Backend; limit: number }>>;
  /** Where organizations start; what was set since stands in Redis. */
  stages: Stages;
  /** Users whose password only callers with `admin` may set. Default none. */
  protectedUsers?: ReadonlySet<string>;
  /** Roles in the backend that protect a user in the same way. Default: any role; empty: roles are not read. */
  protectedRoles?: ReadonlySet<string>;
  /** Rows of runs a second towards v2, by all workers together: the same for each. Default: no limit. */
  v2Rate?: number;
  /** Share of single requests whose login is proved where v1 follows v2, 0 to 1. Default 0.01. */
  proofShare?: number;
  /** A hold that needs neither API nor Redis. Default none. */
  localHold?: LocalHold;
  /** A file with a copy of the epoch, beside the one that v1 keeps. Default none. */
  epochFile?: string;
  /** How often the epoch moves on and is compared with its copies, ms. Default 30,000. */
  epochMs?: number;
  /** How often a backend that refuses our credentials is tried, ms. Default 30,000. */
  probeMs?: number;
  /** After how long an organization in which we lack the permission is tried again at first, ms. Default 60,000. */
  organizationMs?: number;
  /** What becomes of jobs that end their process. Default: held for a person. */
  quarantine?: QuarantineWay;
  /** Counts what becomes of jobs. Default: nobody. */
  meter?: Meter;
  log: Log;
  /** Longest time of one backend call, ms. Default 20,000. */
  deadlineMs?: number;
  /** How long a lost answer is looked for by reading, ms. Default 10,000. */
  settleMs?: number;
  /** Jobs wait and none moves for so long: not healthy, ms. Default: the longest time of one job. */
  stuckMs?: number;
  /** How long `close` waits for jobs in hand before it aborts them, ms. Default 25,000. */
  closeMs?: number;
}

/** Told of what becomes of jobs, once for each time. */
export interface Meter {
  /** An outcome was recorded: the first of its job. */
  ended(outcome: Outcome): void;
  /** A job was put off, for a reason of ours. */
  putOff(backend: BackendName, reason: string): void;
}

export interface PassferryWorker {
  /** Resolves when the order on this Redis is confirmed and jobs are being taken. */
  ready: Promise<void>;
  /** Finished jobs so far, and when the last one ended (ms): health is progress. */
  progress(): {
    finished: number;
    lastAt: number;
    waitingFor: Partial<Record<BackendName, string>>;
    /** How much runs at once towards a backend that asked to slow down, until it has its whole room again. */
    slowedTo: Partial<Record<BackendName, number>>;
    /** How long jobs have waited and none moved on, ms; 0 when idle. */
    stuckForMs: number;
    /** Not stuck for longer than one job can take. */
    healthy: boolean;
    /** Jobs in quarantine that still want to run, as last seen. */
    quarantined: number;
    /** The way to each backend. */
    lanes: Partial<Record<BackendName, LaneFacts>>;
  };
  /** The quarantine process only: resolves when it has had nothing to do for some seconds. */
  idle: Promise<void>;
  /** Finishes what is in hand, or puts it back after the grace time. */
  close(): Promise<void>;
}
