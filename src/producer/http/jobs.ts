import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import type { JobState, JobView } from '../../job.ts';
import { under } from '../../under.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { parseFlag, parseReason } from '../fields.ts';
import { parsePrefer } from '../prefer.ts';
import type { FailedFilter } from '../retry.ts';
import { checkOrgId } from '../validate.ts';
import { about, begun } from './audit.ts';
import { goneWith, type HttpDeps, header } from './deps.ts';
import { problem } from './errors.ts';
import { createVisible } from './visible-job.ts';

const mostListed = 500;
const listed = 100;
/** Retried by one call: it must end while somebody waits. */
const mostRetried = 1_000;

type Fields = Record<string, unknown>;

/**
 * `GET /jobs/{id}`, `DELETE /jobs/{id}`, `GET /jobs`, `POST /jobs/{id}:retry`, `POST /jobs:retry`, `POST /jobs/{id}:drop`,
 * `POST /jobs/{id}:release`. What is not granted looks like what does not exist (P5).
 */
export function registerJobs(app: FastifyInstance, { producer, callers, waitMs, closing }: HttpDeps): void {
  const visible = createVisible({ producer });

  /** Waits as long as the client prefers, at most `PASSFERRY_WAIT`; ends with the process and with the client. */
  async function waitFor(request: FastifyRequest, reply: FastifyReply, { id, done }: JobView): Promise<boolean> {
    const preferred = parsePrefer(header(request, 'prefer')).waitMs;
    if (preferred === undefined) return false;
    const patience = Math.min(preferred, waitMs);
    reply.header('preference-applied', `wait=${Math.floor(patience / 1_000)}`);
    if (done || patience === 0) return false;
    await under([closing, goneWith(reply)], (signal) => producer.wait(id, patience, signal));
    return true;
  }

  /** What a person does with one job: the verb after its id → what it does, and the answer. */
  const verbs: Record<string, (request: FastifyRequest, caller: Caller, job: JobView) => Promise<object>> = {
    async retry(request, caller, { id, org }) {
      const overwriteNewer = mayOverwrite(caller, org, bodyOf(request));
      await begun(request);
      const admin = isGranted(caller, org, 'admin');
      await producer.failed.retry(id, { by: caller.name, admin, overwriteNewer });
      request.log.info({ jobId: id, org, by: caller.name, overwriteNewer }, 'retried by a person');
      return (await producer.view(id)) ?? {};
    },
    async drop(request, caller, { id, org }) {
      const reason = parseReason(bodyOf(request), 'reason_invalid');
      const held = await producer.quarantine.isHeld(id);
      if (held) authorize(caller, org, 'admin');
      await begun(request);
      if (held) {
        await producer.quarantine.drop(id, caller.name, reason);
      } else await producer.failed.drop(id, caller.name, isGranted(caller, org, 'admin'), reason);
      request.log.info({ jobId: id, org, by: caller.name, reason }, 'dropped by a person');
      return (await producer.view(id)) ?? {};
    },
    async release(request, caller, { id, org }) {
      authorize(caller, org, 'admin');
      const reason = parseReason(bodyOf(request), 'reason_invalid');
      await begun(request);
      await producer.quarantine.release(id, caller.name, reason);
      request.log.info({ jobId: id, org, by: caller.name, reason }, 'released from quarantine by a person');
      return (await producer.view(id)) ?? {};
    },
  };

  app.get<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    let view = await visible(caller, request.params.id, 'read', 'set');
    if (await waitFor(request, reply, view)) view = await visible(caller, view.id, 'read', 'set');
    if (!view.done) reply.header('retry-after', '1');
    const tag = etagOf(view);
    reply.header('etag', tag);
    if (isKnown(header(request, 'if-none-match'), tag)) return reply.code(304).send();
    return view;
  });

  app.delete<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    about(request, 'cancel', caller);
    const { id, org, user } = await visible(caller, request.params.id, 'set');
    about(request, 'cancel', caller, org, { job: id, user });
    await begun(request);
    try {
      const view = await producer.cancel(id);
      request.log.info({ jobId: id, org, by: caller.name }, 'cancelled');
      return view;
    } catch (error) {
      if (!(error instanceof PassferryError) || !tooLate.has(error.reason)) throw error;
      const { status, headers, body } = problem(error);
      return reply
        .code(status)
        .headers(headers)
        .send({ ...body, job: await producer.view(id) });
    }
  });

  app.post<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const [, id = '', verb = ''] = /^([^:]*):([a-z]+)$/.exec(request.params.id) ?? [];
    if (!Object.hasOwn(verbs, verb)) {
      reply.header('allow', allowed.one);
      throw new PassferryError('method_not_allowed');
    }
    const action = verb as 'retry' | 'drop' | 'release';
    about(request, action, caller);
    const job = await visible(caller, id, 'read', 'set');
    about(request, action, caller, job.org, { job: job.id, user: job.user });
    authorize(caller, job.org, 'set');
    return (verbs[verb] as (typeof verbs)[string])(request, caller, job);
  });

  app.get<{ Querystring: Fields }>('/jobs', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { query } = request;
    const filter = parseFilter(query, ownActingOrg(caller, header(request, 'x-zitadel-orgid')));
    if (!isGranted(caller, filter.org, 'set')) authorize(caller, filter.org, 'read');
    const state = text(query, 'state');
    if (state !== undefined && !listable.has(state)) throw badField('state');
    const limit = parseLimit(query.limit, listed, mostListed);
    const cursor = text(query, 'cursor');
    const { user } = filter;
    if (state === 'quarantined') return { jobs: await quarantined(filter) };
    if (state === 'failed' || (state === undefined && user === undefined)) {
      return producer.failed.list(filter, limit, cursor);
    }
    if (user === undefined) throw badField('user', 'user_id_missing');
    return producer.jobsOf(
      { ...filter, user, ...(state !== undefined && { state: state as JobState }) },
      limit,
      cursor,
    );
  });

  /** As every job is shown, and since when it is held. */
  async function quarantined({ org, user }: FailedFilter): Promise<object[]> {
    const held = (await producer.quarantine.list(org)).filter((each) => user === undefined || each.user === user);
    return Promise.all(held.map(async (each) => ({ ...(await producer.view(each.id)), ...each })));
  }

  app.post('/jobs::retry', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const body = bodyOf(request);
    const filter = parseFilter(body, ownActingOrg(caller, header(request, 'x-zitadel-orgid')));
    about(request, 'retry', caller, filter.org);
    authorize(caller, filter.org, 'set');
    const overwriteNewer = mayOverwrite(caller, filter.org, body);
    const how = { by: caller.name, admin: isGranted(caller, filter.org, 'admin'), overwriteNewer };
    const limit = parseLimit(body.limit, listed, mostRetried);
    await begun(request);
    const counts = await producer.failed.retryMatching(filter, how, limit, text(body, 'cursor'));
    const { matched, retried } = counts;
    about(request, 'retry', caller, filter.org, { count: retried });
    request.log.info({ org: filter.org, by: caller.name, overwriteNewer, matched, retried }, 'retried by a person');
    return counts;
  });
}

