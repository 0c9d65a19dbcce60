import { z } from 'zod';
import { type HoldReason, holdReasons, type RunView, runStates } from '../../run.ts';
import { type AnyReason, code, errorAnswers, infrastructureErrors, orgErrors, reason, tokenErrors } from './errors.ts';
import { parameter, pathParameter, queryParameter } from './headers.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, refTo, runId, sample, text, time } from './schema.ts';

const tag = 'imports';

const run = name(
  'Import',
  z
    .object({
      id: runId,
      org: orgId,
      caller: text,
      state: z.enum(runStates),
      reason: z
        .enum(Object.keys(holdReasons) as [HoldReason, ...HoldReason[]])
        .meta({ description: 'Why it holds' })
        .exactOptional(),
      advice: text.meta({ description: 'What ends that' }).exactOptional(),
      received: count.meta({ description: 'Rows read, those that were rejected too' }),
      rejected: count.meta({ description: 'Refused when they were read' }),
      accepted: count,
      inflight: count.meta({ description: 'Begun and not ended' }),
      finished: count,
      set: count,
      unchanged: count,
      superseded: count,
      stale: count,
      failed: count,
      expired: count,
      canceled: count,
      notInEffect: count.meta({ description: 'Rows whose password is not in force, or not yet' }),
      rate: z.number().meta({ description: 'Rows a second, lately' }).exactOptional(),
      etaSeconds: count.exactOptional(),
      options: z.looseObject({ format: text, changeRequired: z.boolean(), overwriteNewer: z.boolean() }).meta({ description: 'What was asked of it' }),
      acceptedAt: time,
      expiresAt: time,
      finishedAt: time.exactOptional(),
    } satisfies Fields<RunView>)
    .meta({ description: 'A file, and what became of its rows; counters are exact' }),
);

const reject = name(
  'Reject',
  z
    .object({
      row: z.int().min(1),
      byte: count.exactOptional(),
      job: text.exactOptional(),
      done: z.boolean(),
      inEffect: z.boolean(),
      columns: z.record(z.string(), z.string()).exactOptional(),
      reason: z.union([reason, z.enum(['superseded', 'stale'])]),
      message: text,
      line: z.int().min(1).exactOptional(),
      userId: text.exactOptional(),
      org: orgId.exactOptional(),
      field: text.exactOptional(),
      code: code.exactOptional(),
      result: text.exactOptional(),
    })
    .meta({ description: 'A row whose password is not in force' }),
);

const fileErrors: AnyReason[] = [
  'file_empty',
  'file_no_rows',
  'file_not_text',
  'file_utf16',
  'file_compressed',
  'file_json_object',
  'header_unreadable',
  'header_column_missing',
  'header_column_repeated',
];

const zeros = { unchanged: 0, superseded: 0, stale: 0, failed: 0, expired: 0, canceled: 0 };
const running = {
  ...{ id: sample.runId, org: sample.org, state: 'running', received: 3, rejected: 1, finished: 0, set: 0, ...zeros },
  ...{ acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
};
const completed = { ...running, state: 'completed', finished: 2, set: 2, finishedAt: sample.finishedAt };

const file = (description: string, example: string) => ({
  schema: { type: 'string', description },
  example,
});
const csv = file(
  'A header with the columns `userId`, `password` and, if wanted, `orgId`, `noChangeRequired`',
  `userId,password\n${sample.user},${sample.password}\n`,
);
const ndjson = file(
  'One JSON object a line with the same keys',
  `${JSON.stringify({ userId: sample.user, password: sample.password })}\n`,
);
const flag = (name: string, description: string) =>
  queryParameter(name, z.enum(['true', 'false']).default('false'), description, 'false');

const oneRun = pathParameter('id', runId, sample.runId);
const seenErrors: AnyReason[] = [...tokenErrors, 'run_unknown', ...infrastructureErrors];

export const importPaths: Paths = {
  '/imports': {
    post: operation({
      id: 'importFile',
      tag,
      summary: 'Import a file',
      description:
        'Needs `import`. Read while it arrives; the answer comes when every row is stored or rejected. The same file with the same key goes on where a cut upload stopped.',
      parameters: [
        flag('noChangeRequired', 'For rows that say nothing about it'),
        flag('overwriteNewer', 'Also for users who chose another password since; needs `admin`'),
        parameter('organization'),
        parameter('idempotencyKey'),
      ],
      body: {
        required: true,
        content: { 'text/csv': csv, 'application/x-ndjson': ndjson, 'application/ndjson': ndjson },
      },
      answers: {
        202: jsonAnswer(
          'Every row is stored or rejected',
          run,
          { running: { summary: 'On its way', value: running } },
          ...(['Location', 'Idempotency-Key'] as const),
        ),
        ...errorAnswers('problem', [
          ...fileErrors,
          ...(['media_type_unsupported', 'field_type', 'idempotency_key_invalid', 'idempotency_key_reused'] as const),
          ...(['accept_unknown', 'ledger_not_ready'] as const),
          ...tokenErrors,
          ...orgErrors,
          ...infrastructureErrors,
        ]),
      },
    }),
  },
  '/imports/{id}': {
    get: operation({
      id: 'getImport',
      tag,
      summary: 'Read an import',
      description: 'Needs `import` or `read`.',
      parameters: [oneRun],
      answers: {
        200: jsonAnswer('The import as it is now', run, {
          completed: { summary: 'Every row has ended', value: completed },
        }),
        ...errorAnswers('problem', seenErrors),
      },
    }),
  },
  '/imports/{id}/rejects': {
    get: operation({
      id: 'getRejects',
      tag,
      summary: 'Read the rows that are not in force',
      description: 'Needs `import` or `read`. One JSON object a line, in any order; no passwords.',
      parameters: [oneRun],
      answers: {
        200: {
          description: 'NDJSON; each line as the schema says',
          content: {
            'application/x-ndjson': {
              schema: refTo(reject),
              examples: {
                line: {
                  summary: 'One line',
                  value: {
                    row: 3,
                    line: 4,
                    reason: 'user_id_missing',
                    field: 'userId',
                    message: 'The user id is missing.',
                  },
                },
              },
            },
          },
        },
        ...errorAnswers('problem', seenErrors),
      },
    }),
  },
};
