import { z } from 'zod';
import { auditActions } from '../../ledger/audit-record.ts';
import { errorAnswers, infrastructureErrors, tokenErrors } from './errors.ts';
import { parameter, queryParameter } from './headers.ts';
import { operation, type Paths } from './operation.ts';
import { count, name, orgId, refTo, sample, text, time, userId } from './schema.ts';

const action = z.enum(auditActions);
const id = text.meta({ description: 'Its place in the order' });

const record = z.object({
  id,
  time,
  action,
  result: z.enum(['accepted', 'refused', 'unknown']).meta({
    description: '`unknown`: it was begun, and its process ended before it could say how',
  }),
  reason: text.exactOptional().meta({ description: 'Why it was refused' }),
  caller: text.exactOptional(),
  org: text.meta({ description: 'Id of the organization; `*`: none, or all' }),
  user: text.exactOptional(),
  job: text.exactOptional(),
  run: text.exactOptional(),
  backend: text.exactOptional(),
  webhook: text.exactOptional(),
  from: text.exactOptional().meta({ description: 'The address it came from; of IPv6 the first 64 bits' }),
  count: count.exactOptional().meta({ description: 'How many of the same kind it stands for; jobs that were retried' }),
  replayed: z.literal(true).exactOptional().meta({ description: 'It was accepted before' }),
  stage: text.exactOptional().meta({ description: 'The stage that was asked for, and percent of the next' }),
  why: text
    .exactOptional()
    .meta({ description: 'The reason given for a step of a stage; the cause of those tried again' }),
  unverified: z.literal(true).exactOptional().meta({ description: 'Signed under a job key that is no longer kept' }),
});
const forged = z
  .object({ id, time, result: z.literal('forged') })
  .meta({ description: 'Not signed by us, or moved: nothing of it is told' });
const gap = z
  .object({ id, time, result: z.literal('gap'), reason: z.enum(['missing', 'trimmed']), count: count.exactOptional() })
  .meta({ description: '`missing`: so many records before this are not there; `trimmed`: older ones had no room' });

const told = name('AuditRecord', z.union([record, forged, gap]));
const page = name(
  'AuditPage',
  z.object({
    records: z.array(told),
    next: text.max(400).exactOptional().meta({ description: '`cursor` of the rest; absent when all were seen' }),
  }),
);

const example = {
  ...{ id: '1795600949350-0', time: sample.acceptedAt, action: 'set', result: 'accepted', caller: 'you' },
  ...{ org: sample.org, user: sample.user, job: sample.jobId, from: '192.0.2.7' },
};
const missing = { id: '1795600949350-0', time: sample.acceptedAt, result: 'gap', reason: 'missing', count: 2 };

export const auditPaths: Paths = {
  '/audit': {
    get: operation({
      id: 'listAudit',
      tag: 'audit',
      summary: 'Who asked for what, and what became of it',
      description:
        'Needs `admin`; `operate` with the organization `*` for what belongs to none. Never a secret. With `Accept: application/x-ndjson` all that match, one a line.',
      parameters: [
        queryParameter('org', orgId, "Default: `x-zitadel-orgid`, else the caller's home", sample.org),
        queryParameter('user', userId, 'Only about this user', sample.user),
        queryParameter('caller', text.max(400), 'Only by this caller', 'you'),
        queryParameter('action', action, 'Only of this kind', 'set'),
        queryParameter('since', time, 'Not older', sample.acceptedAt),
        queryParameter('until', time, 'Older', sample.expiresAt),
        queryParameter('limit', z.int().min(1).max(500).default(100), 'At most so many', 10),
        queryParameter('cursor', text.max(400), '`next` of the answer before', '1795600949350-0'),
        parameter('organization'),
      ],
      answers: {
        200: {
          description: 'Newest first. A page may have fewer than asked for, even none, and yet a `next`',
          content: {
            'application/json': {
              schema: refTo(page),
              examples: {
                one: { summary: 'A request', value: { records: [example], next: example.id } },
                gap: { summary: 'Two records are missing', value: { records: [missing, example] } },
              },
            },
            'application/x-ndjson': {
              schema: refTo(told),
              examples: { line: { summary: 'One line', value: example } },
            },
          },
        },
        ...errorAnswers('problem', [
          ...(['field_type', 'org_id_invalid', 'cursor_invalid'] as const),
          ...tokenErrors,
          ...(['AUTHZ-cdgFk', 'AUTH-5mWD2', 'org_not_granted'] as const),
          ...infrastructureErrors,
        ]),
      },
    }),
  },
};
