import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Metrics, metricsText, metricsType, processRegistry } from './metrics.ts';

export interface Admin {
  /** Where the numbers are. */
  url: string;
  close(): void;
}

/** Whoever asks a port like this is one or two watchers. */
const mostConnections = 64;

/**
 * A port of its own for numbers: `GET /metrics`. It asks for no token, so it belongs on loopback or in a closed network. Port 0
 * takes a free one. Errors: those of listening (`EADDRINUSE` …).
 */
export async function startAdmin({ host, port }: { host: string; port: number }, parts: Metrics[]): Promise<Admin> {
  processRegistry();
  const server = createServer((request, response) => {
    request.resume();
    const say = (status: number, type: string, body: string, more = {}) => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', ...more });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const plain = 'text/plain; charset=utf-8';
    if ((request.url ?? '').split('?', 1)[0] !== '/metrics') return say(404, plain, 'Not Found\n');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return say(405, plain, 'Method Not Allowed\n', { allow: 'GET, HEAD' });
    }
    metricsText(parts).then(
      (text) => say(200, metricsType, text),
      () => say(500, plain, 'The numbers cannot be read.\n'),
    );
  });
  server.maxConnections = mostConnections;
  server.listen(port, host);
  await once(server, 'listening');
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}/metrics`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
