import type { FastifyRequest } from 'fastify';
import type { Log } from '../../log.ts';
import type { Callers } from '../callers.ts';
import type { Producer } from '../producer.ts';

/** What the routes need. */
export interface HttpDeps {
  producer: Producer;
  callers: Callers;
  /** Is an organization of this id known: configured, granted or staged? */
  orgExists: (org: string) => boolean;
  /** How long a synchronous call waits for its outcome, ms. */
  waitMs: number;
  log: Log;
  /** Fires when the server closes: nobody is kept waiting. */
  closing: AbortSignal;
}

/** The first value of a request header. */
export function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
