import { createParser, type EventSourceMessage, type EventSourceParser } from 'eventsource-parser';
import { type Event, type EventId, type EventType, eventTypes } from '../event.ts';
import { PassferryClientError, record } from './error.ts';
import { backoff, type Http, isPassing, optionInvalid } from './http.ts';
import { pause } from './patience.ts';
import { checkOrg } from './set.ts';

export interface EventsOptions {
  /** Go on after this event. Default: what happens from now on. */
  after?: EventId;
  /** Only these types. Default: all. */
  types?: readonly EventType[];
  /** Only events of this user's jobs. */
  user?: string;
  /** Only events of this import. */
  run?: string;
  /** Default: the client's, else the caller's home. */
  org?: string;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal;
  /** A stream that brings not even a heartbeat for so long is opened anew, ms. Default 45,000. */
  silenceMs?: number;
}

/**
 * Events before this place may be missing: they are older than what is kept, or the server lost them. What matters is read
 * from the jobs themselves.
 */
export interface Reset {
  type: 'reset';
  /** Where the stream goes on. */
  id?: EventId;
}

const usualSilenceMs = 45_000;
/** One event is a few hundred bytes. */
const mostBuffered = 1024 * 1024;
const mostRetryMs = 30_000;

/**
 * Events as they happen, in order. A stream that breaks is opened again where it stood, so nothing is missing and nothing comes
 * twice, as long as the events are kept (24 h); else a {@link Reset} comes first. Goes on until it is left, or the signal
 * fires. Throws where trying again cannot help (a wrong token, no permission).
 */
export async function* readEvents(http: Http, options: EventsOptions): AsyncGenerator<Event | Reset> {
  const { signal, silenceMs = usualSilenceMs } = options;
  const left = new AbortController();
  const leave = () => left.abort();
  signal?.addEventListener('abort', leave);
  if (signal?.aborted) leave();
  const query = queryOf(options);
  const org = checkOrg(options.org);
  const place: Place = { id: options.after, retryMs: 0 };
  let tries = 0;
  try {
    while (!left.signal.aborted) {
      const stream = openStream(http, { query, org }, place, silenceMs, left.signal);
      let wait = 0;
      try {
        for await (const found of stream) {
          tries = 0;
          if (found !== 'alive') yield found;
        }
      } catch (thrown) {
        const error = thrown as PassferryClientError;
        if (left.signal.aborted) return;
        if (!(error instanceof PassferryClientError) || !isPassing(error)) throw error;
        wait = error.retryAfterMs ?? 0;
      }
      await pause(Math.max(wait, place.retryMs, backoff(tries++)), left.signal).catch(() => {});
    }
  } finally {
    signal?.removeEventListener('abort', leave);
    leave();
  }
}

/** Where a reader stands; kept over connections. */
interface Place {
  id: EventId | undefined;
  /** What the server asks us to wait before the next connection. */
  retryMs: number;
}

/** One connection, until it breaks or ends. `alive`: bytes came. */
async function* openStream(
  http: Http,
  { query, org }: { query: string; org: string | undefined },
  place: Place,
  silenceMs: number,
  signal: AbortSignal,
): AsyncGenerator<Event | Reset | 'alive'> {
  const ending = new AbortController();
  const end = () => ending.abort();
  let silence = setTimeout(end, silenceMs);
  signal.addEventListener('abort', end);
  try {
    const headers = { accept: 'text/event-stream', 'last-event-id': place.id, 'x-zitadel-orgid': org };
    const response = await http.open({ method: 'GET', path: `/events${query}`, headers }, ending.signal);
    const found: (Event | Reset)[] = [];
    const parser = createParser({
      maxBufferSize: mostBuffered,
      onEvent: (block) => found.push(...take(block, place)),
      onRetry: (ms) => {
        place.retryMs = Math.min(ms, mostRetryMs);
      },
    });
    const feed = byLine(parser);
    const decoder = new TextDecoder();
    for await (const bytes of response.body ?? []) {
      feed(decoder.decode(bytes, { stream: true }));
      // A caller who takes his time is no silence of the server.
      clearTimeout(silence);
      yield 'alive';
      yield* found.splice(0);
      silence = setTimeout(end, silenceMs);
    }
  } catch (thrown) {
    // Silence, a broken connection, a block without an end.
    throw thrown instanceof PassferryClientError && thrown.reason !== 'stopped'
      ? thrown
      : new PassferryClientError('unreachable');
  } finally {
    clearTimeout(silence);
    signal.removeEventListener('abort', end);
    end();
  }
}

/** A heartbeat has a place and no data, and the parser lets such a block go: it is given some. */
function byLine(parser: EventSourceParser): (text: string) => void {
  let rest = '';
  let fields = '';
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > mostBuffered) throw new PassferryClientError('answer_unreadable');
    for (const line of lines) {
      const isEnd = line === '' || line === '\r';
      if (isEnd && fields.includes('id') && !fields.includes('data')) parser.feed('data:\n');
      fields = isEnd ? '' : `${fields} ${line.split(':', 1)[0]}`;
      parser.feed(`${line}\n`);
    }
  };
}

/** A block of the stream → what the caller gets of it; moves the place. What this version does not know only moves it. */
function take({ id, event, data }: EventSourceMessage, place: Place): (Event | Reset)[] {
  const at = id !== undefined && isEventId(id) ? id : undefined;
  if (event === 'reset') {
    // It may lie before what was seen: the server lost its last events.
    place.id = at;
    return [{ type: 'reset', ...(at !== undefined && { id: at }) }];
  }
  if (at === undefined) return [];
  if (place.id !== undefined && isEventId(place.id) && compare(at, place.id) <= 0) return [];
  place.id = at;
  const told = decode(data);
  const known = (eventTypes as readonly unknown[]).includes(told.type) && told.id === at;
  return known ? [told as unknown as Event] : [];
}

function queryOf({ types, user, run, after }: EventsOptions): string {
  const unknown = types?.some((type) => !eventTypes.includes(type));
  if (unknown || types?.length === 0) throw optionInvalid('types');
  if (after !== undefined && !isEventId(after)) throw optionInvalid('after');
  const query = new URLSearchParams({
    ...(types && { types: types.join(',') }),
    ...(user !== undefined && { user }),
    ...(run !== undefined && { run }),
  });
  return query.size > 0 ? `?${query}` : '';
}

function isEventId(text: string): boolean {
  return /^\d{1,16}-\d{1,16}$/.test(text);
}

/** Below zero when `a` comes first. */
function compare(a: EventId, b: EventId): number {
  const [aMs = 0, aNumber = 0] = a.split('-').map(Number);
  const [bMs = 0, bNumber = 0] = b.split('-').map(Number);
  return aMs - bMs || aNumber - bNumber;
}

function decode(data: string): Record<string, unknown> {
  try {
    return record(JSON.parse(data));
  } catch {
    return {};
  }
}
