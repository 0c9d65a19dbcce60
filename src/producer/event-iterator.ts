import { PassferryError } from '../errors.ts';
import type { Event, EventId } from '../event.ts';
import { isEventId } from '../ledger/event-log.ts';
import type { EventHub } from './event-hub.ts';
import { checkOrgId } from './validate.ts';

export interface EventsOptions {
  /** Whose events. */
  org: string;
  /** Go on after this event. Default: what ends from this call on. */
  after?: EventId;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal;
}

/**
 * What ends in an organization, in order. Whoever takes his time misses nothing: the rest waits in the log, for 24 h. Errors:
 * `org_id_invalid`, `event_id_invalid` (at once); `redis_down`, when Redis is away at the beginning; `events_lost`, when
 * events after `after` are no longer kept.
 */
export function iterateEvents(hub: EventHub, { org, after, signal }: EventsOptions): AsyncGenerator<Event, void> {
  const orgReason = checkOrgId(org);
  if (orgReason) throw new PassferryError(orgReason);
  if (after !== undefined && !isEventId(after)) throw new PassferryError('event_id_invalid');
  const ending = new AbortController();
  const end = () => ending.abort();
  // Asked now and not with the first `next`: what ends between the two belongs to it.
  const following = hub.follow({ after, wants: (event) => event.org === org, signal: ending.signal });
  following.catch(() => {});

  async function* iterate(): AsyncGenerator<Event, void> {
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
    try {
      for await (const told of (await following).told) {
        if (ending.signal.aborted) return;
        if (told.kind === 'reset') throw new PassferryError('events_lost');
        if (told.kind === 'event') yield told.event;
      }
    } finally {
      signal?.removeEventListener('abort', end);
      end();
    }
  }
  return iterate();
}
