/**
 * The closed set of codes and the one error class.
 *
 * Every foreign error is translated where it enters. A message is fixed by its reason and never holds a value: BullMQ
 * stores messages in Redis, so a password in a message would be a password at rest.
 */

/** How something ended badly: the canonical gRPC names and our own `expired`. */
export type Code = keyof typeof codes;

interface CodeFacts {
  /** gRPC status number. */
  grpc: number;
  /** HTTP status, as ZITADEL's gateway maps it. */
  http: number;
  /** Exit code of the command line when one request ends so. */
  exit: number;
}

/** code → HTTP, gRPC, exit code. One row each; nothing else maps codes. */
export const codes = {
  canceled: { grpc: 1, http: 499, exit: 5 },
  unknown: { grpc: 2, http: 500, exit: 1 },
  invalid_argument: { grpc: 3, http: 400, exit: 1 },
  deadline_exceeded: { grpc: 4, http: 504, exit: 4 },
  not_found: { grpc: 5, http: 404, exit: 1 },
  already_exists: { grpc: 6, http: 409, exit: 1 },
  permission_denied: { grpc: 7, http: 403, exit: 1 },
  resource_exhausted: { grpc: 8, http: 429, exit: 4 },
  failed_precondition: { grpc: 9, http: 400, exit: 1 },
  aborted: { grpc: 10, http: 409, exit: 1 },
  out_of_range: { grpc: 11, http: 400, exit: 1 },
  unimplemented: { grpc: 12, http: 501, exit: 1 },
  internal: { grpc: 13, http: 500, exit: 1 },
  unavailable: { grpc: 14, http: 503, exit: 3 },
  data_loss: { grpc: 15, http: 500, exit: 1 },
  unauthenticated: { grpc: 16, http: 401, exit: 1 },
  // Not 504: that means "pending", and this is an end.
  expired: { grpc: 10, http: 409, exit: 1 },
} as const satisfies Record<string, CodeFacts>;

/** Whose fault it is. Only `user` may end a job (P7); the others delay it. */
export type Scope = 'user' | 'organization' | 'backend';

/**
 * Stable reasons of our own: reason → code and fixed text. The ids of ZITADEL (`COMMAND-G8dh3`) are reasons too; their
 * texts stand in `zitadel-ids.ts`.
 */
