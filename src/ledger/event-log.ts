import type { Redis } from 'ioredis';
import type { Event, EventId } from '../event.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, verify } from '../signature.ts';
import { redisError } from './evaluate.ts';
import { runCounts, type SignedJobEvent } from './tell.ts';

export { eventsKeptMs } from './tell.ts';

/** Before every event. */
export const beginning: EventId = '0-0';

export function isEventId(text: string): boolean {
  return /^(0|[1-9]\d{0,15})-(0|[1-9]\d{0,15})$/.test(text);
}

/** Order of the log: below zero when `a` comes first. */
export function compareIds(a: EventId, b: EventId): number {
  const [aMs = 0, aNumber = 0] = a.split('-').map(Number);
  const [bMs = 0, bNumber = 0] = b.split('-').map(Number);
  return aMs - bMs || aNumber - bNumber;
}

/** Some entries of the log. Forged ones count as absent, so there may be fewer events than were asked for, or none. */
export interface EventPage {
  events: Event[];
  /** Where the next page begins: the last entry that was looked at. */
  position: EventId;
  /** Nothing was in the log after this page. */
  isLast: boolean;
}

export type EventLog = ReturnType<typeof createEventLog>;

/**
 * What ended, in the order in which it did, for 24 h: written by the scripts that end jobs and runs, so that nothing can
 * end untold (an outbox). @param onForged told of entries that do not carry our signature. Errors: `redis_down`.
 */
export function createEventLog(redis: Redis, keys: Keys, jobKey: JobKey, onForged: (id: EventId) => void = () => {}) {
  function toPage(after: EventId, entries: [string, string[]][], count: number): EventPage {
    const events = entries.flatMap(([id, fields]) => {
      const event = readEntry(jobKey, id, fields);
      if (!event) onForged(id);
      return event ? [event] : [];
    });
    return { events, position: entries.at(-1)?.[0] ?? after, isLast: entries.length < count };
  }

  async function info(): Promise<(name: string) => unknown> {
    const list = (await redis.xinfo('STREAM', keys.events).catch((error: unknown) => {
      if (error instanceof Error && /no such key/.test(error.message)) return [];
      throw redisError(error);
    })) as unknown[];
    return (name) => (list.includes(name) ? list[list.indexOf(name) + 1] : undefined);
  }

  /** Is everything that was ever told still there? */
  async function isWhole(): Promise<boolean> {
    const field = await info();
    return field('entries-added') !== undefined && field('entries-added') === field('length');
  }

  const told = async <T>(asked: Promise<T>): Promise<T> => {
    try {
      return await asked;
    } catch (error) {
      throw redisError(error);
    }
  };

  return {
    /** Up to `count` entries after a place. Fewer events do not mean the end: see {@link EventPage}. */
    async page(after: EventId, count: number): Promise<EventPage> {
      const entries = await told(redis.xrange(keys.events, `(${after}`, '+', 'COUNT', count));
      return toPage(after, entries, count);
    },

    /** Up to `count` events after a place; empty at the end of the log. */
    async read(after: EventId, count: number): Promise<Event[]> {
      const events: Event[] = [];
      for (let from = after; events.length < count; ) {
        const page = await this.page(from, count - events.length);
        events.push(...page.events);
        if (page.isLast) break;
        from = page.position;
      }
      return events;
    },

    /** Waits for the next entries, at most `waitMs` (below 30,000). @param connection of its own: it blocks. */
    async next(connection: Redis, after: EventId, count: number, waitMs: number): Promise<EventPage> {
      const found = await told(connection.xread('COUNT', count, 'BLOCK', waitMs, 'STREAMS', keys.events, after));
      return toPage(after, found?.[0]?.[1] ?? [], count);
    },

    /** The last id that was given out; `0-0` when nothing was ever told here. */
    async last(): Promise<EventId> {
      return ((await info())('last-generated-id') as string | undefined) ?? beginning;
    },

    async has(id: EventId): Promise<boolean> {
      return (await told(redis.xrange(keys.events, id, id, 'COUNT', 1))).length > 0;
    },

    /** The oldest entry that is kept; undefined when there is none. */
    async oldest(): Promise<EventId | undefined> {
      return (await told(redis.xrange(keys.events, '-', '+', 'COUNT', 1)))[0]?.[0];
    },

    /**
     * Can the log tell everything that came after this event? Then undefined, else from where it can go on: the event is older
     * than the log, or newer, as after Redis lost its last writes.
     */
    async resetTo(after: EventId): Promise<EventId | undefined> {
      const last = await this.last();
      if (compareIds(after, last) > 0) return last;
      const oldest = await this.oldest();
      // Nothing has come since.
      if (after === last) return undefined;
      if (after === beginning && (await isWhole())) return undefined;
      if (oldest === undefined) return last;
      return compareIds(after, oldest) < 0 ? before(oldest) : undefined;
    },
  };
}

/** The place right before an entry: going on from there begins with it. */
function before(id: EventId): EventId {
  const [ms = 0, number = 0] = id.split('-').map(Number);
  return number > 0 ? `${ms}-${number - 1}` : `${ms - 1}-${Number.MAX_SAFE_INTEGER}`;
}

/** Stored entry → event, or undefined when it is not ours. */
function readEntry(jobKey: JobKey, id: EventId, fields: string[]): Event | undefined {
  const at = (name: string) => fields.find((_, i) => i % 2 === 1 && fields[i - 1] === name) ?? '';
  const time = timeOf(id);
  const mac = at('m');
  if (at('e') !== '') {
    if (!verify(jobKey, 'event', [at('e')], mac)) return undefined;
    return { id, time, ...(JSON.parse(at('e')) as SignedJobEvent), attempts: Number(at('n')) || 0 };
  }
  const [run, org] = [at('r'), at('o')];
  if (run === '' || !verify(jobKey, 'run', [run, org], mac)) return undefined;
  const numbers = at('c').split(' ').map(Number);
  const counts = Object.fromEntries(runCounts.map((name, i) => [name, numbers[i] || 0]));
  return { id, time, type: /^cancell?ed$/.test(at('s')) ? 'run.canceled' : 'run.completed', org, run, counts };
}

/** When what has this id was told: RFC 3339, Redis time. */
export function timeOf(id: EventId): string {
  return new Date(Number(id.split('-')[0])).toISOString();
}
