import type { IncomingMessage } from 'node:http';
import { clientAddress, type TrustedProxies } from '../client-address.ts';
import { PassferryError } from '../errors.ts';
import type { Listener } from '../listen.ts';
import type { AuditSamples } from './audit-samples.ts';
import type { Callers } from './callers.ts';
import type { Limits } from './limits.ts';

/** Said in the shape of its protocol by whoever answers, so it is only noted here. */
const refusals = new WeakMap<object, PassferryError>();

/** Why the request must be refused before anything else, if so. */
export function refusedAtGuard(request: IncomingMessage): PassferryError | undefined {
  return refusals.get(request);
}

/** Answered to anybody, so no token is looked at. */
const openPath = /^\/(healthz|readyz|openapi\.json|docs|docs\/[^/?]+|grpc\.health\.v1\.Health\/\w+)(\?|$)/;

/**
 * Stands in front of every protocol: counts the requests of a caller, and refused tokens by the address they come from. A
 * good token passes from any address: it is always looked at first, so that nothing but the answer tells good from bad.
 */
export function guarded(
  listener: Listener,
  {
    callers,
    limits,
    proxies,
    samples,
  }: {
    callers: Pick<Callers, 'authenticate'>;
    limits: Limits;
    proxies: TrustedProxies;
    /** Is told what was refused here. */
    samples?: Pick<AuditSamples, 'refusedToken' | 'overLimit'>;
  },
): Listener {
  /** Counts it, and notes why it must be refused. */
  async function admit(request: IncomingMessage, response: Parameters<Listener>[1]): Promise<void> {
    let closed = false;
    response.once('close', () => {
      closed = true;
    });
    try {
      const caller = await callers.authenticate(request.headers.authorization);
      const { refused, headers, leave } = await limits.enter(caller);
      // Whoever has gone meanwhile is not there to end it.
      if (closed) return leave();
      response.once('close', leave);
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      if (!refused) return;
      refusals.set(request, refused);
      samples?.overLimit(refused.reason, caller.name, clientAddress(request, proxies));
    } catch (thrown) {
      // The route says what is wrong, in the order of its checks. What failed on our side is nobody's guess.
      if (!(thrown instanceof PassferryError) || thrown.code !== 'unauthenticated') return;
      samples?.refusedToken(thrown.reason, clientAddress(request, proxies));
      const refused = await limits.failed(clientAddress(request, proxies));
      if (refused) refusals.set(request, refused);
    }
  }

  return (request, response) => {
    const told = request as IncomingMessage;
    if (told.headers.authorization === undefined || openPath.test(told.url ?? '')) return listener(request, response);
    void admit(told, response).then(() => {
      // Whoever was too slow meanwhile has its answer.
      if (!response.headersSent) listener(request, response);
    });
  };
}
