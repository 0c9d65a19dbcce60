import { z } from 'zod';
import { type AnyReason, errorAnswers, infrastructureErrors, orgErrors, tokenErrors } from './errors.ts';
import { headers, parameter, pathParameter, queryParameter } from './headers.ts';
import { importBody, importErrors, importOptions } from './import-options.ts';
import { accepted, list, retried, row, run } from './import-schemas.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { refTo, runId, sample } from './schema.ts';

const tag = 'imports';

const zeros = { linkSent: 0, unchanged: 0, superseded: 0, stale: 0, failed: 0, expired: 0, canceled: 0 };
const running = {
  ...{ id: sample.runId, org: sample.org, caller: 'you', state: 'running', received: 3, rejected: 1, accepted: 2 },
  ...{ inflight: 0, finished: 0, set: 0, ...zeros, notInEffect: 3 },
  options: { format: 'csv', encoding: 'utf-8', delimiter: ',', changeRequired: true, overwriteNewer: false },
  ...{ acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
};
const completed = {
  ...running,
  state: 'completed',
  finished: 2,
  set: 2,
  notInEffect: 1,
  finishedAt: sample.finishedAt,
};
const rejected = {
  ...{ row: 3, line: 4, byte: 82, done: true, code: 'invalid_argument', reason: 'user_id_missing' },
  ...{ message: 'The user id is missing.', advice: 'Fill in the id of the user, or take the row out.' },
  ...{ field: 'userId', inEffect: false },
};

const oneRun = pathParameter('id', runId, sample.runId);
const seenErrors: AnyReason[] = [...tokenErrors, 'run_unknown', ...infrastructureErrors];
const rejectsText = (summary: string, value: string) => ({
  schema: {
    type: 'string',
    description: 'Its own columns, the password blank, then `code`, `reason`, `advice`, `line`, `byte`',
  },
  examples: { file: { summary, value } },
});

const verb = (
  id: string,
  summary: string,
  description: string,
  state: string,
  parameters: object[] = [],
): Record<string, object> => ({
  post: operation({
    id,
    tag,
    summary,
    description: `Needs \`import\`. ${description}`,
    parameters: [oneRun, ...parameters],
    answers: {
      200: jsonAnswer('The import as it is now', run, { [state]: { summary: 'Done', value: { ...running, state } } }),
      ...errorAnswers('problem', [
        ...seenErrors,
        ...(['AUTH-5mWD2', 'run_ended'] as const),
        ...(parameters.length > 0 ? (['field_type'] as const) : []),
      ]),
    },
  }),
});

export const importPaths: Paths = {
  '/imports': {
    get: operation({
      id: 'listImports',
      tag,
      summary: 'Imports of an organization',
      description: 'Needs `import` or `read`. The newest first, up to 45 days old.',
      parameters: [
        queryParameter('limit', z.int().min(1).max(200).default(50), 'How many', 50),
        queryParameter('cursor', z.string(), '`next` of the page before', '1795600949350'),
        parameter('organization'),
      ],
      answers: {
        200: jsonAnswer('A page of them', list, { list: { summary: 'The only one', value: { imports: [completed] } } }),
        ...errorAnswers('problem', [
          ...tokenErrors,
          ...orgErrors,
          'field_type',
          'cursor_invalid',
          ...infrastructureErrors,
        ]),
      },
    }),
    post: operation({
      id: 'importFile',
      tag,
      summary: 'Import a file',
      description:
        'Needs `import`. Read while it arrives; the answer comes when every row is stored or rejected. The same file with the same key goes on where a cut upload stopped.',
      parameters: [...importOptions, parameter('organization'), parameter('idempotencyKey')],
      body: importBody,
      answers: {
        202: jsonAnswer(
          'Every row is stored or rejected',
          accepted,
          { running: { summary: 'On its way', value: running } },
          ...(['Location', 'Idempotency-Key'] as const),
        ),
        ...errorAnswers('problem', [...importErrors, ...tokenErrors, ...orgErrors, ...infrastructureErrors], {
          headers: ['Idempotency-Key'],
        }),
      },
    }),
  },
  '/imports/{id}': {
    get: operation({
      id: 'getImport',
      tag,
      summary: 'Read an import',
      description:
        'Needs `import` or `read`. `Prefer: wait=n` waits until it is over or, with `If-None-Match`, until anything has changed.',
      parameters: [oneRun, parameter('prefer'), parameter('ifNoneMatch')],
      answers: {
        200: jsonAnswer(
          'The import as it is now',
          run,
          { completed: { summary: 'Every row has ended', value: completed } },
          ...(['ETag', 'Retry-After', 'Preference-Applied'] as const),
        ),
        304: { description: 'As it is known', headers: headers('ETag', 'Retry-After', 'Preference-Applied') },
        ...errorAnswers('problem', [...seenErrors, 'prefer_invalid']),
      },
    }),
  },
  '/imports/{id}:pause': verb(
    'pauseImport',
    'Pause',
    'What has begun goes on to its end. Repeating is harmless.',
    'pausing',
  ),
  '/imports/{id}:resume': verb(
    'resumeImport',
    'Go on',
    'Also from a hold, whose reason is overruled: it does not hold for it again. Mails are asked about again, unless `mails` allows them.',
    'running',
    [queryParameter('mails', z.enum(['allow']), 'The backend may mail users that their password was changed', 'allow')],
  ),
  '/imports/{id}:cancel': verb(
    'cancelImport',
    'Cancel',
    'What has begun goes on to its end; the other rows end `canceled`, and their passwords are destroyed.',
    'cancelling',
  ),
  '/imports/{id}:retry': {
    post: operation({
      id: 'retryImport',
      tag,
      summary: 'Once more what failed',
      description:
        'Needs `import`. Opens the failed and expired rows of an import that is over again. A retry never overtakes a newer change. Repeating finishes what was interrupted.',
      parameters: [oneRun],
      answers: {
        200: jsonAnswer('The import as it is now', retried, {
          running: { summary: 'On its way again', value: { ...running, finished: 1, reopened: 1, destroyed: 0 } },
        }),
        ...errorAnswers('problem', [
          ...seenErrors,
          ...(['AUTH-5mWD2', 'run_ended', 'run_not_over', 'secret_destroyed'] as const),
        ]),
      },
    }),
  },
  '/imports/{id}/events': {
    get: operation({
      id: 'followImport',
      tag,
      summary: 'Follow an import',
      description: 'Needs `import` or `read`. `state` and `progress`, at most one a second; ends with the import.',
      parameters: [oneRun, parameter('lastEventId')],
      answers: {
        200: {
          description: 'The stream. Server-sent events; the schema is that of `data`',
          headers: headers('X-Accel-Buffering'),
          content: { 'text/event-stream': { schema: { type: 'string', contentSchema: refTo(run) } } },
        },
        204: { description: 'Its end has the id of `Last-Event-ID`: there is nothing more' },
        ...errorAnswers('problem', [...seenErrors, 'event_id_invalid', 'streams_busy']),
      },
    }),
  },
  '/imports/{id}/rows/{row}': {
    get: operation({
      id: 'getImportRow',
      tag,
      summary: 'Read one row',
      description: 'Needs `import` or `read`. Rows are counted from 1, without the header.',
      parameters: [oneRun, pathParameter('row', z.string().regex(/^[1-9]\d{0,8}$/), '3')],
      answers: {
        200: jsonAnswer('The row as it is now', row, { rejected: { summary: 'A rejected one', value: rejected } }),
        ...errorAnswers('problem', [...seenErrors, 'row_unknown']),
      },
    }),
  },
  '/imports/{id}/rejects': {
    get: operation({
      id: 'getRejects',
      tag,
      summary: 'Read the rows that are not in force',
      description:
        'Needs `import` or `read`. In the order of the file, no passwords. `csv` (or `Accept: text/csv`) and `input` are files to correct and import: `input` in the format of the file that was sent.',
      parameters: [
        oneRun,
        queryParameter('format', z.enum(['ndjson', 'csv', 'input']).default('ndjson'), 'How they are written', 'csv'),
      ],
      answers: {
        200: {
          description: 'Streamed. NDJSON: each line as the schema says',
          content: {
            'application/x-ndjson': {
              schema: refTo(row),
              examples: { line: { summary: 'One line', value: rejected } },
            },
            'text/csv': rejectsText(
              'A header and a row',
              'userId,password,code,reason,advice,line,byte\n,,invalid_argument,user_id_missing,"Fill in the id of the user, or take the row out.",4,82\n',
            ),
            'application/json': {
              schema: { type: 'array', items: { type: 'object' }, description: 'Of a file that was a list' },
              examples: { list: { summary: 'None', value: [] } },
            },
          },
        },
        ...errorAnswers('problem', [...seenErrors, 'field_type']),
      },
    }),
  },
};
