import { z } from 'zod';
import { resetKinds, resetModes } from '../../run.ts';
import type { HandoutLine } from '../resets/handout.ts';
import { type AnyReason, errorAnswers, infrastructureErrors, orgErrors, tokenErrors } from './errors.ts';
import { parameter, pathParameter, queryParameter } from './headers.ts';
import { importBody, importErrors } from './import-options.ts';
import { run } from './import-schemas.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { type Fields, name, orgId, refTo, runId, sample, text } from './schema.ts';

const tag = 'resets';

const flag = (option: string, description: string) =>
  queryParameter(option, z.enum(['true', 'false']), description, 'true');

const options = [
  {
    ...queryParameter(
      'mode',
      z.enum(resetModes),
      '`link`: the backend mails a reset link · `random`: a password that nobody learns · `generate`: one that only the recipient can read',
      'link',
    ),
    required: true,
  },
  queryParameter('by', z.enum(resetKinds), 'What the list names users by. Default `id`', 'email'),
  flag('changeRequired', 'Not with `link`. Default `true`: they change it at the next login'),
  flag('endSessions', 'End the sessions of these users, where the backend can. Default `false`'),
  queryParameter(
    'recipient',
    z.string(),
    'With `generate`: a public key, X25519 or RSA of 2,048 bits or more, as JWK or PEM; base64url',
    'eyJrdHkiOiJPS1AiLCJjcnYiOiJYMjU1MTkiLCJ4Ijoi4oCmIn0',
  ),
  flag('dryRun', 'Nothing is changed; the report tells what would be'),
  queryParameter('maxFailures', z.int().min(1), 'So many failed rows hold it', 100),
  queryParameter('mails', z.enum(['allow']), 'The backend may mail users that their password was changed', 'allow'),
  queryParameter('rate', z.number().min(0.01), 'Rows a second, at most', 20),
  queryParameter('concurrency', z.int().min(1), 'Rows at work at once, at most', 4),
  queryParameter('notBefore', z.string(), 'RFC 3339: no row begins before', '2026-11-26T02:00:00Z'),
  queryParameter(
    'expiresIn',
    z.int().min(1).max(2_592_000),
    'Seconds until what has not begun ends `expired`. Default 72 hours',
    259_200,
  ),
];

const file = (description: string, example: string) => ({ schema: { type: 'string', description }, example });
const ndjson = file('One JSON object a line', `${JSON.stringify({ userId: sample.user })}\n`);
const body = {
  ...importBody,
  content: {
    ...importBody.content,
    'text/csv': file(
      'A header with the column `userId`, `email` or `userName` and, if wanted, `orgId`; others are dropped',
      `userId\n${sample.user}\n`,
    ),
    'application/x-ndjson': ndjson,
    'application/ndjson': ndjson,
    'application/json': {
      schema: { type: 'array', items: { type: 'object' }, description: 'A list of objects; or one a line' },
      example: [{ userId: sample.user }],
    },
  },
};

const line = name(
  'HandoutLine',
  z
    .object({
      row: z.int().min(1),
      userId: text.exactOptional(),
      email: text.exactOptional(),
      userName: text.exactOptional(),
      org: orgId,
      jwe: text.meta({ description: 'Compact JWE of the user and the password, for the recipient' }),
    } satisfies Fields<HandoutLine>)
    .meta({ description: 'One generated password that is in force' }),
);

const running = {
  ...{ id: sample.runId, org: sample.org, caller: 'you', state: 'running', received: 1, rejected: 0, accepted: 1 },
  ...{ inflight: 0, finished: 0, set: 0, linkSent: 0, unchanged: 0, superseded: 0, stale: 0, failed: 0, expired: 0 },
  ...{ canceled: 0, notInEffect: 1, acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
  options: { format: 'csv', changeRequired: false, overwriteNewer: false, reset: { mode: 'link', by: 'id' } },
};

const listErrors: AnyReason[] = importErrors.filter((each) => !/^(as_of|set_at|map|keep)_/.test(each));

export const resetPaths: Paths = {
  '/resets': {
    post: operation({
      id: 'resetUsers',
      tag,
      summary: 'Reset the passwords of a list of users',
      description:
        'Needs `import`. What is accepted is a run: read it, steer it and fetch its rejects under `/imports/{id}`. The same list with the same key goes on where a cut upload stopped.',
      parameters: [...options, parameter('organization'), parameter('idempotencyKey')],
      body,
      answers: {
        202: jsonAnswer(
          'Every row is stored or rejected',
          run,
          { running: { summary: 'On its way', value: running } },
          ...(['Location', 'Idempotency-Key'] as const),
        ),
        ...errorAnswers(
          'problem',
          [
            ...listErrors,
            ...(['list_column_missing', 'recipient_missing', 'recipient_invalid', 'ability_missing'] as const),
            ...tokenErrors,
            ...orgErrors,
            ...infrastructureErrors,
          ],
          { headers: ['Idempotency-Key'] },
        ),
      },
    }),
  },
  '/imports/{id}/handout': {
    get: operation({
      id: 'getHandout',
      tag,
      summary: 'Read generated passwords, sealed to their recipient',
      description:
        'Needs `import`. One JSON object a line, only of rows whose password is in force; to be read again while the run goes on.',
      parameters: [pathParameter('id', runId, sample.runId)],
      answers: {
        200: {
          description: 'NDJSON; each line as the schema says',
          content: {
            'application/x-ndjson': {
              schema: refTo(line),
              examples: {
                line: {
                  summary: 'One line',
                  value: { row: 1, userId: sample.user, org: sample.org, jwe: 'eyJ…' },
                },
              },
            },
          },
        },
        ...errorAnswers('problem', [
          ...tokenErrors,
          ...(['run_unknown', 'AUTH-5mWD2', 'handout_unknown'] as const),
          ...infrastructureErrors,
        ]),
      },
    }),
  },
};
