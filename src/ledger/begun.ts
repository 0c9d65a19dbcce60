import type { Outcome } from '../job.ts';
import type { Applied } from './applied.ts';

/** What a start of a job is told. */
export interface OpenAttempt {
  sentAt: number;
  deadline: number;
  /** The user's change time before sending, ms; 0 when never set. */
  before: number;
}

export type Begun =
  | { kind: 'done'; outcome: Outcome }
  | { kind: 'busy'; waitMs: number }
  | { kind: 'superseded' }
  | { kind: 'expired' }
  | { kind: 'canceled' }
  /** A row of a run that stands still: it leaves the queue and is fed again. */
  | { kind: 'run_waits' }
  /** A row of a run that is over, or of none that is known. */
  | { kind: 'run_over' }
  /** So many starts ended with their process (P11). */
  | { kind: 'poison'; starts: number }
  /** This Redis is behind what the worker has seen: wiped, or restored from an older file. */
  | { kind: 'ledger_lost' }
  /** Its organization goes by another setting now than the one it was begun with. */
  | { kind: 'stage_moved' }
  | {
      kind: 'go';
      starts: number;
      attempt: OpenAttempt | undefined;
      applied: Applied | undefined;
      /** Redis time, ms. */
      now: number;
      /** Another job's attempt that nobody has settled in its time: a change may be its. */
      other: { jobId: string; seq: string; attempt: OpenAttempt } | undefined;
    };

/** Undefined when there is none, or what stands there is no attempt. */
export function parseOther(jobId = '', seq = '', attempt = '') {
  const parsed = parseAttempt(attempt);
  return jobId !== '' && /^\d{1,16}$/.test(seq) && parsed ? { jobId, seq, attempt: parsed } : undefined;
}

export function parseAttempt(stored: string): OpenAttempt | undefined {
  const [sentAt, deadline, before] = stored.split(':').map(Number);
  return stored === ''
    ? undefined
    : { sentAt: sentAt as number, deadline: deadline as number, before: before as number };
}
