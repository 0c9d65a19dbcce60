import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import type { AuditEntry } from '../../ledger/audit.ts';
import type { AuditFilter, AuditReader, AuditView } from '../../ledger/audit-read.ts';
import { type AuditAction, type AuditFacts, auditActions } from '../../ledger/audit-record.ts';
import { recordedIn } from '../audited.ts';
import { authorize, authorizeOperate, type Caller } from '../callers.ts';
import { checkOrgId } from '../validate.ts';
import { type HttpDeps, header } from './deps.ts';

const listed = 100;
const mostListed = 500;

type Fields = Record<string, unknown>;

const records = new WeakMap<FastifyRequest, AuditEntry>();

/**
 * Every request that may change something gets a record, which is written with its answer: an accepted one before that leaves,
 * a refused one beside it. A route says what it is about; one that does not leaves none.
 */
export function recordRequests(app: FastifyInstance, { producer, addressOf }: HttpDeps): void {
  app.addHook('onRequest', async (request) => {
    if (request.method === 'GET' || request.method === 'HEAD') return;
    const from = addressOf?.(request.raw);
    records.set(request, producer.audit.entry(from === undefined ? {} : { from }));
  });
  app.addHook('onSend', async (request, reply) => {
    const record = records.get(request);
    if (!record?.facts.action) return;
    if (reply.statusCode < 400) await record.accepted();
    else void record.refused(new PassferryError(String(reply.getHeader('passferry-reason') ?? 'internal')));
  });
}

/** Whose request this is and what it is about. In which organization: the one that is granted, else where the caller is at home. */
export function about(
  request: FastifyRequest,
  action: AuditAction,
  caller: Caller,
  org: string = caller.home,
  facts: Partial<AuditFacts> = {},
): AuditEntry | undefined {
  const record = records.get(request);
  record?.about({ action, caller: caller.name, org: recordedIn(caller, org), ...facts });
  return record;
}

/**
 * To be called before anything is changed: should this process end meanwhile, a record stays whose result is `unknown`. Error:
 * `redis_down`.
 */
export async function begun(request: FastifyRequest, facts: Partial<AuditFacts> = {}): Promise<void> {
  const record = records.get(request);
  record?.about(facts);
  await record?.begun();
}

/** `GET /audit`: what callers asked for and what became of it. Needs `admin`, and `operate` for `*`. */
export function registerAudit(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  app.get<{ Querystring: Fields }>('/audit', async (request, reply: FastifyReply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { query } = request;
    const org = text(query, 'org') ?? (header(request, 'x-zitadel-orgid') || caller.home);
    const orgReason = checkOrgId(org);
    if (orgReason) throw badField('org', orgReason);
    if (org === '*') authorizeOperate(caller);
    else authorize(caller, org, 'admin');
    const filter = parseFilter(query, org);
    const cursor = text(query, 'cursor');
    if (/^application\/(x-)?ndjson\b/i.test(request.headers.accept ?? '')) {
      return reply.type('application/x-ndjson').send(await lines(producer.audited, filter, cursor));
    }
    return producer.audited.page(filter, parseLimit(query.limit), cursor);
  });
}

/** All that match; what is wrong with the first page is said as an answer. */
async function lines(reader: AuditReader, filter: AuditFilter, cursor: string | undefined): Promise<Readable> {
  const first = await reader.page(filter, mostListed, cursor);
  const line = (each: AuditView) => `${JSON.stringify(each)}\n`;
  async function* all(): AsyncGenerator<string> {
    for (let page = first; ; page = await reader.page(filter, mostListed, page.next)) {
      for (const each of page.records) yield line(each);
      if (page.next === undefined) return;
    }
  }
  return Readable.from(all());
}

function parseFilter(query: Fields, org: string): AuditFilter {
  const action = text(query, 'action');
  if (action !== undefined && !(auditActions as readonly string[]).includes(action)) throw badField('action');
  const since = time(query, 'since');
  const until = time(query, 'until');
  const [user, caller] = [text(query, 'user'), text(query, 'caller')];
  return {
    org,
    ...(user !== undefined && { user }),
    ...(caller !== undefined && { caller }),
    ...(action !== undefined && { action: action as AuditAction }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
  };
}

/** RFC 3339 → ms. */
function time(query: Fields, name: string): number | undefined {
  const given = text(query, name);
  if (given === undefined) return undefined;
  const rfc3339 = /^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d))?$/.test(given);
  const ms = rfc3339 ? Date.parse(given) : Number.NaN;
  if (Number.isNaN(ms) || ms < 0) throw badField(name);
  return ms;
}

function text(query: Fields, name: string): string | undefined {
  const value = Object.hasOwn(query, name) ? query[name] : undefined;
  if (value === undefined || value === '') return undefined;
  if (typeof value !== 'string' || value.length > 400) throw badField(name);
  return value;
}

function parseLimit(value: unknown): number {
  if (value === undefined) return listed;
  const limit = /^\d{1,6}$/.test(`${value}`) ? Number(value) : 0;
  if (limit < 1 || limit > mostListed) throw badField('limit');
  return limit;
}

function badField(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
