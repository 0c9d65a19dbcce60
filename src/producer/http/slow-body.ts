import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassferryError } from '../../errors.ts';
import type { Listener } from '../../listen.ts';
import { v1Words } from '../v1-texts.ts';
import { v1Error } from './errors.ts';

/**
 * A body that has not arrived within `bodyMs` is answered 408 and its connection closed (HTTP/2: its stream), so that nobody
 * keeps one by sending a byte a minute. Those that may take long, `exempt` by path, have the time from their answer on: a
 * file that was refused is not read for ever.
 */
export function withinBodyTime(listener: Listener, bodyMs: number, exempt: (path: string) => boolean): Listener {
  return (request, response) => {
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const start = () => {
      if (!over) timer ??= setTimeout(() => refuse(request as IncomingMessage, response as ServerResponse), bodyMs);
    };
    const stop = () => {
      over = true;
      clearTimeout(timer);
    };
    request.once('end', stop);
    request.once('close', stop);
    if (exempt(request.url ?? '')) response.once('close', start);
    else start();
    listener(request, response);
  };
}

function refuse(request: IncomingMessage, response: ServerResponse): void {
  if (!response.headersSent) {
    const error = new PassferryError('body_slow');
    const { status, headers, body } = v1Error(error);
    const own = request.httpVersionMajor === 1 ? { connection: 'close' } : {};
    const shared = { ...headers, ...own, 'cache-control': 'no-store' };
    const [grpc] = /^application\/grpc[\w+-]*/i.exec(request.headers['content-type'] ?? '') ?? [];
    if (grpc) {
      const { code, message } = v1Words(error);
      const ended = { 'content-type': grpc, 'grpc-status': `${code}`, 'grpc-message': message };
      response.writeHead(200, { ...shared, ...ended }).end();
    } else {
      response.writeHead(status, { ...shared, 'content-type': 'application/json' }).end(JSON.stringify(body));
    }
  }
  // The answer leaves first.
  setImmediate(() => request.destroy());
}
