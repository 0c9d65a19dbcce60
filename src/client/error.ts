import { type Code, codes, reasons } from '../errors.ts';

/** Reasons that the client itself finds: reason → code and fixed text. The others are those of the API. */
const own = {
  unreachable: ['unavailable', 'The server could not be reached or did not answer in time.'],
  time_over: ['deadline_exceeded', 'The time for this call was over before this was sent.'],
  stopped: ['canceled', 'The caller stopped waiting; what was accepted goes on.'],
  answer_unreadable: ['internal', 'The answer is not one that this version understands.'],
  token_unavailable: ['unauthenticated', 'The token could not be had, or is none that a header can carry.'],
  source_unreadable: ['invalid_argument', 'The file or stream could not be read to its end.'],
  option_invalid: ['invalid_argument', 'An option has a wrong value.'],
} as const satisfies Record<string, readonly [Code, string]>;

export type ClientReason = keyof typeof own;

export interface ErrorFacts {
  /** HTTP status; undefined when there was no answer. */
  status?: number | undefined;
  code?: Code | undefined;
  message?: string | undefined;
  /** What the server asks us to wait, ms. */
  retryAfterMs?: number | undefined;
  /** The job, where it was accepted (or may have been). */
  jobId?: string | undefined;
  /** Under which the same request can be sent again. */
  idempotencyKey?: string | undefined;
  fields?: { field: string; reason: string }[] | undefined;
}

/**
 * The one error of the client. Decide by `reason` or `code`; texts may change. It keeps no cause: what `fetch` throws can quote
 * a header, and the token is one.
 */
export class PassferryClientError extends Error {
  override readonly name = 'PassferryClientError';
  readonly status: number | undefined;
  readonly code: Code;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly jobId: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly fields: { field: string; reason: string }[];

  constructor(reason: ClientReason | (string & {}), facts: ErrorFacts = {}) {
    const known = ({ ...reasons, ...own } as Record<string, readonly [Code, string]>)[reason];
    super(facts.message ?? known?.[1] ?? `The server answered ${facts.status}.`);
    this.status = facts.status;
    this.code = facts.code ?? known?.[0] ?? 'unknown';
    this.reason = reason;
    this.retryAfterMs = facts.retryAfterMs;
    this.jobId = facts.jobId;
    this.idempotencyKey = facts.idempotencyKey;
    this.fields = facts.fields ?? [];
  }

  toJSON() {
    const { code, reason, message, status, retryAfterMs, jobId, idempotencyKey, fields } = this;
    return { code, reason, message, status, retryAfterMs, jobId, idempotencyKey, fields };
  }
}

/** The same error with what is known of its request. */
export function withFacts(error: PassferryClientError, facts: ErrorFacts): PassferryClientError {
  const { reason, message, status, code, retryAfterMs, jobId, idempotencyKey, fields } = error;
  const before = { message, status, code, retryAfterMs, jobId, idempotencyKey, fields };
  const more = Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
  return new PassferryClientError(reason, { ...before, ...more, jobId: jobId ?? facts.jobId });
}

/** An answer that is no good one → our error. `secrets`: what must not come back in a text, whoever wrote it. */
export function errorOf(
  answer: { status: number; headers: Headers; body: unknown },
  secrets: readonly string[],
): PassferryClientError {
  const { status, headers } = answer;
  const body = record(answer.body);
  const detail = record(Array.isArray(body.details) ? body.details[0] : undefined);
  const reason = [headers.get('passferry-reason'), body.reason, detail.id].find(isName) ?? `http_${status}`;
  return new PassferryClientError(reason, {
    status,
    code: codeOf(body.code, status),
    message: text(body.title ?? body.message, reason, secrets),
    retryAfterMs: retryAfterOf(headers),
    jobId: [headers.get('passferry-job'), record(body.job).id].find(isName),
    fields: fieldsOf(body.fields),
  });
}

/** One item of a list that was refused → our error. */
export function errorOfItem(item: unknown, status: number, secrets: readonly string[]): PassferryClientError {
  const { code, reason: named, message, fields } = record(item);
  const reason = isName(named) ? named : 'answer_unreadable';
  return new PassferryClientError(reason, {
    status,
    code: codeOf(code, status),
    message: text(message, reason, secrets),
    fields: fieldsOf(fields),
  });
}

/** Seconds or a date (RFC 9110) → ms, at most a day. */
export function retryAfterOf(headers: Headers): number | undefined {
  const value = headers.get('retry-after') ?? '';
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 86_400_000) : undefined;
}

function codeOf(code: unknown, status: number): Code {
  if (typeof code === 'string' && Object.hasOwn(codes, code)) return code as Code;
  const all = Object.entries(codes) as [Code, (typeof codes)[Code]][];
  const found = all.find(([, { grpc, http }]) => (typeof code === 'number' ? grpc === code : http === status));
  return found?.[0] ?? 'unknown';
}

function text(given: unknown, reason: string, secrets: readonly string[]): string | undefined {
  if (typeof given !== 'string' || given === '' || given.length > 500) return undefined;
  if (secrets.some((secret) => secret !== '' && given.includes(secret))) return undefined;
  // ZITADEL's shape says the id in its text as well.
  return given.endsWith(` (${reason})`) ? given.slice(0, -reason.length - 3) : given;
}

function fieldsOf(fields: unknown): { field: string; reason: string }[] {
  if (!Array.isArray(fields)) return [];
  return fields
    .map((each) => record(each))
    .flatMap(({ field, reason }) => (isName(field) && isName(reason) ? [{ field, reason }] : []));
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.:[\]-]{1,100}$/.test(value);
}

export function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
