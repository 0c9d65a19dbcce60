import type { Code } from './errors.ts';
import type { BackendName, Result } from './job.ts';

/** What happened, as streams and webhooks tell it: never a secret, never a text of a backend. */
export type Event = JobEvent | RunEvent;

/** Where an event stands in the log: `<ms>-<n>`, in the order in which things ended. */
export type EventId = string;

export const eventTypes = ['job.completed', 'job.failed', 'run.completed', 'run.canceled'] as const;
export type EventType = (typeof eventTypes)[number];

interface Told {
  id: EventId;
  /** RFC 3339, Redis time. */
  time: string;
  org: string;
}

/** A job ended. A retry by hand reopens it, and it ends, and is told, again. */
export interface JobEvent extends Told {
  type: 'job.completed' | 'job.failed';
  job: string;
  user: string;
  run?: string;
  row?: number;
  /** How it ended well … */
  result?: Result;
  /** … or badly, with the stable, finer name. */
  code?: Code;
  reason?: string;
  /** The password that was sent is the one in force. */
  inEffect: boolean;
  backend?: BackendName;
  /** How often something was sent to a backend. */
  attempts: number;
}

/** A run ended. */
export interface RunEvent extends Told {
  type: 'run.completed' | 'run.canceled';
  run: string;
  /** Rows by how they ended. */
  counts: Record<string, number>;
}
