import { QueueEvents } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Event } from '../event.ts';
import { type Outcome, queueNames } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { within } from '../within.ts';
import type { EventHub } from './event-hub.ts';

/** Events wake, state decides: a waiter is answered from the ledger only (F36, F37). */
export interface Waiters {
  /** The outcome, or undefined when `timeoutMs` passed or the signal fired first. */
  wait(jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<Outcome | undefined>;
  /** How many are waiting now. */
  size(): number;
  close(): Promise<void>;
}

/** State is read again for everybody this often, whatever became of the events. */
const tickMs = 1_000;
/** A listener whose Redis is away does not end by itself. */
const lastWordMs = 1_000;

export function createWaiters(options: {
  /** A connection for each queue's events; they block, so they are not shared with commands. */
  connect: () => Redis;
  keys: Keys;
  ledger: Ledger;
  /** Tells of an end in the step in which it is recorded; the queue's events come some steps later. */
  hub: EventHub;
}): Waiters {
  const waiting = new Map<string, Set<(outcome: Outcome | undefined) => void>>();
  const connections: Redis[] = [];

  const listeners = Object.values(queueNames).map((name) => {
    const connection = options.connect();
    connections.push(connection);
    const events = new QueueEvents(name, { connection, prefix: options.keys.bullPrefix });
    events.on('error', () => {});
    const wake = ({ jobId }: { jobId: string }) => {
      if (waiting.has(jobId)) void look([jobId]);
    };
    events.on('completed', wake);
    events.on('failed', wake);
    // A cancelled job.
    events.on('removed', wake);
    return events;
  });

  async function look(jobIds: string[]): Promise<void> {
    // Redis may be away for a moment; the next tick looks again.
    const outcomes = await options.ledger.outcomes(jobIds).catch(() => []);
    outcomes.forEach((outcome, i) => {
      if (outcome) for (const answer of waiting.get(jobIds[i] as string) ?? []) answer(outcome);
    });
  }

  const closing = new AbortController();
  let followed = false;

  async function follow(): Promise<void> {
    const wants = (event: Event) => 'job' in event && waiting.has(event.job);
    const { told } = await options.hub.follow({ wants, signal: closing.signal });
    for await (const each of told) if (each.kind === 'event' && 'job' in each.event) void look([each.event.job]);
  }

  const tick = setInterval(() => void look([...waiting.keys()]), tickMs);
  tick.unref();

  return {
    wait(jobId, timeoutMs, signal) {
      return new Promise((resolve) => {
        const answers = waiting.get(jobId) ?? new Set();
        const answer = (outcome: Outcome | undefined) => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', giveUp);
          answers.delete(answer);
          if (answers.size === 0) waiting.delete(jobId);
          resolve(outcome);
        };
        const giveUp = () => answer(undefined);
        const timer = setTimeout(giveUp, timeoutMs);
        signal?.addEventListener('abort', giveUp, { once: true });
        // One that has fired already tells nobody.
        if (signal?.aborted) return giveUp();
        answers.add(answer);
        waiting.set(jobId, answers);
        if (!followed) {
          followed = true;
          // Redis may be away; the next one to wait tries again.
          follow().catch(() => {
            followed = false;
          });
        }
        // Registered first, then looked: nothing can slip between.
        void look([jobId]);
      });
    },

    size: () => waiting.size,

    async close() {
      clearInterval(tick);
      closing.abort();
      for (const answers of waiting.values()) for (const answer of answers) answer(undefined);
      for (const connection of connections) connection.disconnect();
      await within(lastWordMs, Promise.all(listeners.map((events) => events.close().catch(() => {}))));
    },
  };
}
