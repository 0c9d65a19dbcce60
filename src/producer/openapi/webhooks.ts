import { z } from 'zod';
import { type Delivery, deliveryReasons } from '../../ledger/deliveries.ts';
import { eventPatterns } from '../../ledger/webhooks.ts';
import type { WebhookView } from '../webhooks.ts';
import { type AnyReason, bodyErrors, errorAnswers, infrastructureErrors, slowBody, tokenErrors } from './errors.ts';
import { parameter, pathParameter, queryParameter } from './headers.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, sample, spokenReason, text, time } from './schema.ts';

const tag = 'webhooks';
const webhookId = z
  .string()
  .regex(/^w0-[0-9a-z]{26}$/)
  .meta({ description: 'Id of a webhook' });
const eventId = z.string().meta({ description: 'Id of an event, as the log of events gives it' });
const url = z.string().min(1).max(2_000).meta({ description: 'https, to a public place; no user, no fragment' });
const events = z.array(z.enum(eventPatterns)).min(1).meta({ description: 'Which types of event it is told' });

const fields = {
  ...{ id: webhookId, org: orgId, url, events, state: z.enum(['enabled', 'disabled']) },
  disabled: z
    .object({ at: time, reason: text, by: text.exactOptional() })
    .exactOptional()
    .meta({ description: 'Since when and why nothing is sent; without `by` it was Passferry itself' }),
  createdAt: time,
  createdBy: text,
  oldSecretUntil: time.exactOptional().meta({ description: 'Until when the secret before signs too' }),
  waiting: count.meta({ description: 'Deliveries that have not ended' }),
  missed: z
    .object({ count, first: eventId })
    .exactOptional()
    .meta({ description: 'Events that were not stored because too many deliveries waited; `replay` sends them' }),
};
const webhook = name('Webhook', z.object(fields satisfies Fields<WebhookView>));
const withSecret = name(
  'WebhookWithSecret',
  z.object({ ...fields, secret: z.string().meta({ description: 'Told this once: `whsec_` and 32 bytes in base64' }) }),
);
const list = name('Webhooks', z.object({ webhooks: z.array(webhook) }));
const add = name('AddWebhook', z.object({ url, events: events.exactOptional(), org: orgId.exactOptional() }));
const why = name('WebhookReason', z.object({ reason: spokenReason }));
const replay = name(
  'ReplayWebhook',
  z
    .object({ event: eventId, since: time, until: time, cursor: eventId })
    .partial()
    .meta({ description: 'Either `event`, or `since` and what narrows it' }),
);
const replayed = name('Replayed', z.object({ replayed: count, next: eventId.exactOptional() }));
const tested = name('WebhookTested', z.object({ delivery: text }));
const delivery = name(
  'Delivery',
  z.object({
    ...{ id: text, event: eventId, type: text, state: z.enum(['waiting', 'delivered', 'failed']), attempts: count },
    createdAt: time,
    lastAt: time.exactOptional(),
    status: z.int().exactOptional().meta({ description: 'HTTP status of the last answer' }),
    reason: z.enum(deliveryReasons).exactOptional().meta({ description: 'Why the last try does not count' }),
    nextAt: time.exactOptional().meta({ description: 'When it is tried again' }),
  } satisfies Fields<Delivery>),
);
const deliveries = name('Deliveries', z.object({ deliveries: z.array(delivery) }));

const id = 'w0-0123456789abcdefghjkmnpqrs';
const example = {
  ...{ id, org: sample.org, url: 'https://hooks.example.com/passferry', events: ['job.*'], state: 'enabled' },
  ...{ createdAt: sample.acceptedAt, createdBy: 'you', waiting: 0 },
};
const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw1xk0sQd5aXk=';
const sent = {
  ...{ id: 'd0-1795600949612-0-0123456789abcdefghjkmnpqrs', event: '1795600949612-0', type: 'job.completed' },
  ...{ state: 'waiting', attempts: 2, createdAt: sample.finishedAt, lastAt: sample.finishedAt, status: 503 },
  ...{ reason: 'answered', nextAt: sample.expiresAt },
};

const description = 'Needs `admin` in the organization; for everybody else there is no such webhook.';
const one = [pathParameter('id', webhookId, id)];
const seen: AnyReason[] = [...tokenErrors, 'webhook_unknown', ...infrastructureErrors];
const orgErrors: AnyReason[] = ['AUTHZ-cdgFk', 'AUTH-5mWD2', 'org_id_invalid', 'field_type'];
const urlErrors: AnyReason[] = ['webhook_url_invalid', 'webhook_url_forbidden', 'webhook_host_unknown'];

