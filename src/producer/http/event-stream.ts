import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PassferryError } from '../../errors.ts';
import type { Event, EventId } from '../../event.ts';
import { isEventId } from '../../ledger/event-log.ts';
import { header, isClosed } from './deps.ts';

/** What a stream tells, piece by piece. */
export interface Source {
  blocks: AsyncGenerator<string, void>;
  /** Where a reader goes on that has everything so far; undefined: nowhere. */
  position(): EventId | undefined;
  /** Asked now and then: has the caller still the right? */
  isAllowed(): Promise<boolean>;
}

export interface StreamOptions {
  /** Open streams of one caller. */
  perCaller: number;
  /** Fires when the process closes: every stream ends. */
  closing: AbortSignal;
  /** Default 15,000. */
  heartbeatMs?: number;
  /** A reader that takes nothing for so long, with its buffer full, is dropped; it can go on where it was. Default 10,000. */
  slowMs?: number;
}

/** Of what one reader has not taken yet, bytes. */
const bufferSize = 64 * 1024;
/** Open streams of one caller, where the configuration does not say. */
export const defaultStreams = 100;
/** What a client is asked to wait before it connects again, ms. */
const retryMs = 2_000;

export type Streams = ReturnType<typeof createStreams>;

/** Server-sent events over whatever protocol the request came. Error: `streams_busy` (429). */
export function createStreams({ perCaller, closing, heartbeatMs = 15_000, slowMs = 10_000 }: StreamOptions) {
  const open = new Map<string, number>();

  function count(caller: string, by: 1 | -1): void {
    const now = (open.get(caller) ?? 0) + by;
    if (now > 0) open.set(caller, now);
    else open.delete(caller);
  }

  /** @param make is told when to end; its errors are those of the request. */
  async function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    caller: string,
    make: (signal: AbortSignal) => Promise<Source>,
  ): Promise<FastifyReply> {
    if ((open.get(caller) ?? 0) >= perCaller) {
      throw new PassferryError('streams_busy', { scope: 'organization', retryAfterMs: retryMs });
    }
    const ending = new AbortController();
    const end = () => ending.abort();
    closing.addEventListener('abort', end);
    reply.raw.once('close', end);
    count(caller, 1);
    ending.signal.addEventListener('abort', () => {
      closing.removeEventListener('abort', end);
      count(caller, -1);
    });
    if (closing.aborted || isClosed(reply.raw)) end();
    try {
      const source = await make(ending.signal);
      const drop = () => {
        request.log.info({ caller }, 'a reader of events was too slow and was dropped');
        hangUp(reply);
      };
      const body = pump(source, { ending, heartbeatMs, slowMs, drop });
      // No proxy may keep events back.
      reply.header('content-type', 'text/event-stream').header('x-accel-buffering', 'no');
      return reply.send(body);
    } catch (error) {
      end();
      throw error;
    }
  }

  return { answer, size: () => [...open.values()].reduce((sum, each) => sum + each, 0) };
}

interface PumpOptions {
  ending: AbortController;
  heartbeatMs: number;
  slowMs: number;
  drop(): void;
}

/** Takes from the source only what the reader has room for: what it does not take stays in the log. */
function pump(source: Source, { ending, heartbeatMs, slowMs, drop }: PumpOptions): Readable {
  const { signal } = ending;
  let onTaken = () => {};
  let wasTaken = true;
  const body = new Readable({
    highWaterMark: bufferSize,
    read() {
      wasTaken = true;
      onTaken();
    },
    destroy(error, done) {
      ending.abort();
      done(error);
    },
  });

  /** False: the reader has gone, is too slow, or the stream is to end. */
  async function send(text: string): Promise<boolean> {
    if (signal.aborted || body.destroyed) return false;
    if (body.push(text)) return true;
    const taken = await new Promise<boolean>((resolve) => {
      const end = () => settle(false);
      const timer = setTimeout(end, slowMs);
      function settle(result: boolean): void {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve(result);
      }
      signal.addEventListener('abort', end);
      onTaken = () => settle(true);
    });
    onTaken = () => {};
    // Nobody waits for one that does not take what it has, also not at the end.
    if (!taken) drop();
    return taken;
  }

  const heartbeat = setInterval(async () => {
    if (!(await source.isAllowed())) return ending.abort();
    if (signal.aborted || body.destroyed) return;
    if (body.readableLength >= bufferSize) {
      if (!wasTaken) drop();
      wasTaken = false;
      return;
    }
    // The place goes along, also when nothing of this reader's own has happened for long.
    const at = source.position();
    body.push(`: heartbeat\n${at === undefined ? '' : `id: ${at}\n`}\n`);
  }, heartbeatMs);
  heartbeat.unref();

  async function run(): Promise<void> {
    try {
      if (!(await send(`retry: ${retryMs}\n\n`))) return;
      for await (const text of source.blocks) if (!(await send(text))) return;
    } finally {
      clearInterval(heartbeat);
      if (!body.destroyed) body.push(null);
      ending.abort();
    }
  }
  void run().catch(() => body.destroy());
  return body;
}

/** Only this answer, not the connection that others share. */
function hangUp({ raw }: FastifyReply): void {
  const { stream } = raw as { stream?: { destroy(): void } };
  if (stream) stream.destroy();
  else raw.destroy();
}

/** One event as it goes over the wire. JSON has no line breaks of its own. */
export function block(id: EventId, event: string, data: object): string {
  return `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export const eventBlock = (event: Event): string => block(event.id, event.type, event);

/** Header `Last-Event-ID`. Error: `event_id_invalid`. */
export function parseLastEventId(request: FastifyRequest): EventId | undefined {
  const value = header(request, 'last-event-id');
  if (value === undefined || value === '') return undefined;
  if (!isEventId(value)) throw new PassferryError('event_id_invalid');
  return value;
}
