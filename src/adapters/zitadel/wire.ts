import type { ClientHttp2Stream, Http2Session, IncomingHttpHeaders } from 'node:http2';
import type { GrpcTransportOptions } from '@connectrpc/connect-node';

/** The part of an HTTP/2 session manager that a transport uses. */
export type Sessions = NonNullable<GrpcTransportOptions['sessionManager']>;

/** What really went over the wire for one call. An error alone does not tell whether ZITADEL or something in between spoke. */
export interface Seen {
  /** Undefined: no request was opened, so nothing can have happened. */
  stream?: ClientHttp2Stream;
  httpStatus?: number;
  /** Present only when a gRPC server answered. */
  grpcStatus?: number;
  retryAfter?: string;
}

/** Sessions that note in `seen` what happens to the one call that is made with them. */
export function watch(sessions: Sessions, seen: Seen): Sessions {
  const note = (headers: IncomingHttpHeaders) => {
    const grpcStatus = headers['grpc-status'];
    if (typeof grpcStatus === 'string' && /^\d+$/.test(grpcStatus)) seen.grpcStatus = Number(grpcStatus);
    const retryAfter = headers['retry-after'];
    if (retryAfter !== undefined) seen.retryAfter ??= retryAfter;
  };
  return {
    authority: sessions.authority,
    async request(...parts) {
      const stream = await sessions.request(...parts);
      seen.stream = stream;
      guard(stream.session);
      stream.once('response', (headers) => {
        const status = headers[':status'];
        if (status !== undefined) seen.httpStatus = status;
        note(headers);
      });
      // an error carries its status here, and an answer without a body in the headers above
      stream.once('trailers', note);
      return stream;
    },
    notifyResponseByteRead: (stream) => sessions.notifyResponseByteRead(stream),
  };
}

const guarded = new WeakSet<object>();

/**
 * The session manager takes its listeners away with the first error. A session may have a second one (a server that does not
 * speak HTTP/2), and unheard it would end the process. The stream has told the call already.
 */
function guard(session: Http2Session | undefined): void {
  if (!session || guarded.has(session)) return;
  guarded.add(session);
  session.on('error', () => {});
}