/** What a `DELETE` that comes too late is told, with the job. */
const tooLate = new Set<string>(['job_begun', 'job_done', 'quarantined'] satisfies Reason[]);

const listable = new Set<string>([
  ...(['waiting', 'active', 'delayed', 'completed', 'failed'] satisfies JobState[]),
  'quarantined',
]);

/** Path → the methods it has, for the header of 405. */
export function allowedOn(url: string): string | undefined {
  const path = url.split('?')[0] as string;
  if (path === '/jobs') return allowed.all;
  if (/^(\/events|\/jobs\/[^/]+\/events)$/.test(path)) return allowed.stream;
  if (/^\/jobs(\/[^/]+)?:[a-z]+$/.test(path)) return allowed.verb;
  return /^\/jobs\/[^/]+$/.test(path) ? allowed.one : undefined;
}
const allowed = { all: 'GET, HEAD, POST', one: 'GET, HEAD, DELETE', verb: 'POST', stream: 'GET' };

/** Changes whenever the view does. */
function etagOf(view: JobView): string {
  return `"${createHash('sha256').update(JSON.stringify(view)).digest('base64url').slice(0, 27)}"`;
}

/** `If-None-Match`: a list of tags, weak ones too, or `*`. */
function isKnown(condition: string | undefined, tag: string): boolean {
  if (condition === undefined) return false;
  return condition.split(',').some((each) => each.trim() === '*' || each.trim().replace(/^W\//, '') === tag);
}

/** Needs the permission admin in the job's organization. */
function mayOverwrite(caller: Caller, org: string, body: Fields): boolean {
  const overwriteNewer = parseFlag(body.overwriteNewer, 'overwriteNewer');
  if (overwriteNewer) authorize(caller, org, 'admin');
  return overwriteNewer;
}

function parseFilter(fields: Fields, home: string): FailedFilter {
  const org = text(fields, 'org') ?? home;
  const orgReason = checkOrgId(org);
  if (orgReason) throw badField('org', orgReason);
  const named = Object.fromEntries(
    (['reason', 'user', 'caller'] as const).flatMap((name) => {
      const value = text(fields, name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
  return { org, ...named };
}

function text(fields: Fields, name: string): string | undefined {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string' || value.length > 400) throw badField(name);
  return value;
}

function parseLimit(value: unknown, usual: number, most: number): number {
  if (value === undefined || value === null) return usual;
  const limit = /^\d{1,6}$/.test(`${value}`) ? Number(value) : 0;
  if (limit < 1 || limit > most) throw badField('limit');
  return limit;
}

function bodyOf(request: FastifyRequest): Fields {
  const body = request.body ?? {};
  if (typeof body !== 'object' || Array.isArray(body)) throw new PassferryError('body_not_object');
  return body as Fields;
}

function badField(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