export const reasons = {
  // what a caller sent
  body_not_json: ['invalid_argument', 'The body is not valid JSON.'],
  body_not_protobuf: ['invalid_argument', 'The body is not valid protobuf.'],
  body_not_object: ['invalid_argument', 'The body must be a JSON object.'],
  body_too_large: ['invalid_argument', 'The body is larger than this endpoint takes.'],
  body_slow: ['invalid_argument', 'The body did not arrive in time.'],
  media_type_unsupported: ['invalid_argument', 'This media type is not taken here.'],
  field_type: ['invalid_argument', 'A field has the wrong type.'],
  option_unknown: ['invalid_argument', 'There is no such option here.'],
  options_contradict: ['invalid_argument', 'Two options contradict each other.'],
  multipart_invalid: ['invalid_argument', 'The multipart body is not well-formed, or has not exactly one file.'],
  as_of_required: [
    'invalid_argument',
    'It is not known how old these passwords are: add a column set_at, or say asOf (a date, or now).',
  ],
  hash_here_unsupported: [
    'failed_precondition',
    'The workers cannot hash for the backend of this organization: it must hash elsewhere, take bcrypt, and tell its password policy.',
  ],
  user_id_missing: ['invalid_argument', 'The user id is missing.'],
  user_id_invalid: ['invalid_argument', 'The user id must have 1 to 200 characters, none of them a control character.'],
  org_id_invalid: [
    'invalid_argument',
    'The organization id must have 1 to 200 characters, none of them a control character.',
  ],
  password_missing: ['invalid_argument', 'The password is missing or empty.'],
  password_too_long: ['invalid_argument', 'The password is longer than 72 characters.'],
  password_too_many_bytes: ['invalid_argument', 'The password is longer than 72 bytes in UTF-8.'],
  password_nul: ['invalid_argument', 'The password holds a NUL character.'],
  password_ill_formed: ['invalid_argument', 'The password holds half of a surrogate pair and cannot be encoded.'],
  idempotency_key_invalid: ['invalid_argument', 'The Idempotency-Key must have 1 to 255 visible ASCII characters.'],
  idempotency_key_reused: ['failed_precondition', 'This Idempotency-Key was used for another request.'],
  idempotency_key_locked: [
    'failed_precondition',
    'This Idempotency-Key was used for too many other requests and answers nothing any more; use a new one.',
  ],
  list_column_missing: [
    'invalid_argument',
    'The list has no column of the kind it is read by: its header must name userId, email or userName.',
  ],
  user_name_missing: ['invalid_argument', 'The e-mail address or user name is missing.'],
  user_name_invalid: [
    'invalid_argument',
    'The user name must have 1 to 200 characters, none of them a control character.',
  ],
  email_invalid: ['invalid_argument', 'This is not an e-mail address.'],
  recipient_missing: [
    'invalid_argument',
    'Generated passwords need the public key of whoever hands them out: name it as recipient.',
  ],
  recipient_invalid: [
    'invalid_argument',
    'The recipient must be a public key: X25519, or RSA of 2,048 bits or more, as JWK or PEM (SPKI).',
  ],
  prefer_invalid: ['invalid_argument', 'The Prefer header cannot be understood.'],
  expires_invalid: ['invalid_argument', 'The expiry must lie between one second and 30 days.'],
  items_count: ['invalid_argument', 'The list must have 1 to 1,000 items.'],
  items_refused: ['invalid_argument', 'None of the items was accepted.'],
  event_id_invalid: ['invalid_argument', 'The Last-Event-ID is not the id of an event.'],
  hold_reason_invalid: [
    'invalid_argument',
    'The reason must have 1 to 200 characters, none of them a control character.',
  ],
  webhook_url_invalid: [
    'invalid_argument',
    'The address of a webhook must be an https URL of up to 2,000 characters without a user, a password or a fragment.',
  ],
  webhook_url_forbidden: [
    'invalid_argument',
    'The address of the webhook leads to a place that is not public, or is not https.',
  ],
  webhook_host_unknown: ['invalid_argument', 'The host of the webhook cannot be resolved.'],
  webhook_events_invalid: ['invalid_argument', 'The event types must be a list of known types.'],
  // who the caller is
  auth_header_missing: ['unauthenticated', 'auth header missing'],
  auth_unavailable: ['unavailable', 'The token cannot be checked now: its issuer is not reachable.'],
  auth_limited: ['resource_exhausted', 'Too many refused tokens came from this address; wait before the next try.'],
  caller_rate: [
    'resource_exhausted',
    'This caller sends more requests than it may in the time; wait and send it again.',
  ],
  streams_busy: ['resource_exhausted', 'This caller has as many event streams open as it may; close one first.'],
  caller_busy: ['resource_exhausted', 'This caller has as many open requests as it may; wait for one to end.'],
  route_unknown: ['not_found', 'Not Found'],
  method_not_allowed: ['unimplemented', 'Method Not Allowed'],
  key_unknown: ['not_found', 'There is no such key pair.'],
  key_refused: ['failed_precondition', 'This change of the keys was refused.'],
  caller_unknown: ['not_found', 'There is no such caller.'],
  caller_refused: ['failed_precondition', 'This change of the callers was refused.'],
  job_unknown: ['not_found', 'There is no such job.'],
  job_gone: ['not_found', 'There was such a job; its record is no longer kept.'],
  run_unknown: ['not_found', 'There is no such run.'],
  handout_unknown: ['not_found', 'The run has no handout: its passwords were not generated for a recipient.'],
  row_unknown: ['not_found', 'The run has no such row.'],
  run_not_over: ['failed_precondition', 'The run is not over yet: only what has failed for good is retried.'],
  migration_open: [
    'failed_precondition',
    'An organization of it has an open migration already: watch that one, or cancel it first.',
  ],
  stage_not_dual: [
    'failed_precondition',
    'Only where both backends are written can users be brought over: bring the organization to dual-v1 first.',
  ],
  hash_unreadable: [
    'failed_precondition',
    'The v1 store does not give its hashes, so nothing can be copied. Where v1 and v2 are one and the same instance the passwords are there already: go from stage v1 to v2, and no data moves.',
  ],
  backend_missing: ['failed_precondition', 'The workers need both backends for this, and have one.'],
  run_ended: ['failed_precondition', 'The run is over, or about to be: nothing more is taken or changed.'],
  webhook_unknown: ['not_found', 'There is no such webhook.'],
  event_unknown: ['not_found', 'There is no such event in the log, or not for this webhook.'],
  webhook_limit: ['failed_precondition', 'The organization has as many webhooks as it may.'],
  webhook_disabled: ['failed_precondition', 'The webhook is disabled; enable it first.'],
  webhook_backlog: ['resource_exhausted', 'Too many deliveries of this webhook are waiting already.'],
  backend_unknown: ['not_found', 'There is no such backend.'],
  org_quota: ['resource_exhausted', 'The organization has as much waiting as it may; send it again later.'],
  org_not_granted: ['permission_denied', 'The caller may not act in this organization.'],
  permission_missing: ['permission_denied', 'The caller lacks the permission for this.'],
  protected_user: [
    'permission_denied',
    'This user is protected: only a caller with the permission admin may set the password.',
  ],
  roles_unreadable: [
    'permission_denied',
    'The roles of this user cannot be read, so only a caller with the permission admin may set the password.',
  ],
  events_lost: [
    'failed_precondition',
    'Events after this one are no longer kept; read the jobs, and go on without it.',
  ],
  // how a job can end
  job_expired: ['expired', 'The job did not finish before its expiry.'],
  job_canceled: ['canceled', 'The job was cancelled before it began.'],
  dropped: ['canceled', 'The job crashed its worker too often and was given up by a person.'],
  proof_failed: ['internal', 'The backend said that the password was set, but a login with it does not work.'],
  run_canceled: ['canceled', 'The run was cancelled before this row began.'],
  user_not_found: ['not_found', 'No user of the organization has exactly this e-mail address or user name.'],
  user_ambiguous: [
    'failed_precondition',
    'Several users of the organization have this e-mail address or user name; name the user by id.',
  ],
  link_uncertain: [
    'unknown',
    'The answer to sending the reset link was lost: it may have been sent. It is not sent again by itself.',
  ],
  wrong_organization: ['failed_precondition', 'The user does not belong to this organization.'],
  ability_missing: ['unimplemented', 'The backend lacks the ability this needs.'],
  refused: ['failed_precondition', 'The backend refused the change.'],
  hash_refused: [
    'invalid_argument',
    'The backend takes no such hash: it does not check this kind, or its cost or form is outside of what it allows.',
  ],
  hash_not_taken: [
    'failed_precondition',
    'The backend of this organization does not check this kind of hash, as it is configured.',
  ],
  user_exists: ['already_exists', 'There is such a user already; an existing one is not changed.'],
  profile_incomplete: ['failed_precondition', 'The user cannot be added: the e-mail address is missing.'],
  user_mapped_twice: [
    'failed_precondition',
    'The mapping of ids joins this user with more than one row of v1, or the other way; neither is written.',
  ],
  v1_read_only: ['failed_precondition', 'The mapping of the v1 store says that it is only read.'],
  v1_mapping_wrong: [
    'failed_precondition',
    'The v1 store has no such table, or not the columns that its mapping names.',
  ],
  hash_encoding_unknown: [
    'failed_precondition',
    'The v1 store has an unknown hash encoding; it is read-only until one is named.',
  ],
  sealed_unreadable: ['data_loss', 'The sealed password was altered or truncated and cannot be opened.'],
  sealed_key_destroyed: [
    'failed_precondition',
    'The key that this password was sealed to is gone; send the request again.',
  ],
  job_forged: ['permission_denied', 'The job is not signed by a producer of ours and was refused.'],
  job_version_unknown: ['unimplemented', 'The job has a version that this worker does not know.'],
  job_not_failed: [
    'failed_precondition',
    'The job did not fail or expire, or is at work again: there is nothing to retry or drop.',
  ],
  job_begun: ['failed_precondition', 'The job has begun and cannot be cancelled any more.'],
  row_of_import: ['failed_precondition', 'The job is a row of an import and is cancelled with that.'],
  job_done: ['failed_precondition', 'The job has ended already and cannot be cancelled.'],
  reason_invalid: ['invalid_argument', 'The reason must have 1 to 200 characters, none of them a control character.'],
  cursor_invalid: ['invalid_argument', 'The cursor is not one that this list gave.'],
  secret_destroyed: [
    'failed_precondition',
    'The sealed password was destroyed after its time; send the request again.',
  ],
  quarantined: ['aborted', 'The job crashed its worker too often and waits for a person.'],
  job_not_quarantined: ['failed_precondition', 'The job does not wait for a person: there is nothing to release.'],
  // infrastructure
  wait_over: ['deadline_exceeded', 'The job was accepted and is not finished yet; ask again with the same key.'],
  accept_unknown: ['unavailable', 'It is unknown whether the request was accepted; send it again with the same key.'],
  redis_down: ['unavailable', 'Redis is not reachable.'],
  ledger_not_ready: ['unavailable', 'No worker has confirmed the order of changes on this Redis yet.'],
  shutting_down: ['unavailable', 'The process is shutting down.'],
  backend_down: ['unavailable', 'The backend is not reachable.'],
  backend_timeout: ['deadline_exceeded', 'The backend did not answer in time.'],
  backend_limited: ['resource_exhausted', 'The backend asks to slow down.'],
  backend_error: ['internal', 'The backend failed.'],
  backend_unauthenticated: ['unauthenticated', 'The backend does not accept our credentials.'],
  sealed_key_unknown: ['unavailable', 'The key that this password was sealed to has not reached the worker.'],
  backend_forbidden: ['permission_denied', 'The backend denies us the permission in this organization.'],
  lease_lost: ['aborted', 'The lease on the user was lost before the change was recorded.'],
  held: ['unavailable', 'The backend is on hold.'],
  stage_moved: ['aborted', 'The stage of the organization was changed meanwhile.'],
  stage_forged: ['internal', 'The stage of the organization is not signed by us: set it again.'],
  stage_changed: ['aborted', 'Somebody else set the stage meanwhile. Look again.'],
  stage_refused: ['failed_precondition', 'This step of the stage was refused: its conditions do not hold.'],
  aborted: ['aborted', 'The work was stopped and will be taken up again.'],
  internal: ['internal', 'Passferry failed inside; the log has the details.'],
  config_invalid: ['invalid_argument', 'The configuration has errors.'],
} as const satisfies Record<string, readonly [Code, string]>;

