import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { codes } from '../errors.ts';
import { cliError, exits } from './exit.ts';

export interface Reply<T> {
  status: number;
  ok: boolean;
  headers: Headers;
  /** The decoded JSON; undefined when there is none. */
  body: T;
}

/** What an API answer says went wrong; `code` is undefined when the answer is not one of ours. */
export interface Problem {
  code: string | undefined;
  reason: string;
  message: string;
  fields: { field: string; reason: string }[];
}

export interface RequestOptions {
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is, while it is read. */
  stream?: AsyncIterable<Uint8Array>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface ApiClient {
  /** Address, for messages. */
  readonly url: string;
  /** Any answer is a reply; only no answer is an error (exit code 3). */
  request<T>(method: string, path: string, options?: RequestOptions): Promise<Reply<T>>;
  /** The answer's bytes as they come. For NDJSON. */
  open(path: string, signal?: AbortSignal): Promise<Response>;
}

/** A client of the producer's HTTP API. `token` goes into every request. */
function apiClient({ url, token }: { url: string; token: string }): ApiClient {
  const base = url.replace(/\/+$/, '');

  async function send(method: string, path: string, options: RequestOptions): Promise<Response> {
    const { json, stream, headers, signal } = options;
    const init = {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(json !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(json !== undefined && { body: JSON.stringify(json) }),
      ...(stream && { body: stream, duplex: 'half' }),
      ...(signal && { signal }),
      // A redirect would carry the token and a password to wherever it points.
      redirect: 'manual',
    };
    try {
      return await fetch(`${base}${path}`, init as RequestInit);
    } catch (thrown) {
      throw signal?.aborted ? (signal.reason ?? thrown) : unreachable(base, thrown);
    }
  }

  return {
    url: base,
    async request<T>(method: string, path: string, options: RequestOptions = {}) {
      const response = await send(method, path, options);
      let text: string;
      try {
        text = await response.text();
      } catch (thrown) {
        throw options.signal?.aborted ? options.signal.reason : unreachable(base, thrown);
      }
      return { status: response.status, ok: response.ok, headers: response.headers, body: decode(text) as T };
    },
    open: (path, signal) =>
      send('GET', path, { headers: { accept: 'application/x-ndjson' }, ...(signal && { signal }) }),
  };
}

function decode(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unreachable(url: string, thrown: unknown) {
  const codeOf = (error: unknown): string | undefined => (error as { code?: string } | undefined)?.code;
  const cause = (thrown as { cause?: unknown }).cause;
  const code =
    codeOf(cause) ?? codeOf((cause as { errors?: unknown[] } | undefined)?.errors?.[0]) ?? 'connection failed';
  return cliError(exits.unreachable, `could not reach ${url} (${code}); is the producer running?`);
}

/** Reads both shapes of error: problem details of our endpoints and ZITADEL's of the v1 call. */
export function problemOf(reply: Reply<unknown>): Problem {
  const body = (typeof reply.body === 'object' && reply.body !== null ? reply.body : {}) as Record<string, unknown>;
  const detail = (Array.isArray(body.details) ? body.details[0] : undefined) as { id?: unknown } | undefined;
  const text = (...candidates: unknown[]) => candidates.find((c): c is string => typeof c === 'string' && c !== '');
  const code = typeof body.code === 'number' ? codeOfGrpc(body.code) : text(body.code);
  const reason = text(body.reason, detail?.id, reply.headers.get('passferry-reason')) ?? `http_${reply.status}`;
  const message = text(body.detail, body.message, body.title) ?? `The server answered ${reply.status}.`;
  return {
    code: code ?? codeOfHttp(reply.status),
    reason,
    // v1 puts the id into its text as well.
    message: message.endsWith(` (${reason})`) ? message.slice(0, -reason.length - 3) : message,
    fields: Array.isArray(body.fields) ? (body.fields as Problem['fields']) : [],
  };
}

/** Of a refusal: what, why, and which fields. */
export function told({
  message,
  reason,
  fields,
}: Pick<Problem, 'message' | 'reason'> & { fields: { field: string }[] }) {
  const places = fields.length > 0 ? `; look at: ${fields.map(({ field }) => field).join(', ')}` : '';
  return `${message} (${reason})${places}`;
}

const codeOfGrpc = (grpc: number) => Object.entries(codes).find(([, facts]) => facts.grpc === grpc)?.[0];
const codeOfHttp = (http: number) => Object.entries(codes).find(([, facts]) => facts.http === http)?.[0];

export interface ConnectionOptions {
  url?: string;
  tokenFile?: string;
}

/** The options that every command of a client has. */
export function withConnection(command: Command): Command {
  return command
    .option('--url <url>', 'address of the producer (else PASSFERRY_URL, else the local `passferry up`)')
    .option('--token-file <path>', 'file with the access token (else PASSFERRY_TOKEN_FILE or PASSFERRY_TOKEN)');
}

/**
 * Where the producer is and who calls: flags, then environment, then what `up` wrote to `<data>/client.json` (data
 * directory: PASSFERRY_DATA, else `.passferry`). The token of a local `up` goes to no other address.
 * @throws CliError with exit code 2 when one of them is unknown.
 */
export function connect(options: ConnectionOptions, env: NodeJS.ProcessEnv = process.env): ApiClient {
  return apiClient(connectionOf(options, env));
}

/** The same, for the client library. */
export function connectionOf(
  options: ConnectionOptions,
  env: NodeJS.ProcessEnv = process.env,
): { url: string; token: string } {
  const dataDir = env.PASSFERRY_DATA || '.passferry';
  const local = localClient(dataDir);
  const url = options.url ?? (env.PASSFERRY_URL || local?.url);
  if (!url) throw cliError(exits.usage, 'no producer known: give --url or PASSFERRY_URL, or start `passferry up` here');
  if (!/^https?:\/\/[^\s/]+/.test(url) || !URL.canParse(url)) {
    throw cliError(exits.usage, 'the address must begin with http:// or https://');
  }
  const localFile = local?.url === url ? local.tokenFile : undefined;
  const given = options.tokenFile ?? (env.PASSFERRY_TOKEN_FILE || undefined);
  const token = given ? readToken(given) : env.PASSFERRY_TOKEN || (localFile && readToken(resolve(dataDir, localFile)));
  if (!token) throw cliError(exits.usage, 'no token: give --token-file, PASSFERRY_TOKEN_FILE or PASSFERRY_TOKEN');
  return { url, token: token.trim() };
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw cliError(exits.usage, `cannot read the token file ${path} (${(thrown as NodeJS.ErrnoException).code})`);
  }
}

function localClient(dataDir: string): { url: string; tokenFile: string } | undefined {
  try {
    const file = JSON.parse(readFileSync(join(dataDir, 'client.json'), 'utf8')) as {
      url?: unknown;
      tokenFile?: unknown;
    };
    if (typeof file.url !== 'string' || typeof file.tokenFile !== 'string') return undefined;
    return { url: file.url, tokenFile: file.tokenFile };
  } catch {
    return undefined;
  }
}
