import { z } from 'zod';
import { migrationModes } from '../../migration.ts';
import type { MigrationView } from '../../run.ts';
import {
  type AnyReason,
  bodyErrors,
  errorAnswers,
  infrastructureErrors,
  problemSchema,
  slowBody,
  tokenErrors,
} from './errors.ts';
import { evidence } from './evidence.ts';
import { headers, parameter, pathParameter, queryParameter } from './headers.ts';
import { row, run } from './import-schemas.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, refTo, runId, sample, text, time } from './schema.ts';

const tag = 'migrations';
const counts = z.record(z.string(), count);
const rate = z.number().min(0.01).max(100_000).meta({ description: 'Users a second, at most' });
const concurrency = z.int().min(1).max(10_000).meta({ description: 'Users at work at once, at most' });
const hours = z
  .string()
  .meta({ description: 'Only in these hours, in UTC or with an offset: `22:00-06:00`, `22:00-06:00+02:00`' });

const migration = name(
  'Migration',
  run
    .extend({
      mirrored: count.meta({ description: 'Users who were brought in step' }).exactOptional(),
      wouldMirror: count.meta({ description: 'Of a plan: users who would be' }).exactOptional(),
      equal: count.meta({ description: 'Of a reconcile: equal on both sides' }).exactOptional(),
      differs: count.meta({ description: 'Of a reconcile: those that are not' }).exactOptional(),
      migration: z
        .object({
          mode: z.enum(migrationModes),
          verdicts: counts.meta({ description: 'Users by what became of them, or would' }),
          organizations: z.record(z.string(), counts).meta({ description: 'The same by organization' }),
          hashes: counts.meta({ description: 'Hashes in v1 by kind and cost; of a plan and a reconcile' }),
          states: counts.meta({ description: 'States that deserve a look' }),
          leftOut: counts.meta({ description: 'Rows of v1 that are no users to go on with' }),
          probes: z
            .record(z.string(), z.enum(['works', 'fails', 'not_tried']))
            .meta({
              description: 'What a login with a hash of each kind and cost came to, before the first was written',
            })
            .exactOptional(),
          forecast: z
            .object({
              users: count,
              mails: count,
              seconds: count.exactOptional(),
              limitedBy: z.enum(['rate', 'backend_rate', 'concurrency']).exactOptional(),
            })
            .meta({ description: 'Of a plan: what it would come to' })
            .exactOptional(),
        })
        .exactOptional(),
    } satisfies Fields<MigrationView>)
    .meta({ description: 'The users of v1, and what became of them; counters are exact' }),
);
const list = name(
  'Migrations',
  z.object({
    migrations: z.array(migration),
    next: text.meta({ description: '`cursor` of the next page' }).exactOptional(),
  }),
);
const body = name(
  'MigrationRequest',
  z.strictObject({
    mode: z.enum(migrationModes).default('plan'),
    organizations: z.array(orgId).min(1).max(1_000).exactOptional(),
    allGranted: z.literal(true).meta({ description: 'In place of `organizations`' }).exactOptional(),
    create: z.boolean().meta({ description: 'Add users who are missing in v2' }).exactOptional(),
    repair: z.boolean().meta({ description: 'A reconcile: who is behind is brought in step' }).exactOptional(),
    mails: z
      .literal('allow')
      .meta({ description: 'v2 may mail users that their password was changed' })
      .exactOptional(),
    rate: rate.exactOptional(),
    concurrency: concurrency.exactOptional(),
    window: hours.exactOptional(),
    notBefore: time.exactOptional(),
    maxFailures: z.int().min(1).meta({ description: 'Holds from so many on' }).exactOptional(),
    maxLatencyMs: z
      .int()
      .min(1)
      .meta({ description: 'Holds while the slowest twentieth of changes takes longer; default 5,000' })
      .exactOptional(),
    expiresIn: z.int().min(1).meta({ description: 'Seconds; default 3 days' }).exactOptional(),
  }),
);
const refused = name(
  'MigrationRefused',
  problemSchema
    .extend({
      migration: runId
        .meta({ description: 'Of `migration_open`: the one that is open, if you may see it' })
        .exactOptional(),
    })
    .meta({ description: 'RFC 9457, and what is in the way' }),
);
const tuning = name(
  'MigrationTuning',
  z
    .strictObject({
      rate: rate.nullable().exactOptional(),
      concurrency: concurrency.nullable().exactOptional(),
      window: hours.nullable().exactOptional(),
    })
    .meta({ description: 'At least one; null takes a limit away' }),
);