export type Reason = keyof typeof reasons;

/** What waits when a job meets a fault. `hold`: until a person releases the backend, or the one job. */
export type Delays = 'job' | 'backend' | 'organization' | 'hold';

/** Faults after which a worker tries again by itself: they end no job. */
export const putOff = {
  backend_down: 'backend',
  backend_timeout: 'backend',
  backend_limited: 'backend',
  backend_error: 'backend',
  backend_unauthenticated: 'backend',
  backend_forbidden: 'organization',
  held: 'hold',
  quarantined: 'hold',
  redis_down: 'job',
  lease_lost: 'job',
  stage_moved: 'job',
  stage_forged: 'organization',
  aborted: 'job',
  internal: 'job',
  ability_missing: 'job',
  hash_encoding_unknown: 'job',
  v1_read_only: 'job',
  v1_mapping_wrong: 'job',
  job_version_unknown: 'job',
  sealed_key_unknown: 'job',
} as const satisfies Partial<Record<Reason, Delays>>;

/** Answers after which the caller sends the same request again, under the same key. */
export const askAgain: ReadonlySet<string> = new Set<Reason>([
  'wait_over',
  'caller_rate',
  'caller_busy',
  'auth_unavailable',
  'accept_unknown',
  'redis_down',
  'ledger_not_ready',
  'shutting_down',
  'org_quota',
  'job_expired',
]);

