import { z } from 'zod';
import { everyOrg } from '../../ledger/stages.ts';
import { stageNames } from '../../stage.ts';
import { type Condition, conditionNames } from '../stages/conditions.ts';
import type { StagePlan, StageView } from '../stages/desk.ts';
import { bodyErrors, errorAnswers, infrastructureErrors, problemSchema, slowBody, tokenErrors } from './errors.ts';
import { pathParameter, queryParameter } from './headers.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, sample, spokenReason, text, time } from './schema.ts';

const tag = 'stages';
const stage = z.enum(stageNames);
const backend = z.enum(['v1', 'v2']);
const percent = z.int().min(0).max(99);

const viewFields = {
  org: orgId.meta({ description: '`*`: all that have no setting of their own' }),
  stage: stage.nullable().meta({ description: 'Null: nobody tells' }),
  percent: percent.meta({ description: 'Of its users, those on the next stage already: always the same ones first' }),
  next: stage.nullable(),
  version: count.meta({ description: 'Goes up with each change; 0: by configuration' }),
  since: time.nullable(),
  by: text.exactOptional(),
  forced: text.exactOptional().meta({ description: 'Why the step was forced' }),
  from: z.enum(['organization', 'default', 'configuration', 'forged', 'unknown']),
  leads: backend.nullable().meta({ description: 'Decides the outcome: logins go there' }),
  follows: backend.nullable().meta({ description: 'Is kept in step' }),
  draining: z.object({ leases: count, endsInMs: count }).meta({
    description: 'Writes that still go by an older setting, and until when at most, ms. Of `*`: of all that go by it',
  }),
  divergence: z
    .object({ count, byCause: z.record(z.string(), count) })
    .meta({ description: 'Users who are not in step: exact; by cause of the first thousand' }),
  back: z.object({ to: stage.nullable(), people: count.nullable() }).meta({
    description:
      'What one step back would cost: people who would lose a newer password; null: nobody has looked. `to` null: no way back',
  }),
} satisfies Fields<StageView>;
const view = name('Stage', z.object(viewFields));
const condition = name(
  'StageCondition',
  z.object({
    condition: z.enum(conditionNames),
    holds: z.boolean(),
    why: text.meta({ description: 'What was found' }),
    todo: text.meta({ description: 'What to do; empty when it holds' }),
    forcible: z.boolean().meta({ description: '`force` with a reason goes over it' }),
  } satisfies Fields<Condition>),
);
const plan = name(
  'StagePlan',
  z.object({
    now: view,
    asked: z.object({ stage, percent }),
    possible: z.boolean().meta({ description: 'All conditions hold' }),
    forcible: z.boolean().meta({ description: 'It is possible with `force` and a reason' }),
    conditions: z.array(condition),
  } satisfies Fields<StagePlan>),
);
const list = name('Stages', z.object({ stages: z.array(view).max(200), next: text.exactOptional() }));
const body = name(
  'StageRequest',
  z.strictObject({
    stage,
    percent: percent.exactOptional().meta({ description: 'Default 0' }),
    force: z.boolean().exactOptional().meta({ description: 'Goes over what is forcible; with a reason' }),
    reason: spokenReason.exactOptional(),
    writersStopped: z
      .boolean()
      .exactOptional()
      .meta({ description: 'Nothing else writes v1: in place of a scan without a difference; with a reason' }),
    confirm: z.literal('final').exactOptional().meta({ description: 'v2 is final, and whoever asks knows it' }),
    version: count.exactOptional().meta({ description: 'The version that was seen; another one: `stage_changed`' }),
  }),
);
const answer = name(
  'StageSet',
  z.object({ ...viewFields, overruled: z.array(z.enum(conditionNames)).meta({ description: 'Gone over by force' }) }),
);
const refusal = name(
  'StageProblem',
  problemSchema.extend({
    conditions: z.array(condition).exactOptional().meta({ description: 'With `stage_refused`: all that do not hold' }),
  }),
);

