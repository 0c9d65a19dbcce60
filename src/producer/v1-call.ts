import type { IncomingMessage } from 'node:http';
import { PassferryError } from '../errors.ts';
import { makeIdempotencyKey } from '../ids.ts';
import type { Outcome } from '../job.ts';
import type { AuditEntry } from '../ledger/audit.ts';
import type { Log } from '../log.ts';
import { under } from '../under.ts';
import { recordedIn } from './audited.ts';
import { actingOrg, authorize, type Callers, isGranted } from './callers.ts';
import { parseFlag } from './fields.ts';
import { type Preferences, parsePrefer } from './prefer.ts';
import { type Accepted, asyncExpiryMs, type Producer } from './producer.ts';
import { checkUserId, parseIdempotencyKey, parseSetPassword } from './validate.ts';

/** What the deprecated call needs, whatever protocol it comes over. */
export interface V1Deps {
  producer: Producer;
  callers: Callers;
  /** Is an organization of this id known: configured, granted or staged? */
  orgExists: (org: string) => boolean;
  /** How long a call waits for its outcome, ms. */
  waitMs: number;
  /** Fires when the process closes: nobody is kept waiting. */
  closing: AbortSignal;
  /** Where a request comes from, for the audit records. Default: not told. */
  addressOf?: (request: IncomingMessage) => string;
  log: Log;
}

/** One call, as its protocol's edge has decoded it. */
export interface V1Call {
  /** From the path or its field; one in the body does not count. */
  user: string;
  /** Decodes the body: `password`, `noChangeRequired`. Error: `body_not_json`. */
  body(): unknown;
  /** Request header or metadata, by its name in lower case. */
  header(name: string): string | undefined;
  /** The key that the edge has told already, should the caller have sent none. */
  madeKey?: string;
  /** Header of the answer, whether it is good or bad. */
  tell(name: string, value: string): void;
  /** Can the protocol say "accepted, not finished"? Then `Prefer: respond-async` is honoured. */
  asyncAnswers: boolean;
  /** How long the caller itself waits, ms. Default: as long as we do. */
  patienceMs?: number;
  /** Fires when the caller has gone. */
  gone?: AbortSignal;
  /** The address it comes from. */
  from?: string | undefined;
}

/** Its end, or the word that there is none yet. */
export type V1Answer = { kind: 'ended'; outcome: Outcome } | { kind: 'accepted'; accepted: Accepted };

/** What the log says then. */
export const overwritesNewer = "a person's later choice may be overwritten";

const syncExpiryMs = 15 * 60_000;

/**
 * Checks in the order of the contract (body, token, organization, permission, fields), accepts, waits. A key is made before
 * anything is stored and told on errors too: after a lost reply the caller can name the request (P1).
 *
 * Errors: those of the checks and of accepting; `wait_over` (accepted, no end within the wait; ask again with the key).
 */
export async function callV1(call: V1Call, deps: V1Deps): Promise<V1Answer> {
  const { audit } = deps.producer;
  const record = audit.entry({ action: 'set', ...(call.from !== undefined && { from: call.from }) });
  return audit.around(record, () => answer(call, deps, record));
}

async function answer(call: V1Call, deps: V1Deps, record: AuditEntry): Promise<V1Answer> {
  const { producer, callers, orgExists, waitMs, closing } = deps;
  const startedAt = performance.now();
  const sentKey = call.header('idempotency-key');
  const madeKey = call.madeKey ?? makeIdempotencyKey();
  if (sentKey === undefined) call.tell('idempotency-key', madeKey);

  const body = call.body();
  const caller = await callers.authenticate(call.header('authorization'));
  const ofUser = checkUserId(call.user) === undefined && { user: call.user };
  record.about({ caller: caller.name, org: caller.home, ...ofUser });
  const org = actingOrg(caller, call.header('x-zitadel-orgid'), orgExists);
  record.about({ org: recordedIn(caller, org) });
  authorize(caller, org, 'set');
  const givenKey = sentKey === undefined ? undefined : parseIdempotencyKey(sentKey);
  const expiresInMs = parseExpiresIn(call.header('passferry-expires-in'));
  const prefer = parsePrefer(call.header('prefer'));
  const respondAsync = prefer.respondAsync && call.asyncAnswers;
  const overwriteNewer = parseFlag(call.header('passferry-overwrite-newer'), 'Passferry-Overwrite-Newer');
  if (overwriteNewer) authorize(caller, org, 'admin');
  const request = { ...parseSetPassword(body, org, call.user), ...(overwriteNewer && { overwriteNewer }) };

  const asker = { caller: caller.name, admin: isGranted(caller, org, 'admin') };
  const idempotencyKey = givenKey ?? producer.makeKey(asker, request);
  call.tell('idempotency-key', idempotencyKey);
  const accepted = await producer.setPassword(asker, request, {
    idempotencyKey,
    mayJoin: givenKey === undefined,
    record,
    expiresInMs: expiresInMs ?? (respondAsync ? asyncExpiryMs : syncExpiryMs),
  });
  if (overwriteNewer) deps.log.info({ jobId: accepted.jobId, org, by: caller.name }, overwritesNewer);
  call.tell('passferry-job', accepted.jobId);
  call.tell('passferry-expires', new Date(accepted.expiresAt).toISOString());
  if (accepted.replayed) call.tell('idempotency-replayed', 'true');

  const patience = Math.min(waitOf(prefer, respondAsync, waitMs), leftOf(call, startedAt) ?? waitMs);
  const outcome =
    patience > 0
      ? await under([closing, call.gone], (signal) => producer.wait(accepted.jobId, patience, signal))
      : undefined;
  const applied = [respondAsync && 'respond-async', prefer.waitMs !== undefined && `wait=${prefer.waitMs / 1_000}`];
  const honoured = applied.filter((each) => each !== false).join(', ');
  if (honoured !== '') call.tell('preference-applied', honoured);
  if (outcome || respondAsync) accepted.repeats.forget();
  else await accepted.repeats.expect();
  if (outcome) {
    if ('result' in outcome) call.tell('passferry-result', outcome.result);
    return { kind: 'ended', outcome };
  }
  if (respondAsync) return { kind: 'accepted', accepted };
  call.tell('link', `</jobs/${accepted.jobId}>; rel="monitor"`);
  throw new PassferryError('wait_over');
}

/** Of the caller's patience, ms: accepting takes some of it. */
function leftOf({ patienceMs }: V1Call, startedAt: number): number | undefined {
  return patienceMs === undefined ? undefined : patienceMs - (performance.now() - startedAt);
}

function waitOf(prefer: Preferences, respondAsync: boolean, waitMs: number): number {
  if (prefer.waitMs !== undefined) return Math.min(prefer.waitMs, waitMs);
  return respondAsync ? 0 : waitMs;
}

/** Header `Passferry-Expires-In`: seconds, one to 30 days. */
function parseExpiresIn(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const seconds = /^\d{1,7}$/.test(value) ? Number(value) : 0;
  if (seconds < 1 || seconds > 30 * 86_400) throw new PassferryError('expires_invalid');
  return seconds * 1_000;
}
