import { makeIdempotencyKey } from '../ids.ts';
import type { ToldOutcome } from '../job.ts';
import { PassferryClientError, record, withFacts } from './error.ts';
import type { Http } from './http.ts';
import { isPassing, optionInvalid } from './http.ts';
import { waitForJob } from './jobs.ts';
import { type Patience, patienceOf, type WaitOptions } from './patience.ts';

export interface SetPassword extends WaitOptions {
  user: string;
  /** 1 to 72 characters and at most 72 bytes of UTF-8. */
  password: string;
  /** Default: the client's. */
  org?: string;
  /** The user must change it at the next login. Default true. */
  changeRequired?: boolean;
  /** The same key and request is the same job, also from another process. Default: one made here. */
  idempotencyKey?: string;
  /** Seconds until a job that has not finished ends `expired`. Default: 900 with `wait`, else 86,400. */
  expiresIn?: number;
  /** Also when the user chose another one since; needs `admin`. Default false. */
  overwriteNewer?: boolean;
  /** Wait for the outcome, within the same time. Default false. */
  wait?: boolean;
}

/** An accepted request. */
export interface SentPassword {
  id: string;
  idempotencyKey: string;
  /** It was accepted before under this key. */
  replayed: boolean;
  /** With `wait`, when it ended in time; how badly, where it has a `code`. */
  outcome?: ToldOutcome;
  /** undefined when the time is over before the end. */
  wait(options?: WaitOptions): Promise<ToldOutcome | undefined>;
}

const waitedExpiry = 900;

/**
 * Sends one request until it is known to be accepted, always under the same key, and waits if that is wanted. Errors have the
 * key: sent again under it, the request is the same one. What the request ends with is no error but the outcome.
 */
export async function setPassword(
  http: Http,
  request: SetPassword,
  defaults: { org: string | undefined; timeoutMs: number },
): Promise<SentPassword> {
  const { user, password, changeRequired = true, overwriteNewer = false, wait = false } = request;
  const idempotencyKey = request.idempotencyKey ?? makeIdempotencyKey();
  const org = checkOrg(request.org ?? defaults.org);
  const expiresIn = request.expiresIn ?? (wait ? waitedExpiry : undefined);
  const patience = patienceOf(request, defaults.timeoutMs);
  const answer = await http
    .ask(
      {
        method: 'POST',
        path: `/users/${pathPart(user)}/password`,
        headers: {
          'idempotency-key': checkKey(idempotencyKey),
          prefer: 'respond-async',
          'x-zitadel-orgid': org,
          'passferry-expires-in': expiresIn === undefined ? undefined : `${expiresIn}`,
          ...(overwriteNewer && { 'passferry-overwrite-newer': 'true' }),
        },
        json: { password, noChangeRequired: !changeRequired },
        secrets: [password],
      },
      patience,
    )
    .catch((thrown: PassferryClientError) => {
      throw withFacts(thrown, { idempotencyKey });
    });
  const { id } = record(answer.body);
  if (typeof id !== 'string') {
    throw new PassferryClientError('answer_unreadable', { status: answer.status, idempotencyKey });
  }
  const known = { jobId: id, idempotencyKey };
  const waiting = (how: Patience) =>
    waitForJob(http, id, how).catch((thrown: PassferryClientError) => {
      throw withFacts(thrown, known);
    });
  const outcome = wait ? await waiting(patience).catch(ofPassing) : undefined;
  return {
    id,
    idempotencyKey,
    replayed: answer.headers.get('idempotency-replayed') === 'true',
    ...(outcome && { outcome }),
    wait: (options: WaitOptions = {}) => waiting(patienceOf(options, defaults.timeoutMs)),
  };
}

/** It is accepted: a server that went away since is told by the outcome that is not there. */
function ofPassing(thrown: PassferryClientError): undefined {
  if (!isPassing(thrown)) throw thrown;
}

export function checkKey(key: string): string {
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw new PassferryClientError('idempotency_key_invalid');
  }
  return key;
}

/** What a header can carry. */
export function checkOrg(org: string | undefined): string | undefined {
  if (org !== undefined && !/^[\x21-\x7e]{1,200}$/.test(org)) throw new PassferryClientError('org_id_invalid');
  return org;
}

/** A user id as part of a path; dots alone would be another path. */
function pathPart(user: string): string {
  if (typeof user !== 'string') throw optionInvalid('user');
  if (user === '') throw new PassferryClientError('user_id_missing');
  if (!user.isWellFormed() || /^\.{1,2}$/.test(user)) throw new PassferryClientError('user_id_invalid');
  return encodeURIComponent(user);
}
