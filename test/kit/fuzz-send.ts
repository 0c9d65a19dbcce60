import http2 from 'node:http2';
import net from 'node:net';
import type { Input } from './fuzz-inputs.ts';
import type { Header } from './fuzz-words.ts';

/** What came back: `text` has the body as latin1, `head` status line, headers and trailers. */
export interface Reply {
  /** Undefined: no answer, a clean end. */
  status: number | undefined;
  head: string;
  text: string;
}

/** How long anything may take: longer than any wait that can be asked for, on a machine that is busy. */
const hangMs = 45_000;

/** Sends to a loopback port; HTTP/2 requests share one connection. Error of `send`: a hang. */
export function createSender(port: number) {
  let session: http2.ClientHttp2Session | undefined;

  function connected(): http2.ClientHttp2Session {
    if (session && !session.closed && !session.destroyed) return session;
    const made = http2.connect(`http://127.0.0.1:${port}`);
    made.on('error', () => {});
    made.on('goaway', () => made.close());
    session = made;
    return made;
  }

  return {
    send: (input: Input): Promise<Reply> => {
      if (input.kind === 'socket') return bySocket(port, input.bytes, true);
      return input.over === 'h2' ? byHttp2(connected, input, port) : bySocket(port, serialize(input), !input.framed);
    },
    close: () => session?.destroy(),
  };
}

type Request = Extract<Input, { kind: 'request' }>;

/** HTTP/1.1 as it would stand on the wire, with whatever bytes a header has; line ends of its own would be another request. */
function serialize({ method, path, headers, body }: Request): Buffer {
  const clean = (value: string) => value.replace(/[\r\n]/g, ' ');
  const lied = headers.some(([name]) => name === 'content-length' || name === 'transfer-encoding');
  const all: Header[] = [['host', 'fuzz'], ['connection', 'close'], ...headers];
  if (!lied) all.push(['content-length', String(body.length)]);
  const head = [`${method} ${path} HTTP/1.1`, ...all.map(([name, value]) => `${name}: ${clean(value)}`)];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
}

/** Writes, reads until the other side has ended. `end`: says that no more will come, so that nothing waits for it. */
function bySocket(port: number, bytes: Buffer, end: boolean): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1' });
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`hangs: nothing for ${hangMs} ms`));
    }, hangMs);
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      // Told to go: that is the answer, and the connection is ours to close.
      if (bytes[0] === 0x50 && saysGoAway(Buffer.concat(chunks))) socket.destroy();
    });
    // A reset is an end: it comes when what was sent is not read to its end.
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(read(Buffer.concat(chunks).toString('latin1')));
    });
    if (end) socket.end(bytes);
    else socket.write(bytes);
  });
}

/** Is there a whole GOAWAY among these frames of HTTP/2? */
function saysGoAway(frames: Buffer): boolean {
  for (let at = 0; at + 9 <= frames.length; at += 9 + frames.readUIntBE(at, 3)) {
    if (frames[at + 3] === 7 && frames[at + 4] === 0) return true;
  }
  return false;
}

function read(answer: string): Reply {
  const at = answer.indexOf('\r\n\r\n');
  const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1];
  // Frames of HTTP/2 and what else there is count as text.
  if (status === undefined || at < 0) return { status: undefined, head: '', text: answer };
  if (status === '100') return read(answer.slice(at + 4));
  return { status: Number(status), head: answer.slice(0, at), text: answer.slice(at + 4) };
}

function byHttp2(connected: () => http2.ClientHttp2Session, input: Request, port: number): Promise<Reply> {
  const headers: http2.OutgoingHttpHeaders = { ':method': input.method, ':path': input.path || '/' };
  for (const [name, value] of input.headers) headers[name] = value;
  let stream: http2.ClientHttp2Stream;
  try {
    stream = connected().request(headers, { endStream: input.body.length === 0 });
  } catch {
    // This client does not say such a thing; the other protocol can.
    return bySocket(port, serialize(input), !input.framed);
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const heads: string[] = [];
    let status: number | undefined;
    const timer = setTimeout(() => {
      stream.close();
      reject(new Error(`hangs: nothing for ${hangMs} ms`));
    }, hangMs);
    const note = (all: http2.IncomingHttpHeaders) => {
      for (const [name, value] of Object.entries(all)) heads.push(`${name}: ${value}`);
    };
    stream.on('response', (all) => {
      status = Number(all[':status']);
      note(all);
    });
    stream.on('trailers', note);
    // The answer is whole; what is left of the body is of no use.
    stream.on('end', () => stream.close());
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', () => {});
    stream.on('close', () => {
      clearTimeout(timer);
      resolve({ status, head: heads.join('\r\n'), text: Buffer.concat(chunks).toString('latin1') });
    });
    // A body may be refused before it was sent whole.
    if (input.body.length > 0) stream.end(input.body);
  });
}
