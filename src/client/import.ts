import { makeIdempotencyKey } from '../ids.ts';
import { PassferryClientError, record, withFacts } from './error.ts';
import { type Answer, backoff, type Http, isPassing, type Request } from './http.ts';
import { type ImportSource, importBody } from './import-body.ts';
import { type ImportOptions, queryOf } from './import-options.ts';
import { now, type Patience, patienceOf, pause, type WaitOptions } from './patience.ts';
import { checkKey, checkOrg } from './set.ts';

/** An import as the API shows it; later versions may tell more. */
export interface ImportView {
  id: string;
  org: string;
  state:
    | 'receiving'
    | 'running'
    | 'pausing'
    | 'paused'
    | 'holding'
    | 'cancelling'
    | 'cancelled'
    | 'completed'
    | (string & {});
  /** Why it holds, and what ends that. */
  reason?: string;
  advice?: string;
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
  /** Rows whose password is not in force, or not yet. */
  notInEffect: number;
  /** Rows a second lately, and seconds until the last one. */
  rate?: number;
  etaSeconds?: number;
  acceptedAt: string;
  expiresAt: string;
  finishedAt?: string;
}

/** A row whose password is not in force; without secrets. */
export interface ImportReject {
  row: number;
  line: number;
  userId?: string;
  org?: string;
  result?: string;
  code?: string;
  reason?: string;
  message?: string;
  /** What a person does about it. */
  advice?: string;
  /** The file's own columns. */
  columns?: Record<string, string>;
}

/** An import whose rows are all stored or rejected. */
export interface SentImport {
  run: ImportView;
  idempotencyKey: string;
  /** The view at the end; with `timeoutMs`, undefined when that is over before. Default: waits until it ends. */
  wait(options?: WaitOptions): Promise<ImportView | undefined>;
  /** The view whenever it has changed, until the import has ended. */
  progress(options?: { signal?: AbortSignal }): AsyncGenerator<ImportView>;
  /** Let no further row begin; go on, also from a hold (one for mails needs `mails`); give up what has not begun. Repeating is harmless. Error: `run_ended`. */
  pause(): Promise<ImportView>;
  resume(how?: { mails?: 'allow' }): Promise<ImportView>;
  cancel(): Promise<ImportView>;
  /** Opens the failed and expired rows of an import that is over again. Errors: `run_not_over`, `run_ended`, `secret_destroyed`. */
  retry(): Promise<ImportView>;
  /** Rows that are not in force so far, in file order. */
  rejects(options?: { signal?: AbortSignal }): AsyncGenerator<ImportReject>;
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
  const { signal } = options;
  const query = queryOf(options);
  const body = importBody(source, options);
  let broken = false;
  const request: Request = {
    method: 'POST',
    path: `/imports${query.size > 0 ? `?${query}` : ''}`,
    headers: {
      'content-type': body.type,
      'idempotency-key': idempotencyKey,
      'x-zitadel-orgid': checkOrg(options.org ?? defaults.org),
    },
    body: () =>
      body.bytes(() => {
        broken = true;
      }),
  };
  const hopeless = () => broken || !body.repeats;
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
  async function tell(verb: string): Promise<ImportView> {
    const patience = patienceOf({}, defaults.timeoutMs);
    return viewOf(await http.ask({ method: 'POST', path: `/imports/${run.id}:${verb}` }, patience));
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
    pause: () => tell('pause'),
    resume: ({ mails } = {}) => tell(mails === 'allow' ? 'resume?mails=allow' : 'resume'),
    cancel: () => tell('cancel'),
    retry: () => tell('retry'),
    rejects: (how = {}) => readRejects(http, run.id, how.signal),
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

/** One JSON object a line, as it comes. */
async function* readRejects(http: Http, id: string, signal: AbortSignal | undefined): AsyncGenerator<ImportReject> {
  const ending = new AbortController();
  const end = () => ending.abort();
  signal?.addEventListener('abort', end);
  if (signal?.aborted) end();
  const headers = { accept: 'application/x-ndjson' };
  try {
    const { body } = await http.open({ method: 'GET', path: `/imports/${id}/rejects`, headers }, ending.signal);
    const decoder = new TextDecoder();
    let held = '';
    for await (const chunk of body ?? []) {
      const lines = (held + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      held = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as ImportReject;
    }
    if (held !== '') throw new PassferryClientError('answer_unreadable');
  } catch (thrown) {
    if (signal?.aborted) throw new PassferryClientError('stopped');
    throw thrown instanceof PassferryClientError ? thrown : new PassferryClientError('unreachable');
  } finally {
    signal?.removeEventListener('abort', end);
    end();
  }
}
