import { renameSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { followCertificate } from '../src/certificate.ts';
import { type Listener, type ListenHandle, type ListenOptions, listen } from '../src/listen.ts';
import { createLog } from '../src/log.ts';
import { withinBodyTime } from '../src/producer/http/slow-body.ts';
import { makeCertificate } from './kit/certificate.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { waitFor } from './kit/wait.ts';

const hello: Listener = (request, response) => {
  request.resume();
  (response as http2.Http2ServerResponse).end(`hello ${request.httpVersion}`);
};

async function start(listener: Listener, options: Partial<ListenOptions> = {}): Promise<ListenHandle> {
  const handle = await listen({ host: '127.0.0.1', port: 0, ...options }, listener);
  atEnd(() => handle.close());
  return handle;
}

/** A connection by hand: what it has read, and whether it was closed. */
function dial(port: number) {
  const socket = net.connect({ host: '127.0.0.1', port });
  const seen = { text: '', closed: false };
  socket.on('data', (chunk) => {
    seen.text += chunk.toString('latin1');
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    seen.closed = true;
  });
  atEnd(() => socket.destroy());
  return { socket, seen, send: (text: string) => void socket.write(text, 'latin1') };
}

const closed = (connection: ReturnType<typeof dial>) =>
  waitFor(() => connection.seen.closed, { what: 'the connection to be closed' });

function h2(url: string, path = '/', options: http2.SecureClientSessionOptions = {}) {
  const session = http2.connect(url, options);
  session.on('error', () => {});
  atEnd(() => session.destroy());
  const get = (headers: http2.OutgoingHttpHeaders = {}) =>
    new Promise<string>((resolve, reject) => {
      const stream = session.request({ ':path': path, ...headers });
      let text = '';
      stream.on('data', (chunk) => {
        text += chunk;
      });
      stream.on('end', () => resolve(text));
      stream.on('error', reject);
    });
  return { session, get };
}

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

describe('a connection that says nothing sensible is closed', () => {
  it.each([
    ['nothing', ''],
    ['one byte that may become either', 'P'],
    ['the first word of HTTP/2', 'PRI'],
    ['the preface of HTTP/2 and no more', preface],
  ])('%s', async (_, text) => {
    const { port } = await start(hello, { firstByteMs: 100 });
    const connection = dial(port);
    if (text !== '') connection.send(text);
    await closed(connection);
    expect(connection.seen.text).not.toContain('hello');
  });

  it('a byte now and then does not prolong it', async () => {
    const { port } = await start(hello, { firstByteMs: 100 });
    const connection = dial(port);
    connection.send('P');
    connection.socket.once('connect', () => connection.send('R'));
    await closed(connection);
  });

  it('one that begins slowly with HTTP/2 is served', async () => {
    const { port } = await start(hello, { firstByteMs: 5_000 });
    const connection = dial(port);
    connection.socket.setNoDelay(true);
    const empty = String.fromCharCode(0, 0, 0, 4, 0, 0, 0, 0, 0);
    for (const byte of preface + empty) {
      await new Promise<void>((resolve) => connection.socket.write(byte, 'latin1', () => resolve()));
    }
    // Frame type 4 is the settings of the server.
    await waitFor(() => connection.seen.text.charCodeAt(3) === 4, { what: 'the settings of the server' });
    expect(connection.seen.closed).toBe(false);
  });

  it('one that begins slowly with HTTP/1.1 is served', async () => {
    const { port } = await start(hello);
    const connection = dial(port);
    for (const byte of 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n') {
      await new Promise<void>((resolve) => connection.socket.write(byte, () => resolve()));
    }
    await waitFor(() => connection.seen.text.includes('hello 1.1'), { what: 'an answer' });
  });
});

it('refuses headers over 16 KiB, by HTTP/1.1 and HTTP/2', async () => {
  const { port } = await start(hello);
  const huge = 'x'.repeat(20_000);
  const first = await fetch(`http://127.0.0.1:${port}/`, { headers: { huge } });
  expect(first.status).toBe(431);
  const second = h2(`http://127.0.0.1:${port}`);
  expect(await second.get({ huge: 'x' })).toBe('hello 2.0');
  await expect(second.get({ huge })).rejects.toThrow();
});

describe('closing', () => {
  it('lets calls in flight end on open sessions, and takes no longer', async () => {
    const waiting: (() => void)[] = [];
    const slow: Listener = (request, response) => {
      request.resume();
      waiting.push(() => (response as http2.Http2ServerResponse).end('late'));
    };
    const handle = await start(slow, { graceMs: 20_000 });
    const url = `http://127.0.0.1:${handle.port}`;
    const answers = Promise.all([h2(url).get(), fetch(url).then((answer) => answer.text())]);
    await waitFor(() => waiting.length === 2, { what: 'both calls to be in flight' });
    const end = handle.close();
    await expect(fetch(url)).rejects.toThrow();
    for (const answer of waiting) answer();
    expect(await answers).toEqual(['late', 'late']);
    await end;
  });

  it('ends what does not end within the grace time', async () => {
    let inFlight = 0;
    const never: Listener = () => {
      inFlight += 1;
    };
    const handle = await start(never, { graceMs: 100 });
    const url = `http://127.0.0.1:${handle.port}`;
    const answers = [h2(url).get(), fetch(url)].map((each) => each.catch(() => 'broken'));
    await waitFor(() => inFlight === 2, { what: 'both calls to be in flight' });
    await handle.close();
    await Promise.all(answers);
  });

  it('ends with idle sessions and connections that stay open', async () => {
    const handle = await start(hello, { graceMs: 60_000 });
    const url = `http://127.0.0.1:${handle.port}`;
    expect(await h2(url).get()).toBe('hello 2.0');
    expect(await (await fetch(url)).text()).toBe('hello 1.1');
    dial(handle.port).send('GE');
    await handle.close();
  });
});

describe('a body that does not arrive', () => {
  const limited = withinBodyTime(
    (request) => void request.resume(),
    100,
    (path) => path.startsWith('/imports'),
  );
  const head = (path: string) => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{`;

  it('is answered 408 and closed', async () => {
    const { port } = await start(limited);
    const connection = dial(port);
    connection.send(head('/users/a/password'));
    await closed(connection);
    expect(connection.seen.text).toContain('HTTP/1.1 408');
    expect(connection.seen.text).toContain('passferry-reason: body_slow');
  });

  it('is answered 408 on its stream of HTTP/2, and others go on', async () => {
    const { port } = await start(limited);
    const { session } = h2(`http://127.0.0.1:${port}`);
    const stream = session.request({ ':method': 'POST', ':path': '/users/a/password' });
    stream.on('error', () => {});
    stream.write('{');
    const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => stream.on('response', resolve));
    expect(headers[':status']).toBe(408);
    expect(session.closed).toBe(false);
  });

  it('is waited for when it is a file', async () => {
    const { port } = await start(limited);
    const [file, other] = [dial(port), dial(port)];
    file.send(head('/imports'));
    other.send(head('/jobs'));
    await closed(other);
    expect(file.seen).toEqual({ text: '', closed: false });
  });
});

