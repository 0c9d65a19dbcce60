import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { type Listener, type ListenHandle, type ListenOptions, listen } from '../src/listen.ts';
import { createLog } from '../src/log.ts';
import { withinBodyTime } from '../src/producer/http/slow-body.ts';
import { rpcListener } from '../src/producer/rpc/rpc.ts';
import type { V1Deps } from '../src/producer/v1-call.ts';
import { makeCertificate } from './kit/certificate.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { waitFor } from './kit/wait.ts';

const hello: Listener = (request, response) => {
  request.resume();
  (response as http2.Http2ServerResponse).end('hello');
};

async function start(listener: Listener, options: Partial<ListenOptions> = {}): Promise<ListenHandle> {
  const handle = await listen({ host: '127.0.0.1', port: 0, ...options }, listener);
  atEnd(() => handle.close());
  return handle;
}

/** A connection by hand: what it has read, and whether it was closed. */
function watch(socket: net.Socket) {
  const seen = { text: '', closed: false };
  socket.on('data', (chunk) => {
    seen.text += chunk.toString('latin1');
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    seen.closed = true;
  });
  atEnd(() => socket.destroy());
  return {
    socket,
    seen,
    send: (bytes: string | Buffer) => void socket.write(bytes as string, 'latin1'),
    closed: () => waitFor(() => seen.closed, { what: 'the connection to be closed' }),
  };
}
const dial = (port: number) => watch(net.connect({ host: '127.0.0.1', port }));

function session(port: number) {
  const client = http2.connect(`http://127.0.0.1:${port}`);
  const state = { closed: false };
  client.on('error', () => {});
  client.on('close', () => {
    state.closed = true;
  });
  atEnd(() => client.destroy());
  return { client, closed: () => waitFor(() => state.closed, { what: 'the session to be closed' }) };
}

/** Of one HTTP/2 request: its headers, and how its stream ended. */
function request(client: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders, body?: string) {
  const stream = client.request(headers);
  const told: { headers?: http2.IncomingHttpHeaders; closed: boolean } = { closed: false };
  stream.on('response', (each) => {
    told.headers = each;
  });
  stream.on('error', () => {});
  stream.on('close', () => {
    told.closed = true;
  });
  stream.resume();
  if (body !== undefined) stream.write(body);
  return { told, closed: () => waitFor(() => told.closed, { what: 'the stream to be closed' }) };
}

async function stillServes(port: number): Promise<void> {
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('hello');
}

describe('headers', () => {
  const begun = 'GET / HTTP/1.1\r\nHost: x\r\n';

  it('that do not end in time close the connection', async () => {
    const { port } = await start(hello, { headersMs: 100 });
    const connection = dial(port);
    connection.send(begun);
    await connection.closed();
    expect(connection.seen.text).toContain('408');
    expect(connection.seen.text).not.toContain('hello');
  });

  it('that come a line now and then get no more time', async () => {
    const { port } = await start(hello, { headersMs: 100 });
    const connection = dial(port);
    connection.send(begun);
    const line = () => {
      if (!connection.seen.closed) connection.socket.write('a: b\r\n', () => setTimeout(line, 10));
    };
    line();
    await connection.closed();
    expect(connection.seen.text).not.toContain('hello');
  });

  it('that do not end in time close the connection with TLS too', async () => {
    const dir = tempDir();
    const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
    makeCertificate('slow', { cert, key });
    const pem = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
    const { port } = await start(hello, { headersMs: 100, tls: pem });
    const socket = tls.connect({ host: '127.0.0.1', port, ca: pem.cert, ALPNProtocols: ['http/1.1'] });
    const connection = watch(socket);
    connection.send(begun);
    await connection.closed();
    expect(connection.seen.text).toContain('408');
  });

  it('of HTTP/2 whose end never comes close the session', async () => {
    const { port } = await start(hello, { idleMs: 100 });
    const connection = dial(port);
    // HEADERS of stream 1 without END_HEADERS.
    connection.send(Buffer.concat([hello2, frame(1, 0, 1, Buffer.from([0x82, 0x86, 0x84]))]));
    await connection.closed();
  });

  it('are taken up to 128, by HTTP/1.1 and HTTP/2', async () => {
    const { port } = await start(hello);
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`h-${i}`, '1']));
    const url = `http://127.0.0.1:${port}/`;
    expect((await fetch(url, { headers: many(100) })).status).toBe(200);
    expect((await fetch(url, { headers: many(129) })).status).toBe(431);
    const { client } = session(port);
    const [fine, much] = [request(client, many(100)), request(client, many(129))];
    await Promise.all([fine.closed(), much.closed()]);
    expect(fine.told.headers?.[':status']).toBe(200);
    expect(much.told.headers?.[':status']).not.toBe(200);
    await stillServes(port);
  });
});

