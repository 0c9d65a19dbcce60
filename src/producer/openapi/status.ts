import { z } from 'zod';
import { queueNames } from '../../job.ts';
import type { QueueDepth } from '../../ledger/queue-depth.ts';
import { type Advice, type AdviceName, advice, advise } from '../advice.ts';
import type { BackendHealth } from '../backend-health.ts';
import type { InstallationStatus, OrgStatus, Problem, Status, WorkerStatus } from '../status.ts';
import { errorAnswers, infrastructureErrors, tokenErrors } from './errors.ts';
import { parameter, queryParameter } from './headers.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, sample, text, time } from './schema.ts';

const tag = 'status';
export const backend = z.enum(['v1', 'v2']);
const ms = count.meta({ description: 'ms' });
const problems = Object.keys(advice) as [AdviceName, ...AdviceName[]];
const health = z.enum(['ok', 'slow', 'down', 'held', 'unknown']);
const reason = text.meta({ description: 'A name of `advice`, where it is one' });
const waits = ms.nullable().meta({ description: 'Until a new single job has its turn, ms; null: nobody can know now' });

const adviceFields = { problem: z.enum(problems), what: text, todo: text } satisfies Fields<Advice>;
export const adviceSchema = name(
  'Advice',
  z.object(adviceFields).meta({ description: 'Decide by `problem`: what is wrong and what to do are for people' }),
);
const problem = name(
  'StatusProblem',
  z.object({ ...adviceFields, backend: backend.exactOptional() } satisfies Fields<Problem>),
);

const org = name(
  'OrgStatus',
  z.object({
    id: orgId,
    stage: text.nullable().meta({ description: 'Null: nobody tells' }),
    percent: count.meta({ description: 'Of its users, those on the next stage already' }),
    backend: backend.nullable().meta({ description: 'Which one decides its outcomes; null: no worker tells' }),
    health,
    reason: reason.exactOptional(),
    open: count.meta({ description: 'Open jobs that were asked for one by one' }),
    failed: count,
    quarantined: count,
    draining: count.meta({ description: 'Writes that still go by an older stage' }),
    notInStep: count.meta({ description: 'Users whose other backend has not their newest password' }),
    lasting: count.meta({ description: 'Of them those who are not just on their way; of the first thousand' }),
    expectedWaitMs: waits,
  } satisfies Fields<OrgStatus>),
);

const depth = name(
  'QueueDepth',
  z.object({
    waiting: count,
    active: count,
    delayed: count,
    oldestMs: ms.nullable().meta({ description: 'Age of the oldest that waits, ms, at least; null: none waits' }),
  } satisfies Fields<QueueDepth>),
);
const ended = z.object({ last1m: count, last5m: count }).meta({ description: 'Within the last one and five minutes' });

const lane = name(
  'BackendHealth',
  z.object({
    backend,
    health,
    reason: reason.exactOptional(),
    hold: z.object({ by: text, at: time, reason: text }).exactOptional(),
    retryInMs: ms.exactOptional(),
    inside: count,
    room: count,
    limit: count,
    workers: count,
    lastOkMs: ms.nullable().meta({ description: 'Since it answered well, ms; null: not since the workers started' }),
  } satisfies Fields<BackendHealth>),
);
const worker = name(
  'WorkerStatus',
  z.object({
    id: text,
    kind: z.enum(['worker', 'quarantine']),
    version: text,
    since: time,
    ready: z.boolean(),
    healthy: z.boolean(),
    stuckForMs: ms,
    ended,
  } satisfies Fields<WorkerStatus>),
);
const queues = z.object(
  Object.fromEntries(Object.keys(queueNames).map((each) => [each, depth])) as Record<
    keyof typeof queueNames,
    typeof depth
  >,
);
const installation = name(
  'InstallationStatus',
  z.object({
    open: count,
    retriable: count,
    repairs: count,
    queues,
    ended,
    expectedWaitMs: waits,
    backends: z.array(lane),
    workers: z.array(worker).max(50),
    workersAlive: count,
  } satisfies Fields<InstallationStatus>),
);
const status = name(
  'Status',
  z.object({
    healthy: z.boolean().meta({ description: 'There is no problem' }),
    at: time,
    problems: z.array(problem),
    org: org.exactOptional().meta({ description: 'With `read` in it' }),
    installation: installation.exactOptional().meta({ description: 'With `operate`' }),
  } satisfies Fields<Status>),
);

const none = { waiting: 0, active: 0, delayed: 0, oldestMs: null };
const orgExample = {
  ...{ id: sample.org, stage: 'v1', percent: 0, backend: 'v1', health: 'ok' },
  ...{ open: 0, failed: 0, quarantined: 0, draining: 0, notInStep: 0, lasting: 0, expectedWaitMs: 0 },
};
const held = { by: 'you', at: sample.acceptedAt, reason: 'upgrade' };
const ends = { last1m: 40, last5m: 190 };
const lanes = [
  { backend: 'v1', health: 'ok', inside: 2, room: 4, limit: 4, workers: 1, lastOkMs: 20 },
  {
    backend: 'v2',
    health: 'held',
    reason: 'held',
    hold: held,
    inside: 0,
    room: 8,
    limit: 8,
    workers: 1,
    lastOkMs: 9_000,
  },
];
const orgErrors = ['AUTHZ-cdgFk', 'AUTH-5mWD2'] as const;
export const orgQueryErrors = [
  ...tokenErrors,
  ...orgErrors,
  ...infrastructureErrors,
  'field_type',
  'org_id_invalid',
] as const;
export const orgParameters = [
  queryParameter('org', orgId, "Default: `x-zitadel-orgid`, else the caller's home", sample.org),
  parameter('organization'),
];

export const statusPaths: Paths = {
  '/status': {
    get: operation({
      id: 'getStatus',
      tag,
      summary: 'Is everything well? What is slow, why, and what to do',
      description:
        '`read` in the organization tells what concerns it; `operate` with `*` what concerns all, and no organization by name.',
      parameters: orgParameters,
      answers: {
        200: jsonAnswer('As it was within the last second', status, {
          reader: {
            summary: 'For who may read an organization',
            value: { healthy: true, at: sample.acceptedAt, problems: [], org: orgExample },
          },
          operator: {
            summary: 'For who operates: v2 is held',
            value: {
              ...{ healthy: false, at: sample.acceptedAt },
              problems: [{ ...advise('held', { backend: 'v2' }), backend: 'v2' }],
              installation: {
                ...{ open: 2, retriable: 0, repairs: 0, ended: ends, expectedWaitMs: 0, backends: lanes },
                queues: { interactive: { ...none, delayed: 2, oldestMs: 4_200 }, rows: none, quarantine: none },
                workers: [
                  {
                    ...{ id: 'e2a9', kind: 'worker', version: '0.1.0', since: sample.acceptedAt, ready: true },
                    ...{ healthy: true, stuckForMs: 0, ended: ends },
                  },
                ],
                workersAlive: 1,
              },
            },
          },
        }),
        ...errorAnswers('problem', orgQueryErrors),
      },
    }),
  },
};
