import { errorOf, PassferryClientError } from './error.ts';
import { now, type Patience, pause, within } from './patience.ts';

export interface ClientOptions {
  /** Address of the producer, such as `https://passferry.example.com`. */
  baseUrl: string;
  /** Access token, or what gives the one that is valid now: asked before every request, and again after a 401. */
  token: string | (() => string | Promise<string>);
  /** Organization acted in where a call names none. Default: the caller's home. */
  org?: string;
  /** How long a call goes on trying and waiting, ms. Default 60,000. */
  timeoutMs?: number;
  /** Default: the global one. */
  fetch?: typeof fetch;
}

export interface Request {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  headers?: Record<string, string | undefined>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is read; made anew for each attempt. */
  body?: () => AsyncIterable<Uint8Array>;
  /** An answer that is no good one and yet says more than an error. */
  isAnswer?: (body: unknown) => boolean;
  /** Must not come back in the text of an error. */
  secrets?: readonly string[];
  /** Longest time for one attempt, ms. Default 10,000; Infinity: none. */
  attemptMs?: number;
}

export interface Answer {
  status: number;
  headers: Headers;
  /** Decoded JSON; undefined when it is none. */
  body: unknown;
}

export type Http = ReturnType<typeof createHttp>;

const usualAttemptMs = 10_000;
/** Also when less time is left: a question that nobody can answer in time is none. */
const leastAttemptMs = 1_000;
/** What passes by itself: too early, too much, or a server (or a proxy before it) that is away for a moment. */
const passing = new Set([408, 425, 429, 502, 503, 504]);

/** Requests of one caller to one address. Errors: {@link PassferryClientError} only. */
export function createHttp(options: ClientOptions) {
  const base = baseOf(options.baseUrl);
  const send = options.fetch ?? fetch;

  async function tokenNow(signal: AbortSignal): Promise<string> {
    let token: unknown;
    try {
      token = typeof options.token === 'function' ? await within(options.token(), signal) : options.token;
    } catch {
      // Its text may be anything, the token too.
      throw new PassferryClientError('token_unavailable');
    }
    const trimmed = typeof token === 'string' ? token.trim() : '';
    if (!/^[\x21-\x7e]+$/.test(trimmed)) throw new PassferryClientError('token_unavailable');
    return trimmed;
  }

  /** One attempt; a good answer and 304 come back unread, any other is thrown. */
  async function attempt(request: Request, token: string, signal: AbortSignal): Promise<Response> {
    const { method, path, json, body, headers = {} } = request;
    const init = {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(json !== undefined && { 'content-type': 'application/json' }),
        ...Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)),
      },
      ...(json !== undefined && { body: JSON.stringify(json) }),
      ...(body && { body: body(), duplex: 'half' }),
      signal,
      // A redirect would carry the token and a password to wherever it points.
      redirect: 'manual',
    };
    const response = await send(`${base}${path}`, init as RequestInit);
    if (response.ok || response.status === 304) return response;
    const { status, headers: answered } = response;
    const text = await response.text();
    const decoded = decode(text);
    if (request.isAnswer?.(decoded)) return new Response(text, { status, headers: answered });
    throw errorOf({ status, headers: answered, body: decoded }, [token, ...(request.secrets ?? [])]);
  }

  /** One request, once more after a 401 when the token has changed meanwhile. The answer is unread: end it by the signal. */
  async function open(request: Request, signal: AbortSignal): Promise<Response> {
    try {
      if (signal.aborted) throw new PassferryClientError('stopped');
      const token = await tokenNow(signal);
      try {
        return await attempt(request, token, signal);
      } catch (thrown) {
        const refused = thrown instanceof PassferryClientError && thrown.status === 401;
        const next = refused && typeof options.token === 'function' ? await tokenNow(signal) : token;
        if (next === token) throw thrown;
        return await attempt(request, next, signal);
      }
    } catch (thrown) {
      throw thrown instanceof PassferryClientError ? thrown : new PassferryClientError('unreachable');
    }
  }

  /** One attempt, read to its end. Errors: `stopped` by the caller's signal, `unreachable` when it takes too long. */
  async function once(request: Request, attemptMs: number, signal: AbortSignal | undefined): Promise<Answer> {
    const ending = new AbortController();
    const end = () => ending.abort();
    const timer = Number.isFinite(attemptMs) ? setTimeout(end, attemptMs) : undefined;
    // Not `AbortSignal.any`: Node 20 keeps what it makes for as long as a source lives.
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
    try {
      const response = await open(request, ending.signal);
      const { status, headers } = response;
      return { status, headers, body: decode(await response.text()) };
    } catch (thrown) {
      if (signal?.aborted) throw new PassferryClientError('stopped');
      const ours = thrown instanceof PassferryClientError && !ending.signal.aborted;
      throw ours ? thrown : new PassferryClientError('unreachable');
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
    }
  }

  /** Tries again what passes by itself, until the time is over. Safe only for what may be repeated. */
  async function ask(request: Request, { until, signal }: Patience): Promise<Answer> {
    for (let tries = 0; ; tries++) {
      const attemptMs = Math.min(request.attemptMs ?? usualAttemptMs, Math.max(until - now(), leastAttemptMs));
      try {
        return await once(request, attemptMs, signal);
      } catch (thrown) {
        const error = thrown as PassferryClientError;
        const wait = Math.max(error.retryAfterMs ?? 0, backoff(tries));
        if (!isPassing(error) || now() + wait >= until) throw error;
        await pause(wait, signal);
      }
    }
  }

  return { open, once, ask };
}

/** May the same request have another answer in a while? */
export function isPassing({ status, reason }: PassferryClientError): boolean {
  return reason === 'unreachable' || (status !== undefined && passing.has(status));
}

/** ms before the next attempt: grows to 5 s, and spreads callers that failed together. */
export function backoff(tries: number): number {
  return Math.min(100 * 2 ** Math.min(tries, 10), 5_000) * (0.5 + Math.random() / 2);
}

function baseOf(baseUrl: string): string {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  const wellFormed =
    url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash;
  if (!wellFormed) throw optionInvalid('baseUrl');
  return url.href.replace(/\/+$/, '');
}

export function optionInvalid(field: string): PassferryClientError {
  return new PassferryClientError('option_invalid', { fields: [{ field, reason: 'option_invalid' }] });
}

function decode(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