const zeros = { linkSent: 0, unchanged: 0, superseded: 0, stale: 0, failed: 0, expired: 0, canceled: 0, set: 0 };
const running = {
  ...{ id: sample.runId, org: sample.org, caller: 'you', state: 'running', received: 3, rejected: 0, accepted: 3 },
  ...{ inflight: 0, finished: 1, ...zeros, notInEffect: 2, mirrored: 1 },
  migration: {
    ...{ mode: 'execute', verdicts: { mirrored: 1 }, organizations: { [sample.org]: { mirrored: 1 } } },
    ...{ hashes: {}, states: {}, leftOut: {} },
  },
  options: {
    ...{ format: 'migration', changeRequired: false, overwriteNewer: false },
    migration: { mode: 'execute', orgs: [sample.org] },
  },
  ...{ acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
};
const reject = {
  ...{ row: 2, line: 2, userId: sample.user, org: sample.org, job: `${sample.runId}-2`, done: true },
  ...{ code: 'not_found', reason: 'user_missing_in_v2', message: 'The organization has no such user in v2.' },
  ...{ advice: 'Add the user, or migrate with --create; or correct the map of ids.', inEffect: false },
};
const oneRun = pathParameter('id', runId, sample.runId);
const needs = 'Needs `read` or `migrate` in each of its organizations.';
const seenErrors: AnyReason[] = [...tokenErrors, 'run_unknown', ...infrastructureErrors];

const verb = (
  id: string,
  summary: string,
  description: string,
  more: object = {},
  errors: AnyReason[] = [],
  others: object = {},
) => ({
  post: operation({
    ...{ id, tag, summary, description: `Needs \`migrate\` in each of its organizations. ${description}` },
    ...{ parameters: [oneRun], ...more },
    answers: {
      200: jsonAnswer('The migration as it is now', migration, { now: { summary: 'Done', value: running } }),
      ...errorAnswers('problem', [...seenErrors, ...(['AUTHZ-cdgFk', 'AUTH-5mWD2', 'run_ended'] as const), ...errors]),
      ...others,
    },
  }),
});

export const migrationPaths: Paths = {
  '/migrations': {
    get: operation({
      id: 'listMigrations',
      tag,
      summary: 'Migrations of an organization',
      description: 'Needs `read` or `migrate`. The newest first, those whose organizations are all granted.',
      parameters: [
        queryParameter('limit', z.int().min(1).max(200).default(50), 'How many', 50),
        queryParameter('cursor', z.string(), '`next` of the page before', '1795600949350'),
        parameter('organization'),
      ],
      answers: {
        200: jsonAnswer('A page of them', list, { list: { summary: 'One', value: { migrations: [running] } } }),
        ...errorAnswers('problem', [
          ...tokenErrors,
          ...(['AUTHZ-cdgFk', 'AUTH-5mWD2', 'field_type', 'cursor_invalid'] as const),
          ...infrastructureErrors,
        ]),
      },
    }),
    post: operation({
      id: 'migrate',
      tag,
      summary: 'Bring the users of v1 to v2, or plan it, or compare',
      description:
        'Needs `migrate` in each organization. `plan` and `reconcile` only read. A worker reads the users of v1; the answer comes when it is stored that it shall.',
      parameters: [parameter('organization'), parameter('idempotencyKey')],
      body: jsonBody(body, {
        plan: { summary: 'What would come of it', value: { mode: 'plan', organizations: [sample.org] } },
      }),
      answers: {
        202: jsonAnswer(
          'It has begun',
          migration,
          { running: { summary: 'On its way', value: { ...running, state: 'receiving' } } },
          ...(['Location', 'Idempotency-Key'] as const),
        ),
        ...errorAnswers(
          'problem',
          [
            ...bodyErrors,
            ...(['field_type', 'option_unknown', 'options_contradict', 'org_id_invalid', 'expires_invalid'] as const),
            ...(['org_not_granted', 'idempotency_key_invalid', 'idempotency_key_reused', 'migration_open'] as const),
            ...(['stage_not_dual', 'hash_unreadable', 'backend_missing', 'ability_missing', 'accept_unknown'] as const),
            ...tokenErrors,
            ...infrastructureErrors,
          ],
          {
            ...{ headers: ['Idempotency-Key', 'Location'], schema: refused },
            fields: (reason) => (reason === 'migration_open' ? { migration: sample.runId } : {}),
          },
        ),
        ...slowBody(),
      },
    }),
  },
  '/migrations/{id}': {
    get: operation({
      id: 'getMigration',
      tag,
      summary: 'Read a migration',
      description: `${needs} \`Prefer: wait=n\` waits until it is over or, with \`If-None-Match\`, until anything has changed.`,
      parameters: [oneRun, parameter('prefer'), parameter('ifNoneMatch')],
      answers: {
        200: jsonAnswer(
          'The migration as it is now',
          migration,
          { running: { summary: 'On its way', value: running } },
          ...(['ETag', 'Retry-After', 'Preference-Applied'] as const),
        ),
        304: { description: 'As it is known', headers: headers('ETag', 'Retry-After', 'Preference-Applied') },
        ...errorAnswers('problem', [...seenErrors, 'prefer_invalid']),
      },
    }),
  },
  '/migrations/{id}/rejects': {
    get: operation({
      id: 'getMigrationRejects',
      tag,
      summary: 'Read who could not be brought over, and why',
      description: `${needs} Streamed, in the order of v1.`,
      parameters: [oneRun],
      answers: {
        200: {
          description: 'NDJSON: each line as the schema says',
          content: {
            'application/x-ndjson': { schema: refTo(row), examples: { line: { summary: 'One line', value: reject } } },
          },
        },
        ...errorAnswers('problem', [...seenErrors, 'field_type']),
      },
    }),
  },
  '/migrations/{id}/evidence': {
    get: operation({
      id: 'getMigrationEvidence',
      tag,
      summary: 'Read the signed record of a migration',
      description: needs,
      parameters: [oneRun],
      answers: {
        200: jsonAnswer('The record as of now', evidence, {}),
        ...errorAnswers('problem', seenErrors),
      },
    }),
  },
  '/migrations/{id}:pause': verb('pauseMigration', 'Pause', 'Nobody further begins.'),
  '/migrations/{id}:resume': verb(
    'resumeMigration',
    'Go on',
    'Also from a hold, whose reason is overruled.',
    { parameters: [oneRun, queryParameter('mails', z.enum(['allow']), 'v2 may mail users', 'allow')] },
    ['field_type'],
  ),
  '/migrations/{id}:cancel': verb('cancelMigration', 'Cancel', 'Who was brought over stays so.'),
  '/migrations/{id}:tune': verb(
    'tuneMigration',
    'Other limits from now on',
    'What is not named stays.',
    { body: jsonBody(tuning, { rate: { summary: 'Half as fast', value: { rate: 50 } } }) },
    [...bodyErrors, ...(['field_type', 'option_unknown'] as const)],
    slowBody(),
  ),
};
