import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { isWebhookId } from '../../ids.ts';
import type { AuditAction } from '../../ledger/audit-record.ts';
import type { Delivery } from '../../ledger/deliveries.ts';
import { isEventId } from '../../ledger/event-log.ts';
import { type EventPattern, eventPatterns, type Webhook } from '../../ledger/webhooks.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { parseReason } from '../fields.ts';
import { checkOrgId } from '../validate.ts';
import type { Replay } from '../webhooks.ts';
import { about, begun } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';

const listed = 50;
const mostListed = 500;

type Fields = Record<string, unknown>;

/**
 * `POST /webhooks`, `GET /webhooks`, `GET` and `DELETE /webhooks/{id}`, `POST /webhooks/{id}:test|rotate|disable|enable|replay`,
 * `GET /webhooks/{id}/deliveries`. Needs `admin` in the organization; for everybody else there is no such webhook (P5).
 */
export function registerWebhooks(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  async function visible(
    request: FastifyRequest,
    id: string,
    action?: AuditAction,
  ): Promise<{ caller: Caller; webhook: Webhook }> {
    const caller = await callers.authenticate(request.headers.authorization);
    if (action) about(request, action, caller);
    const webhook = isWebhookId(id) ? await producer.webhooks.read(id) : undefined;
    if (!webhook || !isGranted(caller, webhook.org, 'admin')) throw new PassferryError('webhook_unknown');
    if (action) about(request, action, caller, webhook.org, { webhook: id });
    return { caller, webhook };
  }

  const verbs: Record<string, (webhook: Webhook, body: unknown, by: string) => Promise<object>> = {
    test: async (webhook) => ({ delivery: await producer.webhooks.test(webhook) }),
    rotate: async ({ id }) => withSecret(await producer.webhooks.rotate(id)),
    disable: ({ id }, body, by) => producer.webhooks.disable(id, parseReason(body, 'reason_invalid'), by),
    enable: ({ id }) => producer.webhooks.enable(id),
    replay: (webhook, body) => producer.webhooks.replay(webhook, parseReplay(fieldsOf(body))),
  };

  app.post('/webhooks', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const body = fieldsOf(request.body);
    const org = orgOf(caller, request, body.org);
    about(request, 'webhook-add', caller, org);
    authorize(caller, org, 'admin');
    if (typeof body.url !== 'string') throw badField('url', 'webhook_url_invalid');
    await begun(request);
    const added = await producer.webhooks.add({
      org,
      url: body.url,
      events: parseEvents(body.events),
      by: caller.name,
    });
    const { id } = added.webhook;
    about(request, 'webhook-add', caller, org, { webhook: id });
    request.log.info({ webhook: id, org, by: caller.name }, 'a webhook was added');
    return reply.code(201).header('location', `/webhooks/${id}`).send(withSecret(added));
  });

  app.get<{ Querystring: Fields }>('/webhooks', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = orgOf(caller, request, request.query.org);
    authorize(caller, org, 'admin');
    return { webhooks: await producer.webhooks.list(org) };
  });

  app.get<{ Params: { id: string } }>('/webhooks/:id', async (request) => {
    return producer.webhooks.view((await visible(request, request.params.id)).webhook);
  });

  app.delete<{ Params: { id: string } }>('/webhooks/:id', async (request, reply) => {
    const { caller, webhook } = await visible(request, request.params.id, 'webhook-remove');
    await begun(request);
    await producer.webhooks.remove(webhook);
    request.log.info({ webhook: webhook.id, org: webhook.org, by: caller.name }, 'a webhook was removed');
    return reply.code(204).send();
  });

  app.post<{ Params: { id: string } }>('/webhooks/:id', async (request, reply) => {
    const [, id = '', verb = ''] = /^([^:]*):([a-z]+)$/.exec(request.params.id) ?? [];
    if (!Object.hasOwn(verbs, verb)) {
      await callers.authenticate(request.headers.authorization);
      reply.header('allow', 'GET, HEAD, DELETE');
      throw new PassferryError('method_not_allowed');
    }
    const { caller, webhook } = await visible(request, id, `webhook-${verb}` as AuditAction);
    const { org } = webhook;
    await begun(request);
    const answer = await (verbs[verb] as (typeof verbs)[string])(webhook, request.body ?? {}, caller.name);
    request.log.info({ webhook: id, org, by: caller.name, verb }, 'a person did something with a webhook');
    return reply.code(verb === 'test' ? 202 : 200).send(answer);
  });

  app.get<{ Params: { id: string }; Querystring: Fields }>('/webhooks/:id/deliveries', async (request) => {
    const { webhook } = await visible(request, request.params.id);
    const { limit = listed, state } = request.query;
    const count = /^\d{1,4}$/.test(`${limit}`) ? Number(limit) : 0;
    if (count < 1 || count > mostListed) throw badField('limit');
    const known = (['waiting', 'delivered', 'failed'] satisfies Delivery['state'][]).find((each) => each === state);
    if (state !== undefined && !known) throw badField('state');
    return { deliveries: await producer.webhooks.deliveries(webhook, count, known) };
  });
}

function withSecret<T>({ webhook, secret }: { webhook: T; secret: string }) {
  return { ...webhook, secret };
}

function orgOf(caller: Caller, request: FastifyRequest, given: unknown): string {
  const org = given ?? ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
  if (typeof org !== 'string') throw badField('org');
  const reason = checkOrgId(org);
  if (reason) throw badField('org', reason);
  return org;
}

/** Absent: all. Error: `webhook_events_invalid`. */
function parseEvents(given: unknown): EventPattern[] {
  if (given === undefined || given === null) return ['job.*', 'run.*'];
  const list = Array.isArray(given) ? [...new Set(given)] : [];
  const isGood = list.length > 0 && list.every((each) => (eventPatterns as readonly unknown[]).includes(each));
  if (!isGood) throw badField('events', 'webhook_events_invalid');
  return list as EventPattern[];
}

/** `{event}`, or `{since, until, cursor}` with times in RFC 3339; `until` is now when absent. */
function parseReplay({ event, since, until, cursor }: Fields): Replay {
  if (event !== undefined) {
    if (since !== undefined || until !== undefined || cursor !== undefined) throw badField('event');
    if (typeof event !== 'string' || !isEventId(event)) throw new PassferryError('event_unknown');
    return { event };
  }
  if (cursor !== undefined && !(typeof cursor === 'string' && isEventId(cursor))) {
    throw badField('cursor', 'cursor_invalid');
  }
  const untilMs = until === undefined ? Number.MAX_SAFE_INTEGER : parseTime(until, 'until');
  return { sinceMs: parseTime(since, 'since'), untilMs, ...(typeof cursor === 'string' && { after: cursor }) };
}

function parseTime(given: unknown, field: string): number {
  const isTime =
    typeof given === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i.test(given);
  const ms = isTime ? Date.parse(given) : Number.NaN;
  if (Number.isNaN(ms) || ms < 0) throw badField(field);
  return ms;
}

function fieldsOf(body: unknown): Fields {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new PassferryError('body_not_object');
  return body as Fields;
}

function badField(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
