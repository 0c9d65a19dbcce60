import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Code, PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import { isFailure } from '../../job.ts';
import { Secret } from '../../secret.ts';
import type { Accepted } from '../producer.ts';
import { decodeInitial, decodeSet } from '../rpc/rest-body.ts';
import { callV1 } from '../v1-call.ts';
import { goneWith, type HttpDeps, header } from './deps.ts';
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
      // Whatever it says, and should it make no sense.
      request.raw.headers['content-type'] = 'application/json';
    });
    for (const path of paths) {
      scope.post(path, (request: V1Request, reply) => answer(request, reply, deps, decodeSet));
      // The initial password: the same change, and the user must always choose another one.
      scope.post(`${path}/_initialize`, (request: V1Request, reply) => answer(request, reply, deps, decodeInitial));
    }
  });
}

async function answer(
  request: V1Request,
  reply: FastifyReply,
  deps: HttpDeps,
  decode: (body: Uint8Array) => unknown,
): Promise<FastifyReply> {
  try {
    if (request.params.userId === '') throw new PassferryError('route_unknown');
    const answered = await callV1(
      {
        user: request.params.userId,
        body: () => decodeAndWipe(request.body, decode),
        header: (name) => header(request, name),
        madeKey: String(reply.getHeader('idempotency-key')),
        tell: (name, value) => reply.header(name, value),
        asyncAnswers: true,
        gone: goneWith(reply),
        from: deps.addressOf?.(request.raw),
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

function decodeAndWipe(body: unknown, decode: (body: Uint8Array) => unknown): unknown {
  if (!(body instanceof Secret)) return decode(new Uint8Array());
  try {
    return decode(body.bytes());
  } finally {
    body.wipe();
  }
}
