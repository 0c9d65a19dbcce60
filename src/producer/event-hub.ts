import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Event, EventId } from '../event.ts';
import { compareIds, type EventLog } from '../ledger/event-log.ts';
import { createHubPosition } from './hub-position.ts';

/**
 * What a reader is told: events; `start`, once, when it named no place to go on from; `reset` when events between its place
 * and `from` are gone.
 */
export type Told = { kind: 'event'; event: Event } | { kind: 'start' | 'reset'; from: EventId };

export interface Following {
  /** Ends with the signal and with the hub; while Redis is away it waits. */
  told: AsyncGenerator<Told, void, undefined>;
  /** Everything up to here was told, or is none of this reader's. */
  position(): EventId;
}

export interface EventHub {
  /** Error: `redis_down`. @param after the last event that the reader has; without it what ends from now on. @param wants the reader's own only. */
  follow(options: {
    after?: EventId | undefined;
    wants(event: Event): boolean;
    signal: AbortSignal;
  }): Promise<Following>;
  /** Readers now. */
  size(): number;
  close(): void;
}

interface Reader {
  wants(event: Event): boolean;
  /** Told by the hub; else it reads the log by itself, at its own pace. */
  live: boolean;
  position: EventId;
  inbox: Event[];
  /** Redis has lost what came after this. */
  resetTo: EventId | undefined;
  wake(): void;
}

const pageSize = 200;
/** More than this a reader does not keep: it goes back to the log, which has it all. */
const inboxSize = 200;
const pauseMs = 500;

/**
 * One blocking connection reads the log for any number of readers. It is opened with the first of them.
 * @param connect a patient connection.
 */
export function createEventHub({ log, connect }: { log: EventLog; connect: () => Redis }): EventHub {
  const readers = new Set<Reader>();
  const closing = new AbortController();
  const readAt = () => [...readers].map((each) => each.position);
  const watching = { dispatch, readAt, lost, moved };
  const hub = createHubPosition({ log, connect, pageSize, pauseMs, closing: closing.signal, ...watching });

  function dispatch(events: Event[]): void {
    for (const reader of readers) {
      if (!reader.live) continue;
      // It may have read ahead of the hub.
      const fresh = events.filter((each) => compareIds(each.id, reader.position) > 0 && reader.wants(each));
      if (fresh.length === 0) continue;
      if (reader.inbox.length + fresh.length > inboxSize) {
        reader.live = false;
        reader.inbox = [];
      } else reader.inbox.push(...fresh);
      reader.wake();
    }
  }

  function lost(from: EventId): void {
    for (const reader of readers) {
      reader.resetTo = from;
      reader.wake();
    }
  }

  function moved(): void {
    for (const reader of readers) if (!reader.live) reader.wake();
  }

  /** Redis may be away for a while. Undefined when the reader has gone meanwhile. */
  async function patiently<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T | undefined> {
    while (!signal.aborted && !closing.signal.aborted) {
      try {
        return await ask();
      } catch {
        await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {});
      }
    }
    return undefined;
  }

  async function* tell(reader: Reader, first: Told | undefined, signal: AbortSignal): AsyncGenerator<Told, void> {
    const onAbort = () => reader.wake();
    signal.addEventListener('abort', onAbort);
    readers.add(reader);
    try {
      hub.start();
      if (first) yield first;
      while (!signal.aborted && !closing.signal.aborted) {
        if (reader.resetTo !== undefined) {
          const resetTo = reader.resetTo;
          Object.assign(reader, { position: resetTo, resetTo: undefined, live: false, inbox: [] });
          yield { kind: 'reset', from: resetTo };
        } else if (reader.live) yield* fromInbox(reader, signal);
        else yield* fromLog(reader, signal);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      readers.delete(reader);
    }
  }

  async function* fromInbox(reader: Reader, signal: AbortSignal): AsyncGenerator<Told, void> {
    for (let event = reader.inbox.shift(); event; event = reader.inbox.shift()) {
      reader.position = event.id;
      yield { kind: 'event', event };
      if (signal.aborted || reader.resetTo !== undefined) return;
    }
    if (!reader.live) return;
    reader.position = positionOf(reader);
    await woken(reader);
  }

  async function* fromLog(reader: Reader, signal: AbortSignal): AsyncGenerator<Told, void> {
    const upTo = hub.position();
    const page = await patiently(signal, () => log.page(reader.position, pageSize));
    if (!page || reader.resetTo !== undefined) return;
    for (const event of page.events) {
      reader.position = event.id;
      if (!reader.wants(event)) continue;
      yield { kind: 'event', event };
      if (signal.aborted || reader.resetTo !== undefined) return;
    }
    reader.position = page.position;
    if (!page.isLast) return;
    // The end of the log, so nothing is missing up to where the hub was when it was asked. If it is still there, what comes
    // next comes from the hub; nothing can slip between, as nothing is awaited here.
    if (upTo !== undefined) reader.position = later(reader.position, upTo);
    const now = hub.position();
    if (now === undefined) await woken(reader);
    else if (compareIds(reader.position, now) >= 0) reader.live = true;
  }

  function positionOf(reader: Reader): EventId {
    const now = hub.position();
    return reader.live && reader.inbox.length === 0 && now !== undefined
      ? later(reader.position, now)
      : reader.position;
  }

  return {
    async follow({ after, wants, signal }) {
      const from = after === undefined ? await log.last() : await log.resetTo(after);
      const position = from ?? (after as EventId);
      const reader: Reader = { wants, live: false, position, inbox: [], resetTo: undefined, wake: () => {} };
      const kind = after === undefined ? 'start' : 'reset';
      const first: Told | undefined = from === undefined ? undefined : { kind, from };
      return { told: tell(reader, first, signal), position: () => positionOf(reader) };
    },
    size: () => readers.size,
    close() {
      closing.abort();
      for (const reader of readers) reader.wake();
    },
  };
}

const later = (a: EventId, b: EventId): EventId => (compareIds(a, b) >= 0 ? a : b);

/** Nothing is awaited between the last look and this, so no waking is missed. */
async function woken(reader: Reader): Promise<void> {
  await new Promise<void>((resolve) => {
    reader.wake = resolve;
  });
  reader.wake = () => {};
}