/** A bad field: where it is and why, never its value. */
export interface FieldError {
  field: string;
  reason: Reason | (string & {});
}

export interface ErrorOptions {
  /** Default `user`. */
  scope?: Scope;
  /** `unknown` when the change may have been made although we saw an error. Default `none`. */
  effect?: 'none' | 'unknown';
  /** What the other side asked us to wait, in ms. */
  retryAfterMs?: number;
  fields?: FieldError[];
  /** Overrides of a known id of ZITADEL: its code and its fixed English text. */
  code?: Code;
  message?: string;
  /** Kept for the log of this process; never sent, never stored. */
  cause?: unknown;
}

/** The one error class. `reason` is one of {@link reasons} or an id of ZITADEL such as `COMMAND-G8dh3`. */
export class PassferryError extends Error {
  override readonly name = 'PassferryError';
  readonly code: Code;
  readonly reason: string;
  readonly scope: Scope;
  readonly effect: 'none' | 'unknown';
  readonly retryAfterMs: number | undefined;
  readonly fields: FieldError[];

  constructor(reason: Reason | (string & {}), options: ErrorOptions = {}) {
    const known = (reasons as Record<string, readonly [Code, string]>)[reason];
    super(options.message ?? known?.[1] ?? reasons.refused[1], { cause: options.cause });
    this.code = options.code ?? known?.[0] ?? 'unknown';
    this.reason = reason;
    this.scope = options.scope ?? 'user';
    this.effect = options.effect ?? 'none';
    this.retryAfterMs = options.retryAfterMs;
    this.fields = options.fields ?? [];
  }

  /** Without the cause: whatever prints or stores an error gets code, reason and fixed text. */
  toJSON() {
    return { code: this.code, reason: this.reason, message: this.message };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `PassferryError ${this.code} ${this.reason}: ${this.message}`;
  }
}

/** Anything thrown → our error. What is not ours becomes `internal` of the given scope; its text goes nowhere. */
export function toPassferryError(
  thrown: unknown,
  fallback: Reason = 'internal',
  scope: Scope = 'backend',
): PassferryError {
  return thrown instanceof PassferryError ? thrown : new PassferryError(fallback, { scope, cause: thrown });
}