describe('with a certificate', () => {
  const dir = tempDir();
  const [certFile, keyFile] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  const make = (name: string) => makeCertificate(name, { cert: certFile, key: keyFile });
  const files = { PASSFERRY_TLS_CERT_FILE: certFile, PASSFERRY_TLS_KEY_FILE: keyFile };
  const log = createLog('silent', 'test');

  const nameAt = (port: number) =>
    new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
      socket.on('error', reject);
    });

  it('serves HTTP/2 and HTTP/1.1 by ALPN, and renews it', async () => {
    const ca = make('first');
    const certificate = followCertificate(files, log, 20);
    if (!certificate) throw new Error('no certificate');
    atEnd(() => certificate.stop());
    const handle = await start(hello, { tls: certificate.read(), firstByteMs: 300 });
    certificate.follow(handle.renew);
    const url = `https://127.0.0.1:${handle.port}`;
    expect(await h2(url, '/', { ca }).get()).toBe('hello 2.0');
    const answer = await new Promise<IncomingMessage>((resolve, reject) =>
      https.get(url, { ca, agent: false }, resolve).on('error', reject),
    );
    answer.resume();
    expect(answer.httpVersion).toBe('1.1');
    expect(await nameAt(handle.port)).toBe('first');

    make('second');
    await waitFor(async () => (await nameAt(handle.port)) === 'second', { what: 'the renewed certificate' });

    const [silent, begun, plain] = [dial(handle.port), dial(handle.port), dial(handle.port)];
    begun.send('\x16\x03\x01\x01\x00');
    plain.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await Promise.all([silent, begun, plain].map(closed));
    expect(plain.seen.text).not.toContain('hello');
  });

  it('is refused when certificate and key do not belong together', () => {
    make('one');
    const other = join(dir, 'kept.pem');
    renameSync(certFile, other);
    make('two');
    const certificate = followCertificate({ ...files, PASSFERRY_TLS_CERT_FILE: other }, log);
    expect(() => certificate?.read()).toThrow(expect.objectContaining({ reason: 'config_invalid' }));
  });
});
