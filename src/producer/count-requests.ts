import type { Http2ServerResponse } from 'node:http2';
import type { Listener } from '../listen.ts';
import type { RequestMetrics } from '../metrics.ts';

/** The pattern of the route that a request met, never its address: a label must not grow with what somebody sends. */
const routes = new WeakMap<object, string>();

export function noteRoute(request: object, route: string | undefined): void {
  if (route !== undefined) routes.set(request, route);
}

/** Counts every answer of a port, whatever its protocol; one whose caller went before it began counts as 499. */
export function counted(listener: Listener, metrics: Pick<RequestMetrics, 'count'>): Listener {
  return (request, response) => {
    response.once('close', () => {
      const status = response.headersSent ? response.statusCode : 499;
      metrics.count(routes.get(request), request.method ?? '', status, grpcStatus(response));
    });
    listener(request, response);
  };
}

/** In its trailers, or in the headers of an answer that has nothing else. */
function grpcStatus(response: Parameters<Listener>[1]): string | undefined {
  const trailers = (response as Partial<Http2ServerResponse>).stream?.sentTrailers;
  const told = trailers?.['grpc-status'] ?? sentHeader(response, 'grpc-status');
  return told === undefined ? undefined : String(told);
}

function sentHeader(response: Parameters<Listener>[1], name: string): unknown {
  const headers = (response as Partial<Http2ServerResponse>).stream?.sentHeaders;
  return headers ? headers[name] : response.getHeader(name);
}
