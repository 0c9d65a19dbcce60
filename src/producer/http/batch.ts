import type { FastifyInstance, FastifyRequest } from 'fastify';
import { askAgain, type FieldError, PassferryError, type Reason, toPassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import type { AuditEntry } from '../../ledger/audit.ts';
import { Secret } from '../../secret.ts';
import { recordedIn } from '../audited.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { asyncExpiryMs } from '../producer.ts';
import { checkOrgId, parseIdempotencyKey, parseSetPassword, type SetPasswordRequest } from '../validate.ts';
import { about } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';
import { problem } from './errors.ts';

const mostItems = 1_000;
const bodyLimit = 1024 * 1024;
/** More at once wait with the rows of files: whoever waits for one job does not stand behind them. */
const mostInteractive = 50;
/** Stored at once; those of one user one after the other, so that they keep their order. */
const atOnce = 16;
const longestExpirySeconds = 30 * 86_400;
/** So many more items count as one more request of the caller. */
const itemsAsOne = 50;

type Fields = Record<string, unknown>;

/** One item, checked. */
interface Item {
  index: number;
  request: SetPasswordRequest;
  idempotencyKey: string;
  /** The caller has named it; else an equal open job of the user is this one. */
  named: boolean;
  expiresInMs: number;
}

/** What became of one item, by its place in the list. */
type Told =
  | {
      status: 'accepted';
      id: string;
      idempotencyKey: string;
      replayed: boolean;
      acceptedAt: string;
      expiresAt: string;
    }
  | {
      status: 'refused';
      code: string;
      reason: string;
      message: string;
      fields?: FieldError[];
      /** Where the same item should be sent again under the same key. */
      idempotencyKey?: string;
    };

/** `POST /jobs`: up to 1,000 items, each a set-password request of its own. */
export function registerBatch(app: FastifyInstance, deps: HttpDeps): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    // A secret: Fastify shows the request's body to whoever traces.
    scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, new Secret(body as Buffer)),
    );
    scope.post('/jobs', { bodyLimit }, async (request, reply) => {
      const caller = await deps.callers.authenticate(request.headers.authorization);
      const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
      const record = about(request, 'set', caller, org);
      const items = parseItems(request);
      await deps.limits?.spend(caller, Math.floor(items.length / itemsAsOne));
      // From here on each item has its own.
      record?.leave();
      const from = record?.facts.from;
      const jobs = await acceptAll(items, caller, org, from, deps);
      const accepted = jobs.filter((each) => each.status === 'accepted').length;
      const counts = { accepted, refused: jobs.length - accepted, jobs };
      if (accepted > 0) return reply.code(202).send(counts);
      const { status, headers, body } = problem(new PassferryError(reasonForAll(jobs)));
      return reply
        .code(status)
        .headers(headers)
        .send({ ...body, ...counts });
    });
  });
}

function parseItems(request: FastifyRequest): unknown[] {
  const body = request.body instanceof Secret ? request.body : undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(body?.reveal() ?? '');
  } catch {
    throw new PassferryError('body_not_json');
  } finally {
    body?.wipe();
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new PassferryError('body_not_object');
  }
  const items = own(parsed as Fields, 'jobs');
  if (!Array.isArray(items)) throw new PassferryError('field_type', { fields: [bad('jobs')] });
  if (items.length < 1 || items.length > mostItems) {
    throw new PassferryError('items_count', { fields: [bad('jobs', 'items_count')] });
  }
  return items;
}

