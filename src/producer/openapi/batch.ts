import { z } from 'zod';
import {
  bodyErrors,
  code,
  errorAnswers,
  field,
  infrastructureErrors,
  problemSchema,
  reason,
  slowBody,
  tokenErrors,
} from './errors.ts';
import { parameter } from './headers.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { count, idempotencyKey, jobId, name, orgId, password, sample, text, time, userId } from './schema.ts';

const item = name(
  'BatchItem',
  z.object({
    user: userId,
    password,
    org: orgId.exactOptional().meta({ description: 'Needs `set` there; default: the organization acted in' }),
    changeRequired: z
      .boolean()
      .default(true)
      .meta({ description: 'The user must change it at the next login; or, the other way round, `noChangeRequired`' }),
    noChangeRequired: z.boolean().exactOptional(),
    idempotencyKey: idempotencyKey.exactOptional(),
    expiresIn: z.int().min(1).max(2_592_000).default(86_400).meta({ description: 'Seconds' }),
  }),
);
const body = name('Batch', z.object({ jobs: z.array(item).min(1).max(1_000) }));

const told = name(
  'BatchItemAnswer',
  z.union([
    z.object({
      status: z.literal('accepted'),
      id: jobId,
      idempotencyKey,
      replayed: z.boolean().meta({ description: 'It was accepted before under this key' }),
      acceptedAt: time,
      expiresAt: time,
    }),
    z.object({
      status: z.literal('refused'),
      code,
      reason,
      message: text,
      fields: z.array(field).min(1).exactOptional(),
      idempotencyKey: idempotencyKey.exactOptional().meta({ description: 'Send the item again under it' }),
    }),
  ]),
);
const counts = { accepted: count, refused: count, jobs: z.array(told) };
const answer = name('BatchAnswer', z.object(counts).meta({ description: '`jobs` in the order of the list' }));
const refused = name(
  'BatchRefused',
  problemSchema.extend({
    accepted: count.exactOptional(),
    refused: count.exactOptional(),
    jobs: counts.jobs.exactOptional(),
  }),
);

const refusedItem = {
  ...{ status: 'refused', code: 'invalid_argument', reason: 'password_too_long' },
  message: 'The password is longer than 72 characters.',
  fields: [{ field: 'password', reason: 'password_too_long' }],
};

const fault = { status: 'refused', code: 'unavailable', reason: 'redis_down', message: 'Redis is not reachable.' };
const notOne = { accepted: 0, refused: 1 };
const errors = {
  ...errorAnswers('problem', [
    ...(['items_count', 'field_type'] as const),
    ...bodyErrors,
    ...tokenErrors,
    ...infrastructureErrors,
  ]),
  ...errorAnswers('problem', ['items_refused'], {
    schema: refused,
    fields: () => ({ ...notOne, jobs: [refusedItem] }),
  }),
  ...errorAnswers('problem', ['redis_down', 'accept_unknown', 'ledger_not_ready', 'shutting_down', 'org_quota'], {
    schema: refused,
    fields: () => ({ ...notOne, jobs: [{ ...fault, idempotencyKey: 'reset-1' }] }),
  }),
  ...slowBody(),
};

export const batchPaths: Paths = {
  '/jobs': {
    post: operation({
      id: 'setPasswords',
      tag: 'jobs',
      summary: 'Set up to 1,000 passwords',
      description:
        'Needs `set` in the organization of each item. Each item is a request and a job of its own; nobody is waited for. More than 50 wait with the rows of files.',
      parameters: [parameter('organization')],
      body: jsonBody(body, {
        two: {
          summary: 'Two users',
          value: {
            jobs: [
              { user: sample.user, password: sample.password, idempotencyKey: 'reset-1' },
              { user: sample.otherUser, org: sample.org, password: 'New-password-2', changeRequired: false },
            ],
          },
        },
      }),
      answers: {
        202: jsonAnswer('At least one was accepted', answer, {
          mixed: {
            summary: 'One accepted, one refused',
            value: {
              accepted: 1,
              refused: 1,
              jobs: [
                {
                  ...{ status: 'accepted', id: sample.jobId, idempotencyKey: 'reset-1', replayed: false },
                  ...{ acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
                },
                refusedItem,
              ],
            },
          },
        }),
        ...errors,
      },
    }),
  },
};
