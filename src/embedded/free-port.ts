import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * A loopback port that nobody listens on now; somebody may take it before you do, so be ready to ask again. It lies below
 * the range that systems hand to outgoing connections, so that a server that restarts finds it free again.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = randomInt(20_000, 32_000);
    if (await canListen(port)) return port;
  }
  throw new Error('no free loopback port was found between 20000 and 32000');
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)));
  });
}
