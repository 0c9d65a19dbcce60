import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { type Event, type EventId, type EventType, eventTypes } from '../../event.ts';
import { isRunId } from '../../ids.ts';
import { authorize, type Caller, ownActingOrg } from '../callers.ts';
import type { Told } from '../event-hub.ts';
import { checkOrgId } from '../validate.ts';
import { type HttpDeps, header } from './deps.ts';
import { block, eventBlock, parseLastEventId, type Source, type Streams } from './event-stream.ts';
import { createVisible } from './visible-job.ts';

/** `GET /events`, `GET /jobs/{id}/events`: what ends, while it ends. */
export function registerEvents(app: FastifyInstance, deps: HttpDeps, streams: Streams): void {
  const { producer, callers } = deps;
  const visible = createVisible(deps);
  // HEAD would open one that nobody reads.
  const route = { exposeHeadRoute: false };

  /** Asks again what was asked when the stream was opened. An issuer that cannot be asked takes nothing away. */
  async function isAllowed(request: FastifyRequest, check: (caller: Caller) => unknown): Promise<boolean> {
    try {
      await check(await callers.authenticate(request.headers.authorization));
      return true;
    } catch (error) {
      return error instanceof PassferryError && error.code === 'unavailable';
    }
  }

  app.get<{ Querystring: Record<string, unknown> }>('/events', route, async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
    const orgReason = checkOrgId(org);
    if (orgReason) throw badField('x-zitadel-orgid', orgReason);
    authorize(caller, org, 'read');
    const wants = parseFilter(request.query, org);
    const after = parseLastEventId(request);
    return streams.answer(request, reply, caller.name, async (signal) => {
      const { told, position } = await producer.events.follow({ after, wants, signal });
      return {
        blocks: blocksOf(told),
        position,
        isAllowed: () => isAllowed(request, (now) => authorize(now, org, 'read')),
      };
    });
  });

  app.get<{ Params: { id: string } }>('/jobs/:id/events', route, async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { id } = await visible(caller, request.params.id, 'read', 'set');
    const after = parseLastEventId(request);
    // It has what there is: a client that reconnects by itself stops at this.
    const known = after === undefined ? undefined : await producer.eventOf(id);
    if (typeof known === 'object' && known.id === after) return reply.code(204).send();
    return streams.answer(request, reply, caller.name, async (signal) => ({
      blocks: endOf(id, after, signal),
      position: () => undefined,
      isAllowed: () => isAllowed(request, (now) => visible(now, id, 'read', 'set')),
    }));
  });

  /** The end of one job is read from the ledger: also that of a row, and one that is older than the log. */
  async function* endOf(id: string, after: EventId | undefined, signal: AbortSignal): Source['blocks'] {
    while (!signal.aborted) {
      const event = await producer.eventOf(id).catch(() => 'unknown' as const);
      if (event === undefined) return;
      if (typeof event === 'object') {
        if (event.id !== after) yield eventBlock(event);
        return;
      }
      await producer.wait(id, waitMs, signal);
    }
  }
}

const waitMs = 60_000;

async function* blocksOf(told: AsyncGenerator<Told, void>): Source['blocks'] {
  for await (const each of told) {
    yield each.kind === 'event' ? eventBlock(each.event) : block(each.from, each.kind, { from: each.from });
  }
}

/** Query → does an event belong to this stream? Errors: `field_type`, `run_unknown`. */
function parseFilter(query: Record<string, unknown>, org: string): (event: Event) => boolean {
  const text = (name: string) => {
    const value = Object.hasOwn(query, name) ? query[name] : undefined;
    if (value === undefined || value === '') return undefined;
    if (typeof value !== 'string' || value.length > 400) throw badField(name);
    return value;
  };
  const types = text('types')?.split(',');
  if (types?.some((type) => !eventTypes.includes(type as EventType))) throw badField('types');
  const [user, run] = [text('user'), text('run')];
  if (run !== undefined && !isRunId(run)) throw new PassferryError('run_unknown');
  return (event) =>
    event.org === org &&
    (types === undefined || types.includes(event.type)) &&
    (user === undefined || ('user' in event && event.user === user)) &&
    (run === undefined || event.run === run);
}

function badField(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
