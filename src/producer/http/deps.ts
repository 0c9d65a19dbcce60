import type { FastifyReply, FastifyRequest } from 'fastify';
import type { V1Deps } from '../v1-call.ts';

/** What the routes need. */
export type HttpDeps = V1Deps;

/** The first value of a request header. */
export function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Fires when the client hangs up: nobody is waited for who has gone. */
export function goneWith({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.once('close', () => gone.abort());
  return gone.signal;
}