describe('a body that never ends', () => {
  const method = '/zitadel.management.v1.ManagementService/SetHumanPassword';
  const deps = { log: createLog('silent', 'test'), closing: new AbortController().signal };
  const limited = (bodyMs = 100) => withinBodyTime(rpcListener(deps as V1Deps, hello), bodyMs, () => false);

  it.each(['application/grpc', 'application/grpc+proto', 'application/grpc-web+proto'])(
    'of %s is ended with a status of gRPC, and its stream',
    async (type) => {
      const { port } = await start(limited());
      const { client } = session(port);
      const call = request(client, { ':method': 'POST', ':path': method, 'content-type': type }, '\0');
      await call.closed();
      expect(call.told.headers).toMatchObject({ ':status': 200, 'content-type': type, 'grpc-status': '3' });
      expect(client.closed).toBe(false);
    },
  );

  it.each(['application/json', 'application/proto'])('of Connect in %s is answered 408', async (type) => {
    const { port } = await start(limited());
    const connection = dial(port);
    connection.send(`POST ${method} HTTP/1.1\r\nHost: x\r\nContent-Type: ${type}\r\nContent-Length: 9\r\n\r\n{`);
    await connection.closed();
    expect(connection.seen.text).toContain('HTTP/1.1 408');
    expect(connection.seen.text).toContain('passferry-reason: body_slow');
  });

  it('is not read for ever after its answer, nor that of a file which was refused', async () => {
    const refusing: Listener = (asked, response) => {
      asked.resume();
      (response as http2.Http2ServerResponse).writeHead(401);
      response.end();
    };
    for (const exempt of [false, true]) {
      const { port } = await start(withinBodyTime(refusing, 100, () => exempt));
      const connection = dial(port);
      connection.send('POST /imports HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n');
      const more = () => {
        if (!connection.seen.closed) connection.socket.write('x', () => setTimeout(more, 10));
      };
      more();
      await connection.closed();
      expect(connection.seen.text).toContain('HTTP/1.1 401');
    }
  });

  it('that has come keeps its connection', async () => {
    const { port } = await start(limited(5_000));
    const connection = dial(port);
    const ask = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx';
    connection.send(ask);
    await waitFor(() => connection.seen.text.includes('hello'), { what: 'the first answer' });
    connection.send(ask);
    await waitFor(() => connection.seen.text.split('hello').length === 3, { what: 'the second answer' });
    expect(connection.seen.closed).toBe(false);
  });
});

/** Preface and empty settings. */
const hello2 = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0)]);

function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

