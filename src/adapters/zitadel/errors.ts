import { constants } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import { CredentialsCheckErrorSchema, ErrorDetailSchema } from '@zitadel/proto/zitadel/message_pb';
import type { Reason } from '../../errors.ts';
import { PassferryError } from '../../errors.ts';
import { bareCause, errorFromZitadel } from '../../zitadel-ids.ts';
import type { Seen } from './wire.ts';

const maxRetryAfterMs = 3_600_000;

/** Answers of ZITADEL after which the change is certainly not made. The others may hide a change that was. */
const definite = new Set<number>([
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.ResourceExhausted,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.Unauthenticated,
]);

/** Status of a proxy that did not pass the request on. */
const turnedAway = new Set([301, 302, 303, 307, 308, 401, 403, 404, 405, 413, 429]);

/**
 * Whatever a call threw → our error. It keeps neither their text nor any header nor the request: only an id or an errno.
 *
 * @param stopped the signal of the caller has aborted.
 */
export function callError(thrown: unknown, seen: Seen, stopped: boolean): PassferryError {
  if (thrown instanceof PassferryError) return thrown;
  const error = ConnectError.from(thrown);
  const retryAfterMs = parseRetryAfter(seen.retryAfter, Date.now());
  const { grpcStatus, httpStatus } = seen;
  if (grpcStatus !== undefined && grpcStatus !== 0) {
    const id = idOf(error);
    const certain = definite.has(grpcStatus) || id === 'COMMAND-CahN2';
    const cause = id && bareCause(id);
    return errorFromZitadel({ grpcCode: grpcStatus, id, retryAfterMs, effect: certain ? 'none' : 'unknown', cause });
  }

  const refused = seen.stream === undefined || seen.stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
  const none = refused || (httpStatus !== undefined && turnedAway.has(httpStatus));
  const reason = stopped ? 'aborted' : reasonOf(error, seen);
  const errno = errnoOf(error);
  return new PassferryError(reason, {
    scope: 'backend',
    effect: none ? 'none' : 'unknown',
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(httpStatus === 404 && { code: 'unimplemented' as const }),
    ...(errno !== undefined && { cause: bareCause(errno) }),
  });
}

/** Nobody who speaks gRPC answered: a proxy did, or the connection broke. */
function reasonOf(error: ConnectError, { httpStatus }: Seen): Reason {
  if (error.code === Code.DeadlineExceeded) return 'backend_timeout';
  switch (httpStatus) {
    case undefined:
      return 'backend_down';
    case 401:
      return 'backend_unauthenticated';
    case 429:
      return 'backend_limited';
    case 502:
    case 503:
      return 'backend_down';
    case 504:
      return 'backend_timeout';
    case 200:
      // headers came, then the connection broke; with a status of 0 the answer was nonsense
      return error.code === Code.Aborted || error.code === Code.Unavailable ? 'backend_down' : 'backend_error';
    default:
      return 'backend_error';
  }
}

function idOf(error: ConnectError): string | undefined {
  const detail = error.findDetails(ErrorDetailSchema)[0] ?? error.findDetails(CredentialsCheckErrorSchema)[0];
  return detail?.id || /\(([A-Z][A-Z0-9]*-[A-Za-z0-9]+)\)\s*$/.exec(error.rawMessage)?.[1];
}

function errnoOf(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string' && /^[A-Z0-9_]{3,64}$/.test(code)) return code;
  }
  return undefined;
}

/**
 * Seconds or an HTTP date → ms from `now`, at most one hour, at least 0; undefined when it is neither.
 */
export function parseRetryAfter(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  const trimmed = text.trim();
  const ms = /^\d+$/.test(trimmed)
    ? Number(trimmed) * 1000
    : /^[A-Z][a-z]{2}/.test(trimmed)
      ? Date.parse(trimmed) - now
      : Number.NaN;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(Math.ceil(ms), 0), maxRetryAfterMs);
}
