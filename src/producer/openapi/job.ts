import { z } from 'zod';
import { type Code, codes } from '../../errors.ts';
import type { JobView, Result, ToldOutcome } from '../../job.ts';
import { code, reason } from './errors.ts';
import { count, type Fields, jobId, name, orgId, runId, sample, text, time, userId } from './schema.ts';
import { details } from './v1.ts';

const results = ['set', 'unchanged', 'superseded', 'stale', 'mirrored', 'link_sent'] as const satisfies Result[];
const backend = z.enum(['v1', 'v2']).exactOptional();
const inEffect = z.boolean().meta({ description: 'The password that was sent is the one in force' });

type Ended = Extract<ToldOutcome, { result: Result }>;
type Failed = Extract<ToldOutcome, { code: Code }>;

const outcome = name(
  'Outcome',
  z
    .union([
      z.object({
        result: z.enum(results),
        inEffect,
        backend,
        details: details.exactOptional(),
        assumed: z.boolean().exactOptional().meta({ description: 'v2: settled by reading after a lost answer' }),
      } satisfies Fields<Ended>),
      z.object({ code, reason, message: text, inEffect, backend } satisfies Fields<Failed>),
    ])
    .meta({ description: 'How a job ended: well with a result, badly with a code and a reason' }),
);

/** State by itself, for parameters. */
export const jobStates = ['waiting', 'active', 'delayed', 'completed', 'failed'] as const;

export const job = name(
  'Job',
  z
    .object({
      id: jobId,
      state: z.enum(jobStates),
      done: z.boolean().meta({ description: 'There is an outcome' }),
      user: userId,
      org: orgId,
      run: runId.exactOptional(),
      row: z.int().min(1).exactOptional(),
      acceptedAt: time,
      expiresAt: time,
      finishedAt: time.exactOptional(),
      attempts: count.meta({ description: 'How often something was sent to a backend' }),
      waitingFor: reason.exactOptional(),
      ended: z
        .enum([...results, ...(Object.keys(codes) as Code[])])
        .exactOptional()
        .meta({ description: 'How it ended in one word, the result or code of `outcome`' }),
      outcome: outcome.exactOptional(),
      retryUntil: time.exactOptional(),
      reopened: count.exactOptional(),
      reopenedBy: text.exactOptional(),
      overwriteNewerBy: text.exactOptional(),
      dropped: z.object({ by: text, reason: text }).exactOptional(),
    } satisfies Fields<JobView>)
    .meta({ description: 'A stored request, on its way to one outcome' }),
);

const { jobId: id, user, org, acceptedAt, expiresAt, finishedAt } = sample;
const common = { id, user, org, acceptedAt, expiresAt };
const open = { ...common, state: 'waiting', done: false, attempts: 0 };
const failed = { code: 'failed_precondition', reason: 'COMMAND-G8dh3', message: 'Password not found' };
const cancelled = { code: 'canceled', reason: 'job_canceled', message: 'The job was cancelled before it began.' };

/** A job in each of its states. */
export const jobExamples = {
  open,
  held: { ...open, waitingFor: 'quarantined' },
  set: {
    ...common,
    ...{ state: 'completed', done: true, finishedAt, attempts: 1, ended: 'set' },
    outcome: {
      ...{ result: 'set', inEffect: true, backend: 'v1' },
      details: { sequence: '7', changeDate: finishedAt, resourceOwner: org },
    },
  },
  failed: {
    ...common,
    ...{ state: 'failed', done: true, finishedAt, attempts: 1, ended: failed.code, retryUntil: expiresAt },
    outcome: { ...failed, inEffect: false, backend: 'v1' },
  },
  dropped: {
    ...common,
    ...{ state: 'failed', done: true, finishedAt, attempts: 1, ended: failed.code },
    outcome: { ...failed, inEffect: false, backend: 'v1' },
    dropped: { by: 'you', reason: 'left' },
  },
  cancelled: {
    ...common,
    ...{ state: 'failed', done: true, finishedAt, attempts: 0, ended: cancelled.code },
    outcome: { ...cancelled, inEffect: false },
  },
};
