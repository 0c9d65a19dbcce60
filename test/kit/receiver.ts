import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { atEnd } from './files.ts';

/** One request that a receiver of webhooks has seen. */
export interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  at: number;
}

type Answer = number | ((reply: ServerResponse, received: Received) => void);

/** A real receiver of webhooks on 127.0.0.1; ended after the test file. */
export async function startReceiver() {
  const received: Received[] = [];
  const answers = new Map<string, Answer[]>();
  const server = createServer((request, reply) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (part) => {
      body += part;
    });
    request.on('end', () => {
      const path = request.url ?? '';
      const one = { path, headers: request.headers, body, at: Date.now() };
      received.push(one);
      const left = answers.get(path) ?? [];
      const answer = (left.length > 1 ? left.shift() : left[0]) ?? 204;
      if (typeof answer === 'number') reply.writeHead(answer).end();
      else answer(reply, one);
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  atEnd(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    /** What came to a path so far. */
    at: (path: string): Received[] => received.filter((each) => each.path === path),
    /** Answers of a path, one after the other; the last one stays. Default 204. */
    answer(path: string, ...all: Answer[]): void {
      answers.set(path, all);
    },
  };
}
