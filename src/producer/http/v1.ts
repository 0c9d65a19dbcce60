import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Code, PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import { isFailure, type Outcome } from '../../job.ts';
import { actingOrg, authorize, isGranted } from '../callers.ts';
import { type Accepted, asyncExpiryMs } from '../producer.ts';
import { parseIdempotencyKey, parseSetPassword } from '../validate.ts';
import { type HttpDeps, header } from './deps.ts';
import { v1Error } from './errors.ts';
import { parsePrefer } from './prefer.ts';

const syncExpiryMs = 15 * 60_000;

/** The deprecated call under its own path and a short one: waits and answers as v1, or 202 with `Prefer: respond-async`. */
export function registerV1(app: FastifyInstance, deps: HttpDeps): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    // ZITADEL's gateway reads every content type as JSON.
    scope.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
    // Made before anything is stored, and told on errors too: after a lost reply the caller can name the request (P1).
    scope.addHook('onRequest', async (request, reply) => {
      if (header(request, 'idempotency-key') === undefined) reply.header('idempotency-key', makeIdempotencyKey());
    });
    for (const path of ['/management/v1/users/:userId/password', '/users/:userId/password']) {
      scope.post<{ Params: { userId: string } }>(path, (request, reply) => setPassword(request, reply, deps));
    }
  });
}

async function setPassword(
  request: FastifyRequest<{ Params: { userId: string } }>,
  reply: FastifyReply,
  { producer, callers, orgExists, waitMs, closing }: HttpDeps,
): Promise<FastifyReply> {
  try {
    // The order of checks is the contract's: JSON, token, organization, permission, fields.
    const body = parseJson(request.body);
    const caller = callers.authenticate(request.headers.authorization);
    const org = actingOrg(caller, header(request, 'x-zitadel-orgid'), orgExists);
    authorize(caller, org, 'set');
    const sentKey = header(request, 'idempotency-key');
    const idempotencyKey =
      sentKey === undefined ? String(reply.getHeader('idempotency-key')) : parseIdempotencyKey(sentKey);
    reply.header('idempotency-key', idempotencyKey);
    const expiresInMs = parseExpiresIn(header(request, 'passferry-expires-in'));
    const prefer = parsePrefer(header(request, 'prefer'));
    const setRequest = parseSetPassword(body, org, request.params.userId);

    const asker = { caller: caller.name, admin: isGranted(caller, org, 'admin') };
    const accepted: Accepted = await producer.setPassword(asker, setRequest, {
      idempotencyKey,
      expiresInMs: expiresInMs ?? (prefer.respondAsync ? asyncExpiryMs : syncExpiryMs),
    });
    tell(reply, accepted);

    const patience = prefer.waitMs !== undefined ? Math.min(prefer.waitMs, waitMs) : prefer.respondAsync ? 0 : waitMs;
    const outcome = patience > 0 ? await producer.wait(accepted.jobId, patience, closing) : undefined;
    if (outcome) return await answer(reply, outcome);
    if (prefer.respondAsync) return await answerAccepted(reply, accepted);
    throw new PassferryError('wait_over');
  } catch (thrown) {
    if (!(thrown instanceof PassferryError)) request.log.error({ err: thrown }, 'a request failed inside');
    const error = thrown instanceof PassferryError ? thrown : new PassferryError('internal');
    const { status, headers, body } = v1Error(error);
    return reply.code(status).headers(headers).send(body);
  }
}

function tell(reply: FastifyReply, accepted: Accepted): void {
  reply.header('passferry-job', accepted.jobId);
  reply.header('passferry-expires', new Date(accepted.expiresAt).toISOString());
  if (accepted.replayed) reply.header('idempotency-replayed', 'true');
}

function answerAccepted(reply: FastifyReply, accepted: Accepted): FastifyReply {
  return reply
    .code(202)
    .header('location', `/jobs/${accepted.jobId}`)
    .header('preference-applied', 'respond-async')
    .header('retry-after', '1')
    .send({
      id: accepted.jobId,
      acceptedAt: new Date(accepted.acceptedAt).toISOString(),
      expiresAt: new Date(accepted.expiresAt).toISOString(),
    });
}

/** `superseded` and `stale` are successes with another password in force: 200, and the header says which. */
function answer(reply: FastifyReply, outcome: Outcome): FastifyReply {
  if (isFailure(outcome)) {
    const { code, reason, message } = outcome;
    throw new PassferryError(reason, { code: code as Code, message });
  }
  reply.header('passferry-result', outcome.result);
  return reply.send({ details: outcome.details ?? {} });
}

/** Header `Passferry-Expires-In`: seconds, one to 30 days. */
function parseExpiresIn(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const seconds = /^\d{1,7}$/.test(value) ? Number(value) : 0;
  if (seconds < 1 || seconds > 30 * 86_400) throw new PassferryError('expires_invalid');
  return seconds * 1_000;
}

function parseJson(body: unknown): unknown {
  const text = typeof body === 'string' ? body : '';
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new PassferryError('body_not_json');
  }
}
