import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { isJobId, isRunId } from '../../ids.ts';
import type { JobView } from '../../job.ts';
import { authorize, type Caller, isGranted } from '../callers.ts';
import { parseFlag, parseReason } from '../fields.ts';
import type { FailedFilter } from '../retry.ts';
import { checkOrgId } from '../validate.ts';
import { type HttpDeps, header } from './deps.ts';

const mostListed = 500;
const listed = 100;
/** Retried by one call: it must end while somebody waits. */
const mostRetried = 1_000;

type Fields = Record<string, unknown>;

/**
 * `GET /jobs/{id}`, `GET /jobs`, `POST /jobs/{id}:retry`, `POST /jobs:retry`, `POST /jobs/{id}:drop`, `POST /jobs/{id}:release`. What is not granted looks
 * like what does not exist (P5).
 */
export function registerJobs(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  async function visible(caller: Caller, id: string): Promise<JobView> {
    const view = isJobId(id) ? await producer.view(id) : undefined;
    const mayRead = view && (isGranted(caller, view.org, 'read') || isGranted(caller, view.org, 'set'));
    if (!mayRead) throw new PassferryError('job_unknown');
    return view;
  }

  /** What a person does with one job: the verb after its id → what it does, and the answer. */
  const verbs: Record<string, (request: FastifyRequest, caller: Caller, job: JobView) => Promise<object>> = {
    async retry(request, caller, { id, org }) {
      const overwriteNewer = mayOverwrite(caller, org, bodyOf(request));
      const admin = isGranted(caller, org, 'admin');
      await producer.failed.retry(id, { by: caller.name, admin, overwriteNewer });
      request.log.info({ jobId: id, org, by: caller.name, overwriteNewer }, 'retried by a person');
      return (await producer.view(id)) ?? {};
    },
    async drop(request, caller, { id, org }) {
      const reason = parseReason(bodyOf(request), 'reason_invalid');
      if (await producer.quarantine.isHeld(id)) {
        authorize(caller, org, 'admin');
        await producer.quarantine.drop(id, caller.name, reason);
      } else await producer.failed.drop(id, caller.name, isGranted(caller, org, 'admin'), reason);
      request.log.info({ jobId: id, org, by: caller.name, reason }, 'dropped by a person');
      return (await producer.view(id)) ?? {};
    },
    async release(request, caller, { id, org }) {
      authorize(caller, org, 'admin');
      const reason = parseReason(bodyOf(request), 'reason_invalid');
      await producer.quarantine.release(id, caller.name, reason);
      request.log.info({ jobId: id, org, by: caller.name, reason }, 'released from quarantine by a person');
      return (await producer.view(id)) ?? {};
    },
  };

  app.get<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
    const caller = callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    if (!view.done) reply.header('retry-after', '1');
    return view;
  });

  app.post<{ Params: { id: string } }>('/jobs/:id', async (request) => {
    const caller = callers.authenticate(request.headers.authorization);
    const [, id = '', verb = ''] = /^([^:]*):([a-z]+)$/.exec(request.params.id) ?? [];
    if (!Object.hasOwn(verbs, verb)) throw new PassferryError('method_not_allowed');
    const job = await visible(caller, id);
    authorize(caller, job.org, 'set');
    return (verbs[verb] as (typeof verbs)[string])(request, caller, job);
  });

  app.get<{ Querystring: Fields }>('/jobs', async (request) => {
    const caller = callers.authenticate(request.headers.authorization);
    const { query } = request;
    const filter = parseFilter(query, header(request, 'x-zitadel-orgid') || caller.home);
    if (!isGranted(caller, filter.org, 'set')) authorize(caller, filter.org, 'read');
    if (query.state === 'quarantined') return { jobs: await producer.quarantine.list(filter.org) };
    if (query.state !== undefined && query.state !== 'failed') throw badField('state');
    const limit = parseLimit(query.limit, listed, mostListed);
    return producer.failed.list(filter, limit, text(query, 'cursor'));
  });

  app.post('/jobs::retry', async (request) => {
    const caller = callers.authenticate(request.headers.authorization);
    const body = bodyOf(request);
    const filter = parseFilter(body, header(request, 'x-zitadel-orgid') || caller.home);
    authorize(caller, filter.org, 'set');
    const overwriteNewer = mayOverwrite(caller, filter.org, body);
    const how = { by: caller.name, admin: isGranted(caller, filter.org, 'admin'), overwriteNewer };
    const limit = parseLimit(body.limit, listed, mostRetried);
    const counts = await producer.failed.retryMatching(filter, how, limit, text(body, 'cursor'));
    const { matched, retried } = counts;
    request.log.info({ org: filter.org, by: caller.name, overwriteNewer, matched, retried }, 'retried by a person');
    return counts;
  });
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
  const run = text(fields, 'run');
  if (run !== undefined && !isRunId(run)) throw new PassferryError('run_unknown');
  const named = Object.fromEntries(
    (['reason', 'user', 'caller'] as const).flatMap((name) => {
      const value = text(fields, name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
  return { org, ...named, ...(run !== undefined && { run }) };
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
