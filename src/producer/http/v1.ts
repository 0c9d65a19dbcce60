import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Code, PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import { isFailure } from '../../job.ts';
import { Secret } from '../../secret.ts';
import type { Accepted } from '../producer.ts';
import { callV1 } from '../v1-call.ts';
import { type HttpDeps, header } from './deps.ts';
import { v1Error } from './errors.ts';

type V1Request = FastifyRequest<{ Params: { userId: string } }>;

const paths = ['/management/v1/users/:userId/password', '/users/:userId/password'];

/** The deprecated calls under their own path and a short one: wait and answer as v1, or 202 with `Prefer: respond-async`. */
export function registerV1(app: FastifyInstance, deps: HttpDeps): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    // ZITADEL's gateway reads every content type as JSON. A secret: Fastify shows the request's body to whoever traces.
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, new Secret(body as Buffer)),
    );
    // Also before a body that is refused unread.
    scope.addHook('onRequest', async (request, reply) => {
      if (header(request, 'idempotency-key') === undefined) reply.header('idempotency-key', makeIdempotencyKey());
    });
    for (const path of paths) {
      scope.post(path, (request: V1Request, reply) => answer(request, reply, deps, parseJson));
      // The initial password: the same change, and the user must always choose another one.
      scope.post(`${path}/_initialize`, (request: V1Request, reply) => answer(request, reply, deps, parseInitial));
    }
  });
}

async function answer(
  request: V1Request,
  reply: FastifyReply,
  deps: HttpDeps,
  parse: (body: unknown) => unknown,
): Promise<FastifyReply> {
  try {
    const answered = await callV1(
      {
        user: request.params.userId,
        body: () => parse(request.body),
        header: (name) => header(request, name),
        madeKey: String(reply.getHeader('idempotency-key')),
        tell: (name, value) => reply.header(name, value),
        asyncAnswers: true,
        gone: goneWith(reply),
      },
      deps,
    );
    if (answered.kind === 'accepted') return await sendAccepted(reply, answered.accepted);
    const { outcome } = answered;
    if (!isFailure(outcome)) return await reply.send({ details: outcome.details ?? {} });
    throw new PassferryError(outcome.reason, { code: outcome.code as Code, message: outcome.message });
  } catch (thrown) {
    if (!(thrown instanceof PassferryError)) request.log.error({ err: thrown }, 'a request failed inside');
    const error = thrown instanceof PassferryError ? thrown : new PassferryError('internal');
    const { status, headers, body } = v1Error(error);
    return reply.code(status).headers(headers).send(body);
  }
}

/** Nobody is waited for who has hung up. */
function goneWith({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.once('close', () => gone.abort());
  return gone.signal;
}

function sendAccepted(reply: FastifyReply, accepted: Accepted): FastifyReply {
  return reply
    .code(202)
    .header('location', `/jobs/${accepted.jobId}`)
    .header('retry-after', '1')
    .send({
      id: accepted.jobId,
      acceptedAt: new Date(accepted.acceptedAt).toISOString(),
      expiresAt: new Date(accepted.expiresAt).toISOString(),
    });
}

function parseJson(body: unknown): unknown {
  const text = body instanceof Secret ? body.reveal() : '';
  if (body instanceof Secret) body.wipe();
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new PassferryError('body_not_json');
  }
}

function parseInitial(body: unknown): unknown {
  const parsed = parseJson(body);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return parsed;
  return { ...parsed, noChangeRequired: false, no_change_required: false };
}