function verb(operationId: string, summary: string, body: object | undefined, answers: object, more: AnyReason[] = []) {
  const all = { ...answers, ...errorAnswers('problem', [...seen, ...bodyErrors, ...more]), ...slowBody() };
  const parts = { id: operationId, tag, summary, description, parameters: one, answers: all };
  return { post: operation({ ...parts, ...(body && { body }) }) };
}

export const webhookPaths: Paths = {
  '/webhooks': {
    post: operation({
      id: 'addWebhook',
      tag,
      summary: 'Add a webhook',
      description: 'Needs `admin`. The secret is told this once.',
      parameters: [parameter('organization')],
      body: jsonBody(add, { jobs: { summary: 'All ends of jobs', value: { url: example.url, events: ['job.*'] } } }),
      answers: {
        201: jsonAnswer('Added', withSecret, { one: { summary: 'It', value: { ...example, secret } } }, 'Location'),
        ...errorAnswers('problem', [
          ...[...tokenErrors, ...infrastructureErrors, ...bodyErrors, ...orgErrors, ...urlErrors],
          ...(['webhook_events_invalid', 'webhook_limit'] as const),
        ]),
        ...slowBody(),
      },
    }),
    get: operation({
      id: 'listWebhooks',
      tag,
      summary: 'The webhooks of an organization',
      description: 'Needs `admin`.',
      parameters: [
        queryParameter('org', orgId, "Default: `x-zitadel-orgid`, else the caller's home", sample.org),
        parameter('organization'),
      ],
      answers: {
        200: jsonAnswer('All, oldest first', list, { one: { summary: 'One', value: { webhooks: [example] } } }),
        ...errorAnswers('problem', [...tokenErrors, ...infrastructureErrors, ...orgErrors]),
      },
    }),
  },
  '/webhooks/{id}': {
    get: operation({
      ...{ id: 'getWebhook', tag, summary: 'Read a webhook', description, parameters: one },
      answers: {
        200: jsonAnswer('As it is now', webhook, { one: { summary: 'Enabled', value: example } }),
        ...errorAnswers('problem', seen),
      },
    }),
    delete: operation({
      ...{ id: 'removeWebhook', tag, summary: 'Remove a webhook', description, parameters: one },
      answers: {
        204: { description: 'Nothing more is sent' },
        ...errorAnswers('problem', [...seen, ...bodyErrors]),
        ...slowBody(),
      },
    }),
  },
  '/webhooks/{id}/deliveries': {
    get: operation({
      ...{ id: 'listDeliveries', tag, summary: 'What was sent, is sent, and will be', description },
      parameters: [
        ...one,
        queryParameter('state', z.enum(['waiting', 'delivered', 'failed']), 'Only these', 'failed'),
        queryParameter('limit', z.int().min(1).max(500).default(50), 'At most so many', 10),
      ],
      answers: {
        200: jsonAnswer('Newest change first', deliveries, {
          waiting: { summary: 'To be tried again', value: { deliveries: [sent] } },
        }),
        ...errorAnswers('problem', [...seen, 'field_type']),
      },
    }),
  },
  '/webhooks/{id}:test': verb('testWebhook', 'Send an event that only says hello: one try', undefined, {
    202: jsonAnswer('On its way', tested, { one: { summary: 'Its delivery', value: { delivery: sent.id } } }),
  }),
  '/webhooks/{id}:rotate': verb('rotateWebhook', 'A new secret; the old one signs too for 24 h', undefined, {
    200: jsonAnswer('With the new secret, told this once', withSecret, {
      one: { summary: 'Both sign', value: { ...example, oldSecretUntil: sample.expiresAt, secret } },
    }),
  }),
  '/webhooks/{id}:disable': verb(
    'disableWebhook',
    'Send nothing until somebody enables it',
    jsonBody(why, { reason: { summary: 'Why', value: { reason: 'maintenance' } } }),
    {
      200: jsonAnswer('Disabled', webhook, {
        one: {
          summary: 'By a person',
          value: {
            ...example,
            state: 'disabled',
            disabled: { at: sample.finishedAt, reason: 'maintenance', by: 'you' },
          },
        },
      }),
    },
    ['reason_invalid'],
  ),
  '/webhooks/{id}:enable': verb('enableWebhook', 'Send again from now on', undefined, {
    200: jsonAnswer('Enabled', webhook, { one: { summary: 'Enabled', value: example } }),
  }),
  '/webhooks/{id}:replay': verb(
    'replayWebhook',
    'Send again what the log of 24 h has, page by page',
    jsonBody(replay, {
      since: { summary: 'All since', value: { since: sample.acceptedAt } },
      event: { summary: 'One', value: { event: sent.event } },
    }),
    {
      200: jsonAnswer('Stored', replayed, {
        page: { summary: 'A page', value: { replayed: 1_000, next: sent.event } },
      }),
    },
    ['event_unknown', 'webhook_disabled', 'webhook_backlog', 'field_type', 'cursor_invalid'],
  ),
};
