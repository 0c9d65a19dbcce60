import { performance } from 'node:perf_hooks';
import type { SecureContextOptions } from 'node:tls';
import type { DescMessage, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import type { Credential } from '../../credential.ts';
import { PassferryError } from '../../errors.ts';
import { callError } from './errors.ts';
import type { Seen } from './wire.ts';
import { watch } from './wire.ts';

export interface CallOptions {
  url: URL;
  credential: Credential;
  /** For one call including its retry, ms. */
  deadlineMs: number;
  tls: SecureContextOptions | undefined;
}

/** Makes one unary call; what it throws is a `PassferryError`. */
export type Call = <I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  request: MessageShape<I>,
  signal: AbortSignal,
  headers?: Record<string, string>,
) => Promise<MessageShape<O>>;

/**
 * gRPC over one HTTP/2 connection. A refused token is read again and the call repeated once: who is not let in has changed
 * nothing.
 */
export function createCalls({ url, credential, deadlineMs, tls }: CallOptions): { call: Call; close(): void } {
  // pings find a connection that died in silence; without them every call would wait for its deadline
  const pings = { pingIntervalMs: 10_000, pingTimeoutMs: 5_000 };
  const sessions = new Http2SessionManager(url, pings, tls ?? {});
  let closed = false;

  const call: Call = async (method, request, signal, headers = {}) => {
    const end = performance.now() + deadlineMs;
    const send = async (token: string) => {
      if (closed || signal.aborted) throw new PassferryError('aborted', { scope: 'backend' });
      const timeoutMs = Math.max(1, Math.ceil(end - performance.now()));
      const seen: Seen = {};
      try {
        // a transport of its own for each attempt, so that what is seen belongs to this one
        const transport: Transport = createGrpcTransport({ baseUrl: url.href, sessionManager: watch(sessions, seen) });
        const header = { ...headers, authorization: `Bearer ${token}` };
        return (await transport.unary(method, signal, timeoutMs, header, request)).message;
      } catch (thrown) {
        throw callError(thrown, seen, closed || signal.aborted);
      }
    };
    try {
      return await send(await credential.get());
    } catch (error) {
      if (!(error instanceof PassferryError) || error.code !== 'unauthenticated') throw error;
      return send(await credential.refresh());
    }
  };

  return {
    call,
    close() {
      closed = true;
      sessions.abort();
    },
  };
}
