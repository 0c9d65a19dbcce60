import { z } from 'zod';
import type { ImportPlan } from '../import-plan.ts';
import { errorAnswers, infrastructureErrors, orgErrors, tokenErrors } from './errors.ts';
import { parameter, queryParameter } from './headers.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, sample, text, time } from './schema.ts';

const plan = name(
  'ImportPlan',
  z
    .object({
      rows: count.nullable(),
      org: orgId,
      backend: z.enum(['v1', 'v2']).nullable(),
      rowsPerSecond: z.number().nullable().meta({ description: 'At most, with the workers for itself' }),
      limitedBy: z.enum(['hashing', 'backend_rate', 'rate']).nullable().meta({ description: 'What sets that limit' }),
      coreHours: z.number().nullable().meta({ description: 'Of one core, for its hashes' }),
      seconds: count.nullable().meta({ description: 'With the other imports that run now' }),
      endsAt: time.nullable(),
      mails: z
        .literal(0)
        .nullable()
        .meta({ description: '0: the backend sends none; null: asked before the first row' }),
      reason: text.meta({ description: 'Why it would not begin now: a name of `advice`' }).exactOptional(),
    } satisfies Fields<ImportPlan>)
    .meta({ description: 'Null: nobody can know now' }),
);

export const importPlanPaths: Paths = {
  '/imports:plan': {
    get: operation({
      id: 'planImport',
      tag: 'imports',
      summary: 'How long an import would take',
      description:
        'Needs `import`. From what workers say: the cost of a hash, timed at their start, their limits, and the imports that run now. Nothing is begun.',
      parameters: [
        queryParameter('rows', z.int().min(0).max(1_000_000_000), 'How many rows it has', 200_000),
        queryParameter('rate', z.number().min(0.01), 'Its own limit, rows a second', 20),
        queryParameter('hashHere', z.enum(['true', 'false']), 'Workers would hash for the backend', 'true'),
        queryParameter('hashCost', z.int().min(10).max(16), 'With `hashHere`: the cost of bcrypt. Default 12', 12),
        parameter('organization'),
      ],
      answers: {
        200: jsonAnswer('What is known now', plan, {
          hashing: {
            summary: 'v1, which hashes here',
            value: {
              ...{ rows: 200_000, org: sample.org, backend: 'v1', rowsPerSecond: 15.6, limitedBy: 'hashing' },
              ...{ coreHours: 14.2, seconds: 12_821, endsAt: sample.expiresAt, mails: 0 },
            },
          },
        }),
        ...errorAnswers('problem', [
          ...tokenErrors,
          ...orgErrors,
          'field_type',
          'options_contradict',
          ...infrastructureErrors,
        ]),
      },
    }),
  },
};
