import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import { type ResetKind, type ResetMode, resetKinds, resetModes } from '../../run.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { importExpiryMs } from '../import/import.ts';
import type { HandoutLine } from '../resets/handout.ts';
import { parseRecipient, type Recipient } from '../resets/recipient.ts';
import { type ResetChoices, resetUsers } from '../resets/reset.ts';
import { parseIdempotencyKey } from '../validate.ts';
import { about, begun } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';
import { fileOf, importMediaTypes } from './imports/body.ts';
import { defined, readQuery } from './imports/options.ts';
import { createVisibleRun } from './visible-run.ts';

type Fields = Record<string, unknown>;

const known = [
  ...['mode', 'by', 'changeRequired', 'endSessions', 'recipient', 'dryRun', 'maxFailures', 'rate', 'concurrency'],
  ...['notBefore', 'expiresIn', 'mails'],
];
const longestSeconds = 30 * 86_400;

/**
 * `POST /resets` (a streamed list of users: a run, read and steered as an import is), `GET /imports/{id}/handout` (its generated
 * passwords, sealed to their recipient).
 */
export function registerResets(app: FastifyInstance, deps: HttpDeps): void {
  const { producer, callers } = deps;
  const visible = createVisibleRun(deps);

  app.register(async (scope) => {
    scope.removeContentTypeParser('application/json');
    scope.addContentTypeParser(importMediaTypes, (_request, payload, done) => done(null, payload));

    scope.post<{ Querystring: Fields }>('/resets', { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
      const caller = await callers.authenticate(request.headers.authorization);
      const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
      about(request, 'reset', caller, org);
      authorize(caller, org, 'import');
      const { file, users } = await fileOf(request);
      // A list has no passwords to be joined.
      if (users) throw new PassferryError('multipart_invalid');
      const { choices, expiresInMs } = await parseResetQuery(request.query);
      for (const ability of needed(choices)) {
        if (!(await producer.can(org, ability))) throw new PassferryError('ability_missing');
      }
      const given = header(request, 'idempotency-key');
      const idempotencyKey = given === undefined ? makeIdempotencyKey() : parseIdempotencyKey(given);
      const id = await producer.runId(caller.name, org, idempotencyKey);
      await begun(request, { run: id });
      // Also with an error: rows may be stored.
      reply.header('idempotency-key', idempotencyKey);
      const view = await resetUsers(
        producer,
        {
          ...{ caller: caller.name, org, idempotencyKey },
          mayImport: (rowOrg) => isGranted(caller, rowOrg, 'import'),
          isAdmin: (rowOrg) => isGranted(caller, rowOrg, 'admin'),
        },
        file,
        { choices, expiresInMs },
      );
      about(request, 'reset', caller, org, { run: view.id });
      return reply.code(202).header('location', `/imports/${view.id}`).send(view);
    });
  });

  app.get<{ Params: { id: string } }>('/imports/:id/handout', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    // To read is not enough: it is for whoever may set passwords of many.
    authorize(caller, view.org, 'import');
    return reply.type('application/x-ndjson').send(Readable.from(ofGranted(producer.handout(view), caller)));
  });
}

/** A list may name users of several organizations; each is told to those it is granted to (P5). */
async function* ofGranted(lines: AsyncIterable<HandoutLine>, caller: Caller): AsyncGenerator<string> {
  for await (const line of lines) if (isGranted(caller, line.org, 'import')) yield `${JSON.stringify(line)}\n`;
}

/** What the backend must be able to do for any row. Sessions that stay are told in the report instead. */
function needed({ mode, by }: ResetChoices): string[] {
  return [...(mode === 'link' ? ['sendResetLink'] : []), ...(by === 'id' ? [] : ['findUser'])];
}

/** Errors name the option: `option_unknown`, `field_type`, `options_contradict`, `recipient_missing`, `recipient_invalid`, `expires_invalid`. */
async function parseResetQuery(query: Fields): Promise<{ choices: ResetChoices; expiresInMs: number }> {
  const unknown = Object.keys(query).find((name) => !known.includes(name));
  if (unknown !== undefined) throw bad(/^[A-Za-z_-]{1,40}$/.test(unknown) ? unknown : 'query', 'option_unknown');
  const asked = readQuery(query);
  const mode = asked.one('mode', resetModes) as ResetMode | undefined;
  if (mode === undefined) throw bad('mode');
  const changeRequired = asked.flag('changeRequired');
  if (mode === 'link' && changeRequired !== undefined) throw bad('changeRequired', 'options_contradict');
  const recipient = await recipientOf(query.recipient, mode);
  return {
    expiresInMs: (asked.integer('expiresIn', 1, longestSeconds, 'expires_invalid') ?? importExpiryMs / 1_000) * 1_000,
    choices: {
      mode,
      by: (asked.one('by', resetKinds) as ResetKind | undefined) ?? 'id',
      changeRequired: changeRequired ?? true,
      endSessions: asked.flag('endSessions') ?? false,
      ...(recipient && { recipient }),
      ...defined({
        dryRun: asked.flag('dryRun') || undefined,
        maxFailures: asked.integer('maxFailures', 1, 1_000_000_000),
        mails: asked.one('mails', ['allow']) as 'allow' | undefined,
        notBefore: asked.time('notBefore'),
        rate: asked.number('rate', 0.01, 100_000),
        concurrency: asked.integer('concurrency', 1, 10_000),
      }),
    },
  };
}

/** base64url of a JWK or of PEM. */
async function recipientOf(value: unknown, mode: ResetMode): Promise<Recipient | undefined> {
  if (value === undefined) {
    if (mode === 'generate') throw bad('recipient', 'recipient_missing');
    return undefined;
  }
  if (mode !== 'generate') throw bad('recipient', 'options_contradict');
  if (typeof value !== 'string' || !/^[\w-]{1,8000}$/.test(value)) throw bad('recipient', 'recipient_invalid');
  return parseRecipient(Buffer.from(value, 'base64url').toString());
}

function bad(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