describe('floods of HTTP/2', () => {
  it('a session that only pings is closed after the idle time', async () => {
    const { port } = await start(hello, { idleMs: 100 });
    const { client, closed } = session(port);
    const ping = () => void (client.destroyed || client.ping(() => setTimeout(ping, 10)));
    client.once('connect', ping);
    await closed();
  });

  it('a session is not closed while a call waits, and serves the next one', async () => {
    const waiting: http2.Http2ServerResponse[] = [];
    const { port } = await start(
      (_, response) => {
        waiting.push(response as http2.Http2ServerResponse);
      },
      { idleMs: 50 },
    );
    const { client } = session(port);
    const call = request(client, { ':path': '/' });
    const idle = session(port);
    // Longer than the other one may be idle.
    await idle.closed();
    expect(client.closed).toBe(false);
    waiting[0]?.end('late');
    await call.closed();
    expect(call.told.headers?.[':status']).toBe(200);
  });

  // GET, http, /, authority x.
  const headers = Buffer.from([0x82, 0x86, 0x84, 0x41, 0x01, 0x78]);

  it('requests that are reset at once end their connection, and no other', async () => {
    let begun = 0;
    const counted: Listener = (...args) => {
      begun += 1;
      hello(...args);
    };
    const { port } = await start(counted, { idleMs: 100 });
    const connection = dial(port);
    const cancel = Buffer.from([0, 0, 0, 8]);
    const pairs = Array.from({ length: 5_000 }, (_, i) =>
      Buffer.concat([frame(1, 0x5, 2 * i + 1, headers), frame(3, 0, 2 * i + 1, cancel)]),
    );
    connection.send(Buffer.concat([hello2, ...pairs]));
    await connection.closed();
    expect(begun).toBeLessThan(5_000);
    await stillServes(port);
  });

  it('more streams at once than allowed are refused', async () => {
    let open = 0;
    const { port } = await start(() => {
      open += 1;
    });
    const connection = dial(port);
    const streams = Array.from({ length: 1_000 }, (_, i) => frame(1, 0x5, 2 * i + 1, headers));
    connection.send(Buffer.concat([hello2, ...streams]));
    // RST_STREAM: four bytes, type 3.
    const refused = () => connection.seen.text.split('\0\0\x04\x03\0').length - 1;
    await waitFor(() => refused() >= 1_000 - 256, { what: 'the others to be refused' });
    expect(open).toBe(256);
  });

  it('too many settings end their connection, and no other', async () => {
    const { port } = await start(hello, { idleMs: 100 });
    const connection = dial(port);
    // 33 entries in one frame.
    const entry = Buffer.from([0, 3, 0, 0, 0, 100]);
    connection.send(Buffer.concat([hello2, frame(4, 0, 0, Buffer.concat(Array.from({ length: 33 }, () => entry)))]));
    await connection.closed();
    await stillServes(port);
  });
});

it.each([
  ['pings', 6, Buffer.alloc(8)],
  ['settings', 4, Buffer.from([0, 3, 0, 0, 0, 100])],
])('a flood of %s ends its connection, and no other', async (_, type, payload) => {
  const { port } = await start(hello, { idleMs: 100 });
  const connection = dial(port);
  connection.send(Buffer.concat([hello2, ...Array.from({ length: 20_000 }, () => frame(type, 0, 0, payload))]));
  await connection.closed();
  await stillServes(port);
});

describe('connections', () => {
  it('over the most that may be open are closed unheard, until one ends', async () => {
    const { port } = await start(hello, { maxConnections: 2 });
    const [first, second] = [dial(port), dial(port)];
    const ask = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
    for (const each of [first, second]) {
      each.send(ask);
      await waitFor(() => each.seen.text.includes('hello'), { what: 'an answer' });
    }
    const third = dial(port);
    third.send(ask);
    await third.closed();
    expect(third.seen.text).toBe('');
    first.socket.destroy();
    await waitFor(
      async () => {
        const next = dial(port);
        next.send(ask);
        await waitFor(() => next.seen.closed || next.seen.text !== '', { what: 'an answer or an end' });
        return next.seen.text.includes('hello');
      },
      { what: 'a place to be free' },
    );
  });

  it('of HTTP/1.1 without a request in hand are closed after the idle time', async () => {
    const { port } = await start(hello, { idleMs: 100 });
    const connection = dial(port);
    connection.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await connection.closed();
    expect(connection.seen.text).toContain('hello');
  });
});
