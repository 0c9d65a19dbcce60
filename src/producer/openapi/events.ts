import { z } from 'zod';
import { type EventId, eventTypes, type JobEvent, type RunEvent } from '../../event.ts';
import { backendNames } from '../../ledger/holds.ts';
import { code, errorAnswers, infrastructureErrors, reason, tokenErrors } from './errors.ts';
import { headers, parameter, queryParameter } from './headers.ts';
import { operation, type Paths } from './operation.ts';
import { count, type Fields, jobId, name, orgId, refTo, runId, sample, text, time, userId } from './schema.ts';

const tag = 'events';
const id: z.ZodType<EventId> = z
  .string()
  .regex(/^\d{1,16}-\d{1,16}$/)
  .meta({ description: 'Place in the order in which things ended' });
const told = { id, time, org: orgId };

const jobEvent = name(
  'JobEvent',
  z
    .object({
      ...told,
      type: z.enum(['job.completed', 'job.failed']),
      job: jobId,
      user: userId,
      run: runId.exactOptional(),
      row: count.exactOptional(),
      result: z.enum(['set', 'unchanged', 'superseded', 'stale', 'mirrored']).exactOptional(),
      code: code.exactOptional(),
      reason: reason.exactOptional(),
      inEffect: z.boolean(),
      backend: z.enum(backendNames).exactOptional(),
      attempts: count,
    } satisfies Fields<JobEvent>)
    .meta({ description: '`data` of `job.completed` and `job.failed`' }),
);
const runEvent = name(
  'RunEvent',
  z
    .object({
      ...told,
      type: z.enum(['run.completed', 'run.canceled']),
      run: runId,
      counts: z.record(text, count),
    } satisfies Fields<RunEvent>)
    .meta({ description: '`data` of `run.completed` and `run.canceled`' }),
);
const place = name(
  'EventPlace',
  z.object({ from: id }).meta({ description: '`data` of `start` and `reset`: from where the stream goes on' }),
);

const stream = (description: string, all: z.ZodType[]) => ({
  description: `${description}. Server-sent events; the schema is that of \`data\``,
  headers: headers('X-Accel-Buffering'),
  content: { 'text/event-stream': { schema: { type: 'string', contentSchema: { anyOf: all.map(refTo) } } } },
});
const streamErrors = [...tokenErrors, 'event_id_invalid', 'streams_busy', ...infrastructureErrors] as const;

export const eventPaths: Paths = {
  '/events': {
    get: operation({
      id: 'followEvents',
      tag,
      summary: 'What ends in an organization, while it ends',
      description: 'Needs `read`. Never ends by itself; a heartbeat every 15 s.',
      parameters: [
        queryParameter('types', z.string(), `Of ${eventTypes.join(', ')}, with commas`, 'job.failed,run.completed'),
        queryParameter('user', userId, 'Only jobs of this user', sample.user),
        queryParameter('run', runId, 'Only this import', sample.runId),
        parameter('lastEventId'),
        parameter('organization'),
      ],
      answers: {
        200: stream('The stream', [jobEvent, runEvent, place]),
        ...errorAnswers('problem', [
          ...streamErrors,
          ...(['AUTHZ-cdgFk', 'AUTH-5mWD2', 'org_id_invalid', 'field_type', 'run_unknown'] as const),
        ]),
      },
    }),
  },
  '/jobs/{id}/events': {
    get: operation({
      id: 'followJob',
      tag,
      summary: 'The end of one job, when it comes',
      description: 'Needs `read` or `set`. Ends after the outcome.',
      parameters: [parameter('jobId'), parameter('lastEventId')],
      answers: {
        200: stream('The stream', [jobEvent]),
        204: { description: 'Its end has the id of `Last-Event-ID`: there is nothing more' },
        ...errorAnswers('problem', [...streamErrors, 'job_unknown', 'job_gone']),
      },
    }),
  },
};
