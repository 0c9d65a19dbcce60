import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Event, EventId } from '../event.ts';
import { compareIds, type EventLog, eventsKeptMs } from '../ledger/event-log.ts';

/** Shorter than what a connection takes for a dead one. */
const blockMs = 5_000;

/** The one that reads the end of the log while it grows. */
export function createHubPosition(options: {
  log: EventLog;
  connect: () => Redis;
  pageSize: number;
  /** Between two tries when Redis is away, ms. */
  pauseMs: number;
  closing: AbortSignal;
  dispatch(events: Event[]): void;
  /** Where the readers are. */
  readAt(): EventId[];
  /** Redis has lost events that were told; it goes on from here. */
  lost(from: EventId): void;
  /** The position is known, or has moved. */
  moved(): void;
}) {
  const { log, closing } = options;
  let position: EventId | undefined;
  /** The last entry that was seen, to see whether Redis still knows it. */
  let seen: EventId | undefined;
  let started = false;
  /** The connection is new: it may be another Redis, or the same without its last writes. */
  let suspect = true;

  async function check(): Promise<void> {
    suspect = false;
    try {
      const last = await log.last();
      if (position === undefined) position = last;
      else if (compareIds(last, furthest(position)) < 0 || !(await isKept(seen))) {
        position = compareIds(last, position) < 0 ? last : position;
        seen = undefined;
        options.lost(position);
      } else return;
      options.moved();
    } catch (error) {
      suspect = true;
      throw error;
    }
  }

  /** A reader may have read ahead of us. */
  function furthest(from: EventId): EventId {
    return options.readAt().reduce((most, each) => (compareIds(each, most) > 0 ? each : most), from);
  }

  async function isKept(id: EventId | undefined): Promise<boolean> {
    // An hour before its time it may be missing for its age.
    if (id === undefined || Number(id.split('-')[0]) < Date.now() - eventsKeptMs + 3_600_000) return true;
    return log.has(id);
  }

  async function run(): Promise<void> {
    const connection = options.connect();
    connection.on('ready', () => {
      suspect = true;
    });
    // Also what blocks ends with it.
    closing.addEventListener('abort', () => connection.disconnect());
    while (!closing.aborted) {
      try {
        if (suspect) await check();
        const from = position as EventId;
        const page = await log.next(connection, from, options.pageSize, blockMs);
        // What a new connection answers is looked at first.
        if (suspect) await check();
        if (page.position === from || position !== from) continue;
        position = seen = page.position;
        options.dispatch(page.events);
        options.moved();
      } catch {
        await sleep(options.pauseMs, undefined, { signal: closing, ref: false }).catch(() => {});
      }
    }
  }

  return {
    /** Repeating is harmless. */
    start(): void {
      if (started || closing.aborted) return;
      started = true;
      void run();
    },
    /** Everything up to here was dispatched; undefined until Redis has told where the log ends. */
    position: (): EventId | undefined => position,
  };
}