const example = {
  ...{
    org: sample.org,
    stage: 'dual-v1',
    percent: 0,
    next: 'dual-v2',
    version: 2,
    since: sample.acceptedAt,
    by: 'you',
  },
  ...{ from: 'organization', leads: 'v1', follows: 'v2', draining: { leases: 0, endsInMs: 0 } },
  ...{ divergence: { count: 1, byCause: { user_missing_in_v2: 1 } }, back: { to: 'v1', people: 0 } },
};
const open = {
  ...{
    condition: 'nobody_behind',
    holds: false,
    why: `Users whose newest password is missing in v2: ${sample.org} (1).`,
  },
  ...{ todo: '`passferry divergence list`, repair the causes, `passferry divergence redrive`.', forcible: true },
};
const oneOrg = pathParameter('org', orgId, sample.org);
const orgErrors = ['AUTHZ-cdgFk', 'AUTH-5mWD2', 'org_not_granted', 'org_id_invalid', 'field_type'] as const;
const description = `Needs \`read\` or \`migrate\` in the organization, or \`operate\`; of the default (\`${everyOrg}\`) \`operate\`.`;
const readErrors = [...tokenErrors, ...orgErrors, ...infrastructureErrors];

export const stagePaths: Paths = {
  '/stages': {
    get: operation({
      id: 'listStages',
      tag,
      summary: 'Where organizations stand on their way from v1 to v2',
      description:
        'All that the caller may see: those with `read` or `migrate`, with `operate` every one that is known, and the default.',
      parameters: [queryParameter('cursor', text.max(400), '`next` of the answer before', sample.org)],
      answers: {
        200: jsonAnswer('By id, 200 at most', list, { one: { summary: 'One', value: { stages: [example] } } }),
        ...errorAnswers('problem', [...tokenErrors, 'field_type', ...infrastructureErrors]),
      },
    }),
  },
  '/stages/{org}': {
    get: operation({
      id: 'getStage',
      tag,
      summary: 'Where one stands',
      description,
      parameters: [oneOrg],
      answers: {
        200: jsonAnswer('Now', view, { one: { summary: 'v1 leads, v2 is kept in step', value: example } }),
        ...errorAnswers('problem', readErrors),
      },
    }),
    put: operation({
      id: 'setStage',
      tag,
      summary: 'One step, or a percentage of it',
      description: `Needs \`migrate\` in the organization, or \`operate\`; for the default (\`${everyOrg}\`) \`operate\`. Refused with every condition that does not hold; what is so already changes nothing.`,
      parameters: [oneOrg],
      body: jsonBody(body, {
        step: { summary: 'One step', value: { stage: 'dual-v1' } },
        some: { summary: 'A tenth of its users first', value: { stage: 'dual-v1', percent: 10, version: 2 } },
        forced: { summary: 'Back, whatever it costs', value: { stage: 'dual-v1', force: true, reason: 'v2 is slow' } },
      }),
      answers: {
        200: jsonAnswer('Set: every start of a job goes by it from now on', answer, {
          set: { summary: 'Set', value: { ...example, overruled: [] } },
        }),
        ...errorAnswers(
          'problem',
          [...readErrors, ...bodyErrors, 'option_unknown', 'reason_invalid', 'stage_changed', 'stage_refused'],
          {
            schema: refusal,
            fields: (reason) => (reason === 'stage_refused' ? { conditions: [open] } : {}),
          },
        ),
        ...slowBody(),
      },
    }),
  },
  '/stages/{org}:plan': {
    get: operation({
      id: 'planStage',
      tag,
      summary: 'Every condition of a step; nothing is changed',
      description,
      parameters: [
        oneOrg,
        { ...queryParameter('stage', stage, 'Where to', 'dual-v2'), required: true },
        queryParameter('percent', percent, 'Of its users to the one after that', 10),
        queryParameter('writersStopped', z.enum(['true', 'false']), 'As it would be said', 'false'),
        queryParameter('confirm', z.literal('final'), 'As it would be said', 'final'),
      ],
      answers: {
        200: jsonAnswer('Those that hold, too', plan, {
          no: {
            summary: 'Somebody is behind',
            value: {
              now: example,
              asked: { stage: 'dual-v2', percent: 0 },
              possible: false,
              forcible: true,
              conditions: [open],
            },
          },
        }),
        ...errorAnswers('problem', readErrors),
      },
    }),
  },
};
