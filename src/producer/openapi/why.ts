import { z } from 'zod';
import { advise } from '../advice.ts';
import type { Busy, LastApplied, UserJob, Why } from '../why.ts';
import { errorAnswers } from './errors.ts';
import { queryParameter } from './headers.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { count, type Fields, jobId, name, orgId, runId, sample, text, time, userId } from './schema.ts';
import { adviceSchema, backend, orgParameters, orgQueryErrors } from './status.ts';

const tag = 'status';

const busy = name('AtUser', z.object({ by: text, until: time } satisfies Fields<Busy>));
const applied = name(
  'LastApplied',
  z.object({
    backend,
    leads: z.boolean(),
    job: text,
    sequence: text,
    at: time.nullable(),
    by: text.exactOptional().meta({ description: 'The caller; absent when the job is no longer kept' }),
    run: runId.exactOptional(),
  } satisfies Fields<LastApplied>),
);
const userJob = name(
  'UserJob',
  z.object({
    id: jobId,
    sequence: text,
    by: text,
    acceptedAt: time,
    expiresAt: time,
    attempts: count,
    waitingFor: text.exactOptional(),
    quarantinedAt: time.exactOptional(),
    finishedAt: time.exactOptional(),
    ended: text.exactOptional(),
    reason: text.exactOptional(),
    retryUntil: time.exactOptional(),
  } satisfies Fields<UserJob>),
);
const why = name(
  'Why',
  z.object({
    user: userId,
    org: orgId,
    known: z.boolean().meta({ description: 'Anything at all is on record' }),
    stage: text.nullable(),
    leads: backend.nullable(),
    applied: z.array(applied).max(2),
    ahead: z.enum(['v1', 'v2', 'equal']).nullable().meta({ description: 'Where our newest change is; null: nowhere' }),
    forged: z.array(backend),
    lease: busy.exactOptional().meta({ description: 'A start has the user now' }),
    attempt: busy.exactOptional().meta({ description: 'Something was sent and is not settled' }),
    repair: z.object({ backend, since: time }).exactOptional(),
    divergence: z
      .object({ backend, cause: text, since: time, tries: count, nextTry: time.exactOptional() })
      .exactOptional()
      .meta({ description: 'This backend has not the newest password; without `nextTry` it waits for somebody' }),
    open: z.array(userJob).max(10),
    openCount: count,
    failed: z.array(userJob).max(5),
    latest: userJob.exactOptional().meta({ description: 'The newest one that has ended' }),
    next: adviceSchema,
  } satisfies Fields<Why>),
);

const job = {
  ...{ id: sample.jobId, sequence: '1795600949350123', by: 'you', attempts: 1 },
  ...{ acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
};

export const whyPaths: Paths = {
  '/why': {
    get: operation({
      id: 'why',
      tag,
      summary: 'Where the password of a user stands, and what is next',
      description: 'Needs `read`. From the ledger alone: no backend is asked. Rows of imports are not among the jobs.',
      parameters: [{ ...queryParameter('user', userId, 'Whose', sample.user), required: true }, ...orgParameters],
      answers: {
        200: jsonAnswer('What is known; a user that was never seen is `known: false`', why, {
          set: {
            summary: 'All is well',
            value: {
              ...{ user: sample.user, org: sample.org, known: true, stage: 'v1', leads: 'v1', ahead: 'v1', forged: [] },
              applied: [
                { backend: 'v1', leads: true, job: job.id, sequence: job.sequence, at: sample.finishedAt, by: 'you' },
              ],
              ...{ open: [], openCount: 0, failed: [] },
              latest: { ...job, finishedAt: sample.finishedAt, ended: 'set' },
              next: advise('in_order'),
            },
          },
          never: {
            summary: 'Never seen',
            value: {
              ...{ user: sample.otherUser, org: sample.org, known: false, stage: 'v1', leads: 'v1', ahead: null },
              ...{ applied: [], forged: [], open: [], openCount: 0, failed: [], next: advise('never_seen') },
            },
          },
        }),
        ...errorAnswers('problem', [...orgQueryErrors, 'user_id_missing', 'user_id_invalid']),
      },
    }),
  },
};
