import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import type { Listener } from './rpc.ts';

/** What an HTTP/2 client begins with; three bytes tell it from every HTTP/1.1 method. */
const preface = 'PRI';
const firstByteMs = 10_000;
const graceMs = 400;

export interface ListenHandle {
  port: number;
  /** Lets calls in flight finish for a moment, then destroys what is left; takes less than 500 ms. */
  close(): Promise<void>;
}

/** HTTP/1.1 and HTTP/2 without TLS on one port, told apart by the first bytes of each connection. */
export async function listen(host: string, port: number, listener: Listener): Promise<ListenHandle> {
  let inFlight = 0;
  const counting: Listener = (request, response) => {
    inFlight += 1;
    response.once('close', () => {
      inFlight -= 1;
    });
    listener(request, response);
  };
  const http1 = http.createServer(counting);
  const h2 = http2.createServer({}, counting);
  const sockets = new Set<net.Socket>();
  const sessions = new Set<http2.ServerHttp2Session>();
  h2.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });

  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.setTimeout(firstByteMs, () => socket.destroy());
    let seen = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      const start = seen.toString('latin1', 0, preface.length);
      if (start.length < preface.length && preface.startsWith(start)) return;
      socket.off('data', onData);
      socket.pause();
      socket.setTimeout(0);
      socket.unshift(seen);
      (start === preface ? h2 : http1).emit('connection', socket);
      if (start !== preface) socket.resume();
    };
    socket.on('data', onData);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });

  return {
    port: (server.address() as net.AddressInfo).port,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      http1.closeIdleConnections();
      const timer = setTimeout(
        () => {
          for (const session of sessions) session.destroy();
          for (const socket of sockets) socket.destroy();
        },
        inFlight === 0 ? 0 : graceMs,
      );
      await closed;
      clearTimeout(timer);
    },
  };
}
