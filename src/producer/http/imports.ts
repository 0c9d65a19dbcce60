import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import type { AuditAction } from '../../ledger/audit-record.ts';
import type { RetriedRun } from '../../ledger/run-retry.ts';
import type { RunView } from '../../run.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { importRows } from '../import/import.ts';
import type { RowView } from '../runs.ts';
import { overwritesNewer } from '../v1-call.ts';
import { checkOrgId, parseIdempotencyKey } from '../validate.ts';
import { about, begun } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';
import { parseLastEventId, type Streams } from './event-stream.ts';
import { fileOf, importMediaTypes } from './imports/body.ts';
import { parseImportQuery, readQuery } from './imports/options.ts';
import { sendRejects } from './imports/rejects.ts';
import { endId, isOver, runEvents } from './imports/watch.ts';
import { answerRun } from './run-answer.ts';
import { createVisibleRun, seesRuns } from './visible-run.ts';

type Fields = Record<string, unknown>;

const listed = 50;
const mostListed = 200;

/**
 * `POST /imports` (a streamed file), `GET /imports`, and of one: `GET /imports/{id}`, its `/events`, `/rows/{n}`, `/rejects`, and
 * `POST /imports/{id}:pause|resume|cancel|retry`. What is not granted looks like what does not exist (P5).
 */
