import { z } from 'zod';
import { bodyErrors, errorAnswers, infrastructureErrors, problemSchema, slowBody, tokenErrors } from './errors.ts';
import { headers, parameter, queryParameter } from './headers.ts';
import { job, jobExamples, jobStates } from './job.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { count, name, orgId, sample, spokenReason, text, time, userId } from './schema.ts';

const tag = 'jobs';
const cursor = z.string().max(400);
const more = cursor.exactOptional().meta({ description: '`cursor` of the rest; absent when all were seen' });

const listed = name(
  'ListedJob',
  job.extend({ quarantinedAt: time.exactOptional(), starts: count.exactOptional() }).meta({
    description: 'A job; one that waits for a person also says since when, and how many of its starts were cut short',
  }),
);
const list = name('JobList', z.object({ jobs: z.array(listed), next: more }));

const tooLate = name(
  'TooLate',
  problemSchema.extend({ job: job.exactOptional() }).meta({ description: 'RFC 9457, with the job as it is' }),
);

const overwriteNewer = z
  .boolean()
  .default(false)
  .meta({ description: 'A password that the user chose meanwhile is overwritten; needs `admin`' });
const filter = { org: orgId, reason: text.max(400), user: userId, caller: text.max(400) };
const retryOne = name('RetryJob', z.object({ overwriteNewer }));
const retryMany = name(
  'RetryJobs',
  z
    .object({ ...filter, limit: z.int().min(1).max(1_000).default(100), cursor, overwriteNewer })
    .partial()
    .meta({ description: 'What is absent matches all' }),
);
const retried = name(
  'RetryCounts',
  z.object({
    matched: count,
    retried: count,
    skipped: z.record(text, count).meta({ description: 'Reason → how many were left as they are' }),
    next: more,
  }),
);
const why = name('WithReason', z.object({ reason: spokenReason }));

const seenErrors = [...tokenErrors, 'job_unknown', 'job_gone', ...infrastructureErrors] as const;
const orgErrors = ['AUTHZ-cdgFk', 'AUTH-5mWD2'] as const;
const filterErrors = ['field_type', 'org_id_invalid', 'cursor_invalid'] as const;

const get = operation({
  id: 'getJob',
  tag,
  summary: 'Read a job',
  description:
    'Needs `read` or `set`. With `Prefer: wait=n` the answer comes with the outcome, or when the wait is over.',
  parameters: [parameter('jobId'), parameter('prefer'), parameter('ifNoneMatch')],
  answers: {
    200: jsonAnswer(
      'The job as it is now',
      job,
      {
        open: { summary: 'Not begun', value: jobExamples.open },
        set: { summary: 'The password is in force', value: jobExamples.set },
        failed: { summary: 'Refused by the backend', value: jobExamples.failed },
      },
      ...(['ETag', 'Retry-After', 'Preference-Applied'] as const),
    ),
    304: {
      description: 'Nothing has changed since the tag of `If-None-Match`',
      headers: headers('ETag', 'Retry-After', 'Preference-Applied'),
    },
    ...errorAnswers('problem', [...seenErrors, 'prefer_invalid']),
  },
});

const lateJobs: Record<string, object> = {
  job_done: jobExamples.set,
  job_begun: jobExamples.open,
  quarantined: jobExamples.held,
};
const asItIs = (reason: string) => ({ job: lateJobs[reason] });

const cancel = operation({
  id: 'cancelJob',
  tag,
  summary: 'Cancel a job that has not begun',
  description:
    'Needs `set`. Either the job is cancelled and nothing is sent, or it is too late. Repeating changes nothing.',
  parameters: [parameter('jobId')],
  answers: {
    200: jsonAnswer('Cancelled', job, { cancelled: { summary: 'Its end', value: jobExamples.cancelled } }),
    ...errorAnswers('problem', [...seenErrors, ...bodyErrors]),
    ...errorAnswers('problem', ['job_done', 'job_begun', 'quarantined'], { schema: tooLate, fields: asItIs }),
    ...slowBody(),
  },
});

