import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { freePort } from '../../src/embedded/free-port.ts';
import { atEnd } from './files.ts';

/** Marks requests: those whose bytes contain the text. Default: any. */
export type Matching = string;

/** Faults of a network, between a client and a real server. All of them hold until {@link restore}. */
export interface FaultProxy {
  port: number;
  /** Breaks all connections and refuses new ones. */
  cut(): void;
  /** Listens, forwards, forgets every fault. What a black hole held back flows on. */
  restore(): Promise<void>;
  /** Connections stay or come up, and no byte moves. */
  blackhole(): void;
  /** Connections that are up go silent for ever, as after a fail-over without a word; new ones work. */
  strand(): void;
  /** Every reply takes this much longer. 0 ends it. */
  delay(ms: number): void;
  /** The next requests reach the server; the reply is swallowed and the connection broken. Default: one request. */
  dropReplies(count?: number, matching?: Matching): void;
  /** How many replies were swallowed so far. */
  dropped(): number;
  /** The next request does not reach the server; the client reads these bytes instead. */
  injectReply(reply: Buffer, matching?: Matching): void;
  stop(): Promise<void>;
}

interface Pair {
  client: Socket;
  target?: Socket;
  dropping: boolean;
  held: { due: number; send: () => void }[];
  timer?: NodeJS.Timeout;
}

/** A TCP proxy with faults on a loopback port of its own; ended after the test file. */
export async function startProxy(options: { targetHost: string; targetPort: number }): Promise<FaultProxy> {
  const pairs = new Set<Pair>();
  const stranded = new Set<Pair>();
  let server: Server | undefined;
  let hole = false;
  let delayMs = 0;
  let drops = { left: 0, matching: '' };
  let dropped = 0;
  let injection: { reply: Buffer; matching: Matching } | undefined;

  function accept(client: Socket): void {
    const pair: Pair = { client, dropping: false, held: [] };
    pairs.add(pair);
    client.pause();
    endTogether(pair, client);
    if (!hole) join(pair);
  }

  function join(pair: Pair): void {
    const target = connect({ host: options.targetHost, port: options.targetPort });
    pair.target = target;
    for (const socket of [pair.client, target]) socket.setNoDelay(true);
    endTogether(pair, target);
    pair.client.on('data', (bytes) => request(pair, target, bytes as Buffer));
    target.on('data', (bytes) => reply(pair, () => pair.client.write(bytes)));
    pair.client.on('end', () => target.end());
    pair.client.resume();
    target.on('end', () => reply(pair, () => pair.client.end()));
  }

  function request(pair: Pair, target: Socket, bytes: Buffer): void {
    if (injection && bytes.includes(injection.matching)) {
      const { reply: injected } = injection;
      injection = undefined;
      pair.client.write(injected);
      return;
    }
    if (drops.left > 0 && !pair.dropping && bytes.includes(drops.matching)) {
      drops.left--;
      pair.dropping = true;
    }
    target.write(bytes);
  }

  function reply(pair: Pair, send: () => void): void {
    if (pair.dropping) {
      dropped++;
      breakUp(pair);
      return;
    }
    if (delayMs === 0 && pair.held.length === 0) {
      send();
      return;
    }
    pair.held.push({ due: Date.now() + delayMs, send });
    release(pair);
  }

  /** In order, also when the delay changes between two replies. */
  function release(pair: Pair): void {
    clearTimeout(pair.timer as NodeJS.Timeout | undefined);
    const head = pair.held[0];
    if (!head) return;
    pair.timer = setTimeout(
      () => {
        pair.held.shift();
        head.send();
        release(pair);
      },
      Math.max(0, head.due - Date.now()),
    );
  }

  function endTogether(pair: Pair, socket: Socket): void {
    socket.on('error', () => breakUp(pair));
    socket.on('close', () => {
      if (pair.held.length === 0) breakUp(pair);
    });
  }

  function breakUp(pair: Pair): void {
    clearTimeout(pair.timer as NodeJS.Timeout | undefined);
    pairs.delete(pair);
    stranded.delete(pair);
    pair.client.destroy();
    pair.target?.destroy();
  }

  function listen(port: number): Promise<boolean> {
    return new Promise((resolve) => {
      const next = createServer({ allowHalfOpen: true }, accept);
      next.once('error', () => resolve(false));
      next.listen({ port, host: '127.0.0.1' }, () => {
        server = next;
        resolve(true);
      });
    });
  }

  function cut(): void {
    server?.close();
    server = undefined;
    for (const pair of [...pairs, ...stranded]) breakUp(pair);
  }

  let port = await freePort();
  while (!(await listen(port))) port = await freePort();
  const proxy: FaultProxy = {
    port,
    cut,
    async restore() {
      hole = false;
      delayMs = 0;
      drops = { left: 0, matching: '' };
      injection = undefined;
      for (const pair of pairs) {
        if (pair.target) for (const socket of [pair.client, pair.target]) socket.resume();
        else join(pair);
      }
      if (!server && !(await listen(port))) throw new Error('the port of the proxy was taken');
    },
    blackhole() {
      hole = true;
      for (const pair of pairs) for (const socket of [pair.client, pair.target]) socket?.pause();
    },
    strand() {
      for (const pair of pairs) {
        for (const socket of [pair.client, pair.target]) socket?.pause();
        stranded.add(pair);
        pairs.delete(pair);
      }
    },
    delay(ms) {
      delayMs = ms;
    },
    dropReplies(count = 1, matching = '') {
      drops = { left: count, matching };
    },
    dropped: () => dropped,
    injectReply(bytes, matching = '') {
      injection = { reply: bytes, matching };
    },
    async stop() {
      cut();
    },
  };
  atEnd(cut);
  return proxy;
}
