import { z } from 'zod';
import { encodings } from '../import/encoding.ts';
import { fileReasons } from '../import/reasons.ts';
import { sourceNames } from '../import/sources/all.ts';
import { identities } from '../import/sources/source.ts';
import type { AnyReason } from './errors.ts';
import { queryParameter } from './headers.ts';
import { sample } from './schema.ts';

const option = (name: string, schema: z.ZodType, description: string, example: string | number) =>
  queryParameter(name, schema, description, example);
const flag = (name: string, description: string) => option(name, z.enum(['true', 'false']), description, 'true');
const many = (name: string, schema: z.ZodType, description: string, example: string) => ({
  ...option(name, z.array(schema), description, ''),
  schema: { type: 'array', items: { type: 'string' }, examples: [[example]] },
});

/** Query of `POST /imports`. */
export const importOptions: object[] = [
  option(
    'asOf',
    z.string(),
    'What the passwords were known to be then, for rows without `set_at`: a date or `now`. A later choice of the user is kept. Required unless the file has a column `set_at`',
    'now',
  ),
  flag('noChangeRequired', 'For rows that say nothing about it. Default `false`: they change it at the next login'),
  flag(
    'changeRequired',
    'The same, said the other way; not both. `true` is meant for rows with hashes too, which else need no change',
  ),
  flag('overwriteNewer', 'Also for users who chose another password since; needs `admin`'),
  many('map', z.string(), 'Our column and the one of the file, such as `userId:Employee No`', 'userId:Employee No'),
  many('keep', z.string(), 'A further column that the rejects have; never one of passwords', 'email'),
  option(
    'from',
    z.enum(['auto', 'own', ...sourceNames]),
    'Whose file it is. Default `auto`: recognised by its content, and asked for (`source_unclear`) where that is not certain; `own`: never another product',
    'auth0',
  ),
  option(
    'by',
    z.enum(identities),
    'What names the users of another product in the target. Default: their id where its files have one; else what the view of the import says as `options.by`',
    'email',
  ),
  flag('peppered', 'The source adds a secret to every password before it hashes it: its hashes are refused'),
  option('format', z.enum(['csv', 'ndjson', 'json']), 'Default: of the media type, else recognised', 'csv'),
  option('encoding', z.enum(encodings), 'Default: UTF-8, or what a byte order mark says', 'windows-1252'),
  option(
    'delimiter',
    z.enum([',', ';', '\t', '|', 'comma', 'semicolon', 'tab', 'pipe']),
    'Of CSV. Default: recognised',
    'semicolon',
  ),
  flag('header', 'Default `true`; without one `map` gives positions: `userId:#1`'),
  flag('comments', 'Lines that start with `#` are dropped everywhere, not only before the header'),
  flag('allowSuspicious', 'Passwords that look like hashes or marks (`NULL`, `LOCKED`) are taken as they are'),
  option(
    'duplicates',
    z.enum(['last', 'refuse']),
    'The same user twice: the last row wins, or later ones are refused. Default `last`; `refuse` where the file is of another product',
    'refuse',
  ),
  flag('dryRun', 'Nothing is changed; the report tells what would be'),
  option('maxFailures', z.int().min(1), 'So many failed rows hold the import', 100),
  option(
    'mails',
    z.enum(['allow']),
    'The backend may mail users that their password was changed; else the import holds before such a row (`mails_not_allowed`)',
    'allow',
  ),
  option(
    'known',
    z.enum(['matched']),
    'The asker has compared a known password of the source with its hash, before sending; else the report says that logins are not proved',
    'matched',
  ),
  flag(
    'hashHere',
    'Workers check the password policy, hash with bcrypt and send hashes, so that the backend does not hash; 422 where the backend cannot',
  ),
  option('hashCost', z.int().min(10).max(16), 'With `hashHere`: the cost of bcrypt. Default 12', 12),
  option('proofShare', z.number().min(0).max(1), 'Share of rows whose login is proved', 0.01),
  option('rate', z.number().min(0.01), 'Rows a second, at most', 20),
  option('concurrency', z.int().min(1), 'Rows at work at once, at most', 4),
  option('notBefore', z.string(), 'RFC 3339: no row begins before', '2026-11-26T02:00:00Z'),
  option(
    'expiresIn',
    z.int().min(1).max(2_592_000),
    'Seconds until what has not begun ends `expired`. Default 72 hours',
    259_200,
  ),
];

const file = (description: string, example: string) => ({ schema: { type: 'string', description }, example });
const bytes = (description: string) => ({ schema: { type: 'string', format: 'binary', description } });
const ndjson = file(
  'One JSON object a line with the same keys',
  `${JSON.stringify({ userId: sample.user, password: sample.password, set_at: '2026-11-01T08:00:00Z' })}\n`,
);

export const importBody = {
  required: true,
  content: {
    'text/csv': file(
      'A header with the columns `userId` (or `email`, `userName`), `password` or `passwordHash` (needs `import-hash`) and, if wanted, `orgId`, `noChangeRequired` (or `changeRequired`), `set_at`',
      `userId,password,set_at\n${sample.user},${sample.password},2026-11-01T08:00:00Z\n`,
    ),
    'application/x-ndjson': ndjson,
    'application/ndjson': ndjson,
    'application/json': {
      schema: { type: 'array', items: { type: 'object' }, description: 'A list of objects; or one a line' },
      example: [{ userId: sample.user, password: sample.password, set_at: '2026-11-01T08:00:00Z' }],
    },
    'application/gzip': bytes('Any of these, packed'),
    'application/x-gzip': bytes('The same'),
    'application/octet-stream': bytes('Recognised by its content'),
    'multipart/form-data': {
      schema: {
        type: 'object',
        properties: {
          hashParams: { type: 'string', format: 'binary', description: 'How the source hashes, up to 16 KiB; first' },
          file: { type: 'string', format: 'binary', description: 'One file, whatever the name of its part' },
          users: {
            type: 'string',
            format: 'binary',
            description: 'In place of `file`: the users of an export in two files',
          },
          passwords: { type: 'string', format: 'binary', description: '… and their passwords, behind them' },
        },
        description: 'One file; or `users` and then `passwords`, which are joined by their ids. Nothing else',
      },
    },
  },
};

/** Of a whole file: those of rows stand in the rejects. */
const ofFiles = Object.keys(fileReasons) as (keyof typeof fileReasons)[];

export const importErrors: AnyReason[] = [
  ...ofFiles,
  ...([
    'as_of_required',
    'hash_here_unsupported',
    'option_unknown',
    'options_contradict',
    'field_type',
    'expires_invalid',
  ] as const),
  ...(['set_at_invalid', 'set_at_ambiguous', 'set_at_future', 'multipart_invalid', 'media_type_unsupported'] as const),
  ...([
    'idempotency_key_invalid',
    'idempotency_key_reused',
    'run_ended',
    'accept_unknown',
    'ledger_not_ready',
  ] as const),
];
