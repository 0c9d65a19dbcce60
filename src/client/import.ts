import { createReadStream } from 'node:fs';
import { makeIdempotencyKey } from '../ids.ts';
import { PassferryClientError, record, withFacts } from './error.ts';
import { type Answer, backoff, type Http, isPassing, type Request } from './http.ts';
import { now, type Patience, patienceOf, pause, type WaitOptions } from './patience.ts';
import { checkKey, checkOrg } from './set.ts';

/** The content itself, a file, or a stream of it. */
export type ImportSource = string | Uint8Array | { path: string } | AsyncIterable<Uint8Array | string>;

export interface ImportOptions {
  /** Default: by the name of a file (`.ndjson`, `.jsonl`, `.json`), else `csv`. */
  format?: 'csv' | 'ndjson';
  /** Organization of rows that name none. Default: the client's, else the caller's home. */
  org?: string;
  /** For rows that say nothing about it. Default true. */
  changeRequired?: boolean;
  /** Also for users who chose another one since; needs `admin`. Default false. */
  overwriteNewer?: boolean;
  /** The same content with the same key goes on where a cut upload stopped. Default: one made here. */
  idempotencyKey?: string;
  /** Ends the upload; what arrived goes on. */
  signal?: AbortSignal;
}

/** An import as the API shows it; later versions may tell more. */
export interface ImportView {
  id: string;
  org: string;
  state: 'receiving' | 'running' | 'completed' | (string & {});
  received: number;
  rejected: number;
  finished: number;
  set: number;
  unchanged: number;
  superseded: number;
  stale: number;
  failed: number;
  expired: number;
  canceled: number;
  acceptedAt: string;
  expiresAt: string;
  finishedAt?: string;
}

/** An import whose rows are all stored or rejected. */
export interface SentImport {
  run: ImportView;
  idempotencyKey: string;
  /** The view at the end; with `timeoutMs`, undefined when that is over before. Default: waits until it ends. */
  wait(options?: WaitOptions): Promise<ImportView | undefined>;
  /** The view whenever it has changed, until the import has ended. */
  progress(options?: { signal?: AbortSignal }): AsyncGenerator<ImportView>;
}

/** Uploads of what can be read again. */
const mostTries = 5;
const pollMs = 1_000;

/**
 * Sends a file. What can be read again (not a stream) is sent again under its key when the connection breaks; the rows that
 * are stored already are not stored twice. Errors have the key.
 */
export async function sendImport(
  http: Http,
  source: ImportSource,
  options: ImportOptions,
  defaults: { org: string | undefined; timeoutMs: number },
): Promise<SentImport> {
  const idempotencyKey = checkKey(options.idempotencyKey ?? makeIdempotencyKey());
  const { changeRequired = true, overwriteNewer = false, signal } = options;
  const query = new URLSearchParams({
    ...(!changeRequired && { noChangeRequired: 'true' }),
    ...(overwriteNewer && { overwriteNewer: 'true' }),
  });
  let broken = false;
  const request: Request = {
    method: 'POST',
    path: `/imports${query.size > 0 ? `?${query}` : ''}`,
    headers: {
      'content-type': formatOf(source, options) === 'csv' ? 'text/csv' : 'application/x-ndjson',
      'idempotency-key': idempotencyKey,
      'x-zitadel-orgid': checkOrg(options.org ?? defaults.org),
    },
    body: () =>
      bytesOf(source, () => {
        broken = true;
      }),
  };
  const hopeless = () => broken || !canRepeat(source);
  const run = await upload(http, request, hopeless, signal).catch((thrown) => {
    // Its own text may quote a row.
    if (broken) throw new PassferryClientError('source_unreadable', { idempotencyKey });
    throw withFacts(thrown as PassferryClientError, { idempotencyKey });
  });

  async function* progress(patience: Patience): AsyncGenerator<ImportView> {
    let before = '';
    for (;;) {
      const view = viewOf(await http.ask({ method: 'GET', path: `/imports/${run.id}` }, within(patience)));
      const text = JSON.stringify(view);
      if (text !== before) yield view;
      before = text;
      if (isOver(view) || now() >= patience.until) return;
      await pause(Math.min(pollMs, patience.until - now()), patience.signal);
    }
  }
  /** A server that does not answer is waited for, but not for ever. */
  const within = ({ until, signal }: Patience) => ({ until: Math.min(until, now() + defaults.timeoutMs), signal });

  return {
    run,
    idempotencyKey,
    async wait(how = {}) {
      for await (const view of progress(patienceOf(how, Number.POSITIVE_INFINITY))) if (isOver(view)) return view;
      return undefined;
    },
    progress: (how = {}) => progress(patienceOf(how, Number.POSITIVE_INFINITY)),
  };
}

async function upload(http: Http, request: Request, hopeless: () => boolean, signal: AbortSignal | undefined) {
  for (let tries = 1; ; tries++) {
    try {
      return viewOf(await http.once(request, Number.POSITIVE_INFINITY, signal));
    } catch (thrown) {
      const error = thrown as PassferryClientError;
      if (!isPassing(error) || tries >= mostTries || hopeless()) throw error;
      await pause(Math.max(error.retryAfterMs ?? 0, backoff(tries)), signal);
    }
  }
}

const isOver = ({ state }: ImportView) => /^(completed|cancell?ed)$/.test(state);

function viewOf({ status, body }: Answer): ImportView {
  const { id, state } = record(body);
  if (typeof id !== 'string' || !/^[\w-]{1,100}$/.test(id) || typeof state !== 'string') {
    throw new PassferryClientError('answer_unreadable', { status });
  }
  return body as ImportView;
}

function isFile(source: ImportSource): source is { path: string } {
  return typeof source === 'object' && 'path' in source && !(Symbol.asyncIterator in source);
}

function canRepeat(source: ImportSource): boolean {
  return typeof source === 'string' || source instanceof Uint8Array || isFile(source);
}

function formatOf(source: ImportSource, { format }: ImportOptions): 'csv' | 'ndjson' {
  return format ?? (isFile(source) && /\.(ndjson|jsonl|json)$/i.test(source.path) ? 'ndjson' : 'csv');
}

async function* bytesOf(source: ImportSource, onBroken: () => void): AsyncGenerator<Uint8Array> {
  const parts =
    typeof source === 'string' || source instanceof Uint8Array
      ? [source]
      : isFile(source)
        ? createReadStream(source.path)
        : source;
  try {
    for await (const part of parts) yield typeof part === 'string' ? Buffer.from(part) : part;
  } catch (thrown) {
    onBroken();
    throw thrown;
  }
}
