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
  /** A connection without a request in hand is closed after so long, ms. Default 75,000. */
  idleMs?: number;
  /** The headers of an HTTP/1.1 request must be there after so long, ms. Default 15,000. */
  headersMs?: number;
  /** Open connections; one more is closed unheard. Default 10,000. */
  maxConnections?: number;
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
/** Their number. */
const headerCount = 128;
/** For the last bytes of an answer to leave, ms. */
const flushMs = 50;
/** A caller whose machine has gone without a word does not keep its connection. */
const alive = { keepAlive: true, keepAliveInitialDelay: 60_000 };
/** Requests at once on one HTTP/2 connection. Node ends one that resets them in floods, or is refused too many. */
const streamLimit = 256;
/** What a client may ask for before anything is read, in one of its frames. */
const settingsLimit = 32;

/** HTTP/1.1 and HTTP/2 on one port. Errors: those of listening (`EADDRINUSE` …). */
export async function listen(options: ListenOptions, listener: Listener): Promise<ListenHandle> {
  const { host, port, firstByteMs = 10_000, idleMs = 75_000, headersMs = 15_000, graceMs = 400 } = options;
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
    {
      maxHeaderSize: headerLimit,
      headersTimeout: headersMs,
      requestTimeout: 0,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: Math.min(2_000, headersMs),
    },
    (request, response) => {
      if (request.rawHeaders.length > 2 * headerCount) response.writeHead(431, { connection: 'close' }).end();
      else counting(request, response);
    },
  );
  // Node would leave out what is too much.
  http1.maxHeadersCount = 0;
  // It never listens itself, and only at this does it begin to watch its connections.
  http1.emit('listening');
  const h2 = http2.createServer(
    {
      settings: { maxConcurrentStreams: streamLimit, maxHeaderListSize: headerLimit },
      maxSessionMemory: 16,
      maxHeaderListPairs: headerCount,
      maxSettings: settingsLimit,
    },
    counting,
  );
  const sockets = new Set<net.Socket>();
  /** By peer, as the encrypted socket does not show the one below it. */
  const shaking = new Map<string, NodeJS.Timeout>();
  const sessions = new Set<http2.ServerHttp2Session>();
  h2.on('session', (session) => {
    sessions.add(session);
    // What every client says first; until then it may have sent three bytes.
    const timer = setTimeout(() => session.destroy(), firstByteMs);
    session.once('remoteSettings', () => clearTimeout(timer));
    // Whatever it says that is no request, and also one that its peer has broken: it is told so, and Node would keep it.
    // A call that waits is left alone.
    let open = 0;
    let idle: NodeJS.Timeout;
    const rest = () => {
      idle = setTimeout(() => session.destroy(), idleMs);
    };
    rest();
    session.on('stream', (stream, headers) => {
      open += 1;
      clearTimeout(idle);
      stream.once('close', () => {
        open -= 1;
        if (open === 0 && !session.destroyed) rest();
      });
      // A body that is no part of the question, and of whose answer there is no end that could be waited for.
      const isHead = headers[':method'] === 'HEAD';
      if (isHead && !stream.endAfterHeaders) stream.close(http2.constants.NGHTTP2_PROTOCOL_ERROR);
      // What was answered unread would keep the stream, and of the window that it shares with all others.
      stream.once('wantTrailers', () => {
        setImmediate(() => {
          if (!stream.destroyed && !stream.readableEnded) stream.close(http2.constants.NGHTTP2_NO_ERROR);
        });
      });
    });
    session.on('close', () => {
      clearTimeout(timer);
      clearTimeout(idle);
      sessions.delete(session);
    });
    session.on('error', () => {});
  });
  h2.on('sessionError', () => {});
  h2.on('checkExpectation', (request, response) => {
    // Node leaves the body unread, and the stream open for as long as it is.
    request.resume();
    response.writeHead(417).end();
  });

  const server = options.tls
    ? tls.createServer({ ...options.tls, ...alive, ALPNProtocols: ['h2', 'http/1.1'], handshakeTimeout: firstByteMs })
    : net.createServer(alive);
  server.maxConnections = options.maxConnections ?? 10_000;
  server.on('connection', (socket: net.Socket) => {
    const peer = peerOf(socket);
    sockets.add(socket);
    socket.on('close', () => {
      sockets.delete(socket);
      shaking.delete(peer);
    });
    socket.on('error', () => {});
    // Own timers: bytes that say nothing must not prolong them.
    const timer = setTimeout(() => socket.destroy(), firstByteMs);
    socket.once('close', () => clearTimeout(timer));
    if (options.tls) shaking.set(peer, timer);
    else sniff(socket, timer);
  });
  // Nobody else ends what failed here.
  server.on('tlsClientError', (_error, socket: tls.TLSSocket) => socket.destroy());
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    clearTimeout(shaking.get(peerOf(socket)));
    socket.on('error', () => {});
    (socket.alpnProtocol === 'h2' ? h2 : http1).emit('connection', socket);
  });

  function sniff(socket: net.Socket, timer: NodeJS.Timeout): void {
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
      // Also ends its watching.
      http1.close();
      const destroy = () => {
        for (const session of sessions) session.destroy();
        for (const socket of sockets) socket.destroy();
      };
      const timer = setTimeout(destroy, inFlight === 0 ? flushMs : graceMs);
      // Keep-alive connections have nothing more to say; the last answer still has to be written out.
      onIdle = () => setTimeout(destroy, flushMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

function peerOf({ remoteAddress, remotePort }: net.Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
