import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';

export type Listener = (
  request: http.IncomingMessage | http2.Http2ServerRequest,
  response: http.ServerResponse | http2.Http2ServerResponse,
) => void;

export interface ListenOptions {
  host: string;
  /** 0: any free one. */
  port: number;
  /** Certificate and key, PEM. With it the protocol is chosen by ALPN, without it by the first bytes. */
  tls?: { cert: string; key: string };
  /** A connection that has not said anything sensible for so long is closed, ms. Default 10,000. */
  firstByteMs?: number;
  /** How long `close` lets requests in flight finish, ms. Default 400. */
  graceMs?: number;
}

export interface ListenHandle {
  port: number;
  /** Takes a renewed certificate for new connections. */
  renew(tls: { cert: string; key: string }): void;
  /** No new connections; requests in flight finish within the grace time, then what is left is destroyed. */
  close(): Promise<void>;
}

/** What an HTTP/2 client begins with; three bytes tell it from every HTTP/1.1 method. */
const preface = 'PRI';
/** Of one request's headers, bytes: both protocols. */
const headerLimit = 16 * 1024;
const headersMs = 15_000;
const keepAliveMs = 75_000;
/** Requests at once on one HTTP/2 connection. */
const streamLimit = 256;

/** HTTP/1.1 and HTTP/2 on one port. Errors: those of listening (`EADDRINUSE` …). */
export async function listen(options: ListenOptions, listener: Listener): Promise<ListenHandle> {
  const { host, port, firstByteMs = 10_000, graceMs = 400 } = options;
  let inFlight = 0;
  let onIdle = () => {};
  const counting: Listener = (request, response) => {
    inFlight += 1;
    response.once('close', () => {
      inFlight -= 1;
      if (inFlight === 0) onIdle();
    });
    listener(request, response);
  };
  const http1 = http.createServer(
    // Uploads take as long as they take; headers do not.
    { maxHeaderSize: headerLimit, headersTimeout: headersMs, requestTimeout: 0, keepAliveTimeout: keepAliveMs },
    counting,
  );
  const h2 = http2.createServer(
    { settings: { maxConcurrentStreams: streamLimit, maxHeaderListSize: headerLimit }, maxSessionMemory: 16 },
    counting,
  );
  const sockets = new Set<net.Socket>();
  const sessions = new Set<http2.ServerHttp2Session>();
  h2.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  h2.on('sessionError', () => {});

  const server = options.tls
    ? tls.createServer({ ...options.tls, ALPNProtocols: ['h2', 'http/1.1'], handshakeTimeout: firstByteMs })
    : net.createServer();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    if (!options.tls) sniff(socket);
  });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    socket.on('error', () => {});
    (socket.alpnProtocol === 'h2' ? h2 : http1).emit('connection', socket);
  });

  function sniff(socket: net.Socket): void {
    // An own timer: bytes that say nothing must not prolong it.
    const timer = setTimeout(() => socket.destroy(), firstByteMs);
    socket.once('close', () => clearTimeout(timer));
    let seen = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      const start = seen.toString('latin1', 0, preface.length);
      if (start.length < preface.length && preface.startsWith(start)) return;
      clearTimeout(timer);
      socket.off('data', onData);
      socket.pause();
      socket.unshift(seen);
      (start === preface ? h2 : http1).emit('connection', socket);
      if (start !== preface) socket.resume();
    };
    socket.on('data', onData);
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });

  return {
    port: (server.address() as net.AddressInfo).port,
    renew(renewed) {
      if (server instanceof tls.Server) server.setSecureContext(renewed);
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      http1.closeIdleConnections();
      const destroy = () => {
        for (const session of sessions) session.destroy();
        for (const socket of sockets) socket.destroy();
      };
      const timer = setTimeout(destroy, inFlight === 0 ? 0 : graceMs);
      // Keep-alive connections have nothing more to say; the last answer still has to be written out.
      onIdle = () => setTimeout(destroy, 50);
      await closed;
      clearTimeout(timer);
    },
  };
}
