import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassferryError } from '../../errors.ts';
import type { Listener } from '../../listen.ts';
import { v1Error } from './errors.ts';

/**
 * A body that has not arrived within `bodyMs` is answered 408 and its connection closed (HTTP/2: its stream), so that nobody
 * keeps one by sending a byte a minute. Not those that may take long: `exempt` by path.
 */
export function withinBodyTime(listener: Listener, bodyMs: number, exempt: (path: string) => boolean): Listener {
  return (request, response) => {
    if (!exempt(request.url ?? '')) {
      const timer = setTimeout(() => refuse(request as IncomingMessage, response as ServerResponse), bodyMs);
      const stop = () => clearTimeout(timer);
      request.once('end', stop);
      response.once('close', stop);
    }
    listener(request, response);
  };
}

function refuse(request: IncomingMessage, response: ServerResponse): void {
  if (!response.headersSent) {
    const { status, headers, body } = v1Error(new PassferryError('body_slow'));
    const own = request.httpVersionMajor === 1 ? { connection: 'close' } : {};
    response.writeHead(status, { ...headers, ...own, 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(JSON.stringify(body));
  }
  // The answer leaves first.
  setImmediate(() => request.destroy());
}
