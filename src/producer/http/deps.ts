import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Limits } from '../limits.ts';
import type { V1Deps } from '../v1-call.ts';

/** What the routes need. */
export interface HttpDeps extends V1Deps {
  /** Absent: a list of requests counts as one. */
  limits?: Limits;
  /** Event streams that one caller may have open. Default 100. */
  streamsPerCaller?: number;
}

/** The first value of a request header. */
export function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

const hungUp = new Error('the client has hung up');

/** Fires when the client hangs up: nobody is waited for who has gone. */
export function goneWith({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  // With a reason of our own: the standard one costs a stack trace for each answer.
  const end = () => gone.abort(hungUp);
  // To one that has closed already nobody would say so.
  if (isClosed(raw)) end();
  else raw.once('close', end);
  return gone.signal;
}

/** A response of HTTP/2 knows it by its stream only. */
export function isClosed(raw: FastifyReply['raw']): boolean {
  const { stream } = raw as { stream?: { destroyed: boolean } };
  return raw.destroyed || raw.closed || stream?.destroyed === true;
}