export function registerImports(app: FastifyInstance, deps: HttpDeps, streams: Streams): void {
  const { producer, callers } = deps;
  const visible = createVisibleRun(deps);

  app.register(async (scope) => {
    scope.removeContentTypeParser('application/json');
    scope.addContentTypeParser(importMediaTypes, (_request, payload, done) => done(null, payload));

    scope.post<{ Querystring: Fields }>('/imports', { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
      const caller = await callers.authenticate(request.headers.authorization);
      const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
      about(request, 'import', caller, org);
      authorize(caller, org, 'import');
      const { choices, parse, expiresInMs } = parseImportQuery(request.query);
      if (choices.hashHere !== undefined && !(await producer.can(org, 'hashHere'))) {
        throw new PassferryError('hash_here_unsupported', {
          fields: [{ field: 'hashHere', reason: 'hash_here_unsupported' }],
        });
      }
      const { file, ...sent } = await fileOf(request);
      if (choices.overwriteNewer) authorize(caller, org, 'admin');
      const given = header(request, 'idempotency-key');
      const idempotencyKey = given === undefined ? makeIdempotencyKey() : parseIdempotencyKey(given);
      const id = await producer.runId(caller.name, org, idempotencyKey);
      await begun(request, { run: id });
      // Also with an error: rows may be stored.
      reply.header('idempotency-key', idempotencyKey);
      const { view, warnings } = await importRows(
        producer,
        {
          caller: caller.name,
          org,
          idempotencyKey,
          mayImport: (rowOrg) => isGranted(caller, rowOrg, choices.overwriteNewer ? 'admin' : 'import'),
          mayImportHash: (rowOrg) => isGranted(caller, rowOrg, 'import-hash'),
          isAdmin: (rowOrg) => isGranted(caller, rowOrg, 'admin'),
        },
        file,
        { choices, parse: { ...sent, ...parse }, expiresInMs },
      );
      if (choices.overwriteNewer) request.log.info({ runId: id, org, by: caller.name }, overwritesNewer);
      about(request, 'import', caller, org, { run: view.id });
      return reply
        .code(202)
        .header('location', `/imports/${view.id}`)
        .send(Object.keys(warnings).length > 0 ? { ...view, warnings } : view);
    });
  });

  /** Asks again what was asked when a stream was opened. An issuer that cannot be asked takes nothing away. */
  async function stillSees(request: FastifyRequest, id: string): Promise<boolean> {
    try {
      await visible(await callers.authenticate(request.headers.authorization), id);
      return true;
    } catch (error) {
      return error instanceof PassferryError && error.code === 'unavailable';
    }
  }

  app.get<{ Querystring: Fields }>('/imports', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
    const orgReason = checkOrgId(org);
    if (orgReason) throw badField('x-zitadel-orgid');
    if (!isGranted(caller, org, 'import')) authorize(caller, org, 'read');
    const limit = limitOf(request.query.limit);
    const found = await producer.runs.list(org, limit, cursorOf(request.query.cursor));
    const views = await Promise.all(found.map(({ id }) => producer.runs.view(id)));
    const last = found.length === limit ? found.at(-1) : undefined;
    return {
      imports: views.filter((view): view is RunView => view?.org === org && !view.options.migration),
      ...(last && { next: String(last.at) }),
    };
  });

  app.get<{ Params: { id: string } }>('/imports/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    return answerRun(request, reply, deps, () => visible(caller, request.params.id));
  });

  app.get<{ Params: { id: string } }>('/imports/:id/events', { exposeHeadRoute: false }, async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    const after = parseLastEventId(request);
    // It has what there is: a client that reconnects by itself stops at this.
    if (after !== undefined && isOver(view) && after === endId(view)) return reply.code(204).send();
    return streams.answer(request, reply, caller.name, async (signal) => ({
      blocks: runEvents(() => producer.runs.view(view.id), signal),
      position: () => undefined,
      isAllowed: () => stillSees(request, view.id),
    }));
  });

  app.get<{ Params: { id: string; row: string } }>('/imports/:id/rows/:row', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    const number = /^[1-9]\d{0,8}$/.test(request.params.row) ? Number(request.params.row) : 0;
    const row = number === 0 ? undefined : await producer.runs.row(view, number);
    if (!row || !seesRow(caller, row)) throw new PassferryError('row_unknown');
    return row;
  });

  app.get<{ Params: { id: string } }>('/imports/:id/rejects', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    return sendRejects(request, reply, view, ofGranted(producer.runs.rejects(view), caller));
  });

  /** What a person does with a run: the verb after its id. */
  const verbs: Record<string, (view: RunView, query: Fields) => Promise<unknown>> = {
    pause: ({ id }) => producer.runs.order(id, 'pause'),
    resume: ({ id }, query) =>
      producer.runs.order(id, 'resume', readQuery(query).one('mails', ['allow']) ? { mails: 'allow' } : {}),
    cancel: ({ id }) => producer.runs.order(id, 'cancel'),
    retry: ({ id }) => producer.runs.retry(id),
  };

  app.post<{ Params: { id: string }; Querystring: Fields }>('/imports/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const [, id = '', verb = ''] = /^([^:]*):([a-z]+)$/.exec(request.params.id) ?? [];
    if (!Object.hasOwn(verbs, verb)) {
      reply.header('allow', 'GET, HEAD');
      throw new PassferryError('method_not_allowed');
    }
    const action = `import-${verb}` as AuditAction;
    about(request, action, caller);
    const view = await visible(caller, id);
    about(request, action, caller, view.org, { run: view.id });
    authorize(caller, view.org, 'import');
    await begun(request);
    const done = await (verbs[verb] as (typeof verbs)[string])(view, request.query);
    if (verb === 'retry') about(request, action, caller, view.org, { count: (done as RetriedRun).reopened });
    request.log.info({ runId: view.id, org: view.org, by: caller.name, verb }, 'a person did something with an import');
    const after = await visible(caller, view.id);
    return typeof done === 'object' ? { ...after, ...done } : after;
  });
}

/** A run may have rows of several organizations; each is told to those it is granted to (P5). */
const seesRow = (caller: Caller, { org }: RowView) => org === undefined || seesRuns(caller, org);

async function* ofGranted(rows: AsyncIterable<RowView>, caller: Caller): AsyncGenerator<RowView> {
  for await (const row of rows) if (seesRow(caller, row)) yield row;
}

function limitOf(value: unknown): number {
  if (value === undefined) return listed;
  const limit = /^\d{1,6}$/.test(`${value}`) ? Number(value) : 0;
  if (limit < 1 || limit > mostListed) throw badField('limit');
  return limit;
}

function cursorOf(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value)) throw new PassferryError('cursor_invalid');
  return Number(value);
}

function badField(field: string): PassferryError {
  return new PassferryError('field_type', { fields: [{ field, reason: 'field_type' }] });
}