const listJobs = operation({
  id: 'listJobs',
  tag,
  summary: 'List jobs: of a user, failed ones, those that wait for a person',
  description: 'Needs `read` or `set`. Without `user` only `failed` (the default then) and `quarantined`.',
  parameters: [
    queryParameter('user', userId, 'Whose', sample.user),
    queryParameter('org', orgId, "Default: `x-zitadel-orgid`, else the caller's home", sample.org),
    queryParameter('state', z.enum([...jobStates, 'quarantined']), 'Only jobs in it', 'failed'),
    queryParameter('reason', filter.reason, 'Only jobs that ended with it', 'COMMAND-G8dh3'),
    queryParameter('caller', filter.caller, 'Only jobs of this caller', 'you'),
    queryParameter('limit', z.int().min(1).max(500).default(100), 'At most so many', 10),
    queryParameter('cursor', cursor, '`next` of the answer before', 's1795600949350123'),
    parameter('organization'),
  ],
  answers: {
    200: jsonAnswer('Newest first; those that wait for a person: the longest held first', list, {
      user: { summary: 'Of a user', value: { jobs: [jobExamples.set], next: 's1795600949350123' } },
      failed: {
        summary: 'Failed ones',
        value: { jobs: [jobExamples.failed], next: `1795600949350-${sample.jobId}` },
      },
      quarantined: {
        summary: 'Crashed their worker too often',
        value: { jobs: [{ ...jobExamples.held, quarantinedAt: sample.finishedAt, starts: 6 }] },
      },
    }),
    ...errorAnswers('problem', [
      ...filterErrors,
      'user_id_missing',
      ...tokenErrors,
      ...orgErrors,
      ...infrastructureErrors,
    ]),
  },
});

/** What a person does with one job. */
function verb(id: string, summary: string, description: string, body: object, answer: object, errors: object): object {
  const answers = { 200: answer, ...errors, ...slowBody() };
  return operation({ id, tag, summary, description, parameters: [parameter('jobId')], body, answers });
}

const whyBody = jsonBody(why, { reason: { summary: 'Why', value: { reason: 'fixed in 1.2' } } });
const verbErrors = [...seenErrors, ...bodyErrors, ...orgErrors, 'redis_down'] as const;

export const jobPaths: Paths = {
  '/jobs': { get: listJobs },
  '/jobs/{id}': { get, delete: cancel },
  '/jobs/{id}:retry': {
    post: verb(
      'retryJob',
      'Send a failed job on its way again',
      'Needs `set`; `admin` for jobs made with it. It keeps its place in the order.',
      jsonBody(retryOne, { retry: { summary: 'As it was', value: {} } }, false),
      jsonAnswer('The job, open again', job, {
        open: { summary: 'Open', value: { ...jobExamples.open, attempts: 1, reopened: 1, reopenedBy: 'you' } },
      }),
      errorAnswers('problem', [
        ...verbErrors,
        ...(['field_type', 'job_not_failed', 'secret_destroyed', 'permission_missing', 'quarantined'] as const),
      ]),
    ),
  },
  '/jobs/{id}:drop': {
    post: verb(
      'dropJob',
      'Give a failed job up, or one that waits for a person',
      'Needs `set`; `admin` for jobs made with it and for those that wait for a person. The sealed password goes at once.',
      whyBody,
      jsonAnswer('The job, with who and why', job, {
        dropped: { summary: 'Given up', value: jobExamples.dropped },
      }),
      errorAnswers('problem', [
        ...verbErrors,
        ...(['reason_invalid', 'job_not_failed', 'permission_missing', 'job_not_quarantined'] as const),
      ]),
    ),
  },
  '/jobs/{id}:release': {
    post: verb(
      'releaseJob',
      'Let a job run again that crashed its worker',
      'Needs `admin`. It runs alone; after three more crashes it is held again.',
      whyBody,
      jsonAnswer('The job, open', job, { open: { summary: 'Open', value: jobExamples.open } }),
      errorAnswers('problem', [
        ...verbErrors,
        ...(['reason_invalid', 'job_not_quarantined', 'secret_destroyed'] as const),
      ]),
    ),
  },
  '/jobs:retry': {
    post: operation({
      id: 'retryJobs',
      tag,
      summary: 'Send all failed jobs that match on their way again',
      description: 'Needs `set`. Page by page: go on with `next`.',
      parameters: [parameter('organization')],
      body: jsonBody(
        retryMany,
        { reason: { summary: 'By reason', value: { org: sample.org, reason: 'COMMAND-G8dh3' } } },
        false,
      ),
      answers: {
        200: jsonAnswer('What was done', retried, {
          page: {
            summary: 'A page',
            value: {
              ...{ matched: 100, retried: 98, skipped: { secret_destroyed: 2 } },
              next: `1795600949350-${sample.jobId}`,
            },
          },
        }),
        ...errorAnswers('problem', [
          ...filterErrors,
          ...bodyErrors,
          ...tokenErrors,
          ...orgErrors,
          ...infrastructureErrors,
        ]),
        ...slowBody(),
      },
    }),
  },
};