/** Each item by itself: one that is refused stops no other. In the order of the list. */
async function acceptAll(
  items: unknown[],
  caller: Caller,
  home: string,
  from: string | undefined,
  deps: HttpDeps,
): Promise<Told[]> {
  const told: Told[] = [];
  const recordOf = (item?: Item) =>
    deps.producer.audit.entry({
      action: 'set',
      caller: caller.name,
      org: recordedIn(caller, item?.request.org ?? home),
      ...(item && { user: item.request.user }),
      ...(from !== undefined && { from }),
    });
  const users = new Map<string, Item[]>();
  const usedKeys = new Map<string, string>();
  items.forEach((fields, index) => {
    try {
      const item = parseItem(fields, index, caller, home);
      const { org, user } = item.request;
      const who = JSON.stringify([org, user]);
      const key = JSON.stringify([org, item.idempotencyKey]);
      // Whoever stands first in the list has it, whatever is stored first.
      if ((usedKeys.get(key) ?? who) !== who) {
        item.request.password.wipe();
        throw new PassferryError('idempotency_key_reused');
      }
      usedKeys.set(key, who);
      const ofUser = users.get(who);
      if (ofUser) ofUser.push(item);
      else users.set(who, [item]);
    } catch (error) {
      void recordOf().refused(error);
      told[index] = refused(error);
    }
  });

  const queue = items.length > mostInteractive ? 'rows' : 'interactive';
  let fault: unknown;
  const rest = users.values();
  async function storeNext(): Promise<void> {
    for (const ofUser of rest) {
      for (const item of ofUser) {
        const record = recordOf(item);
        if (fault === undefined && deps.closing.aborted) fault = new PassferryError('shutting_down');
        try {
          // What has failed for one fails for all: the answer must not wait for each.
          if (fault !== undefined) throw fault;
          told[item.index] = await store(item, caller, deps, queue, record);
        } catch (error) {
          void record.refused(error);
          if (toPassferryError(error).scope !== 'user') fault ??= notTried(toPassferryError(error));
          told[item.index] = refused(error, item.idempotencyKey);
        } finally {
          item.request.password.wipe();
        }
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, storeNext));
  return told;
}

async function store(
  item: Item,
  caller: Caller,
  { producer }: HttpDeps,
  queue: 'interactive' | 'rows',
  record: AuditEntry,
): Promise<Told> {
  const asker = { caller: caller.name, admin: isGranted(caller, item.request.org, 'admin') };
  // Told also when storing fails.
  if (!item.named) item.idempotencyKey = producer.makeKey(asker, item.request);
  const accepted = await producer.setPassword(asker, item.request, {
    idempotencyKey: item.idempotencyKey,
    mayJoin: !item.named,
    expiresInMs: item.expiresInMs,
    queue,
    record,
  });
  accepted.repeats.forget();
  const { jobId, idempotencyKey, replayed, acceptedAt, expiresAt } = accepted;
  const time = (ms: number) => new Date(ms).toISOString();
  const times = { acceptedAt: time(acceptedAt), expiresAt: time(expiresAt) };
  return { status: 'accepted', id: jobId, idempotencyKey, replayed, ...times };
}

/** The same order of checks as one call: organization, permission, fields. */
function parseItem(fields: unknown, index: number, caller: Caller, home: string): Item {
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw new PassferryError('field_type', { fields: [bad('jobs')] });
  }
  const given = fields as Fields;
  const org = own(given, 'org') ?? home;
  if (typeof org !== 'string') throw new PassferryError('field_type', { fields: [bad('org')] });
  const orgReason = checkOrgId(org);
  if (orgReason) throw new PassferryError(orgReason, { fields: [bad('org', orgReason)] });
  authorize(caller, org, 'set');

  const errors: FieldError[] = [];
  const user = own(given, 'user') ?? '';
  if (typeof user !== 'string') errors.push(bad('user'));
  const changeRequired = own(given, 'changeRequired');
  const noChangeRequired = own(given, 'noChangeRequired');
  const contradicts = noChangeRequired !== undefined && noChangeRequired !== !changeRequired;
  if (changeRequired !== undefined && (typeof changeRequired !== 'boolean' || contradicts)) {
    errors.push(bad('changeRequired'));
  }
  const seconds = own(given, 'expiresIn');
  if (seconds !== undefined && !isExpiry(seconds)) errors.push(bad('expiresIn', 'expires_invalid'));
  const key = own(given, 'idempotencyKey');
  const idempotencyKey = key === undefined ? makeIdempotencyKey() : parseKey(key, errors);
  const body = {
    password: own(given, 'password'),
    noChangeRequired: typeof changeRequired === 'boolean' ? !changeRequired : noChangeRequired,
  };
  let request: SetPasswordRequest | undefined;
  try {
    request = parseSetPassword(body, org, typeof user === 'string' ? user : '-');
  } catch (error) {
    if (!(error instanceof PassferryError)) throw error;
    errors.push(...error.fields.map(({ field, reason }) => bad(field === 'userId' ? 'user' : field, reason)));
  }
  const first = errors[0];
  if (first || !request) {
    request?.password.wipe();
    throw new PassferryError(first?.reason ?? 'internal', { fields: errors });
  }
  const expiresInMs = seconds === undefined ? asyncExpiryMs : (seconds as number) * 1_000;
  return { index, request, idempotencyKey, named: key !== undefined, expiresInMs };
}

function isExpiry(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= longestExpirySeconds;
}

function parseKey(value: unknown, errors: FieldError[]): string {
  try {
    return parseIdempotencyKey(typeof value === 'string' ? value : '');
  } catch {
    errors.push(bad('idempotencyKey', 'idempotency_key_invalid'));
    return '';
  }
}

/** An item that was not even tried is known not to be accepted. */
function notTried(error: PassferryError): PassferryError {
  return error.reason === ('accept_unknown' satisfies Reason)
    ? new PassferryError('redis_down', { scope: 'backend' })
    : error;
}

function refused(thrown: unknown, idempotencyKey?: string): Told {
  const { code, reason, message, fields } = toPassferryError(thrown);
  return {
    status: 'refused',
    ...{ code, reason, message },
    ...(fields.length > 0 && { fields }),
    ...(idempotencyKey !== undefined && askAgain.has(reason) && { idempotencyKey }),
  };
}

/** Why nothing was accepted: the items, or a fault that passes. */
function reasonForAll(jobs: Told[]): Reason {
  const faults = jobs.flatMap((each) => (each.status === 'refused' && askAgain.has(each.reason) ? [each.reason] : []));
  const unknown = faults.find((reason) => reason === ('accept_unknown' satisfies Reason));
  return (unknown ?? faults[0] ?? 'items_refused') as Reason;
}

function bad(field: string, reason: FieldError['reason'] = 'field_type'): FieldError {
  return { field, reason };
}

/** Null counts as absent. */
function own(record: Fields, name: string): unknown {
  return Object.hasOwn(record, name) ? (record[name] ?? undefined) : undefined;
}
