import type { FastifyInstance } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import type { AuditAction } from '../../ledger/audit-record.ts';
import type { RunOptions, RunView } from '../../run.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { parseIdempotencyKey } from '../validate.ts';
import { about, begun } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';
import { problem } from './errors.ts';
import { readQuery } from './imports/options.ts';
import { sendRejects } from './imports/rejects.ts';
import { type AskedMigration, parseMigration, parseTuning } from './migrations/body.ts';
import { answerRun } from './run-answer.ts';
import { createVisibleMigration, maySee } from './visible-run.ts';

type Fields = Record<string, unknown>;

const listed = 50;
const mostListed = 200;

/**
 * `POST /migrations` (begins one), `GET /migrations`, and of one: `GET /migrations/{id}`, its `/rejects` and `/evidence`, and `POST
 * /migrations/{id}:pause|resume|cancel|tune`. To begin or change one: `migrate` in each of its organizations; to see it: `read` or
 * `migrate` in each of them.
 */
export function registerMigrations(app: FastifyInstance, deps: HttpDeps): void {
  const { producer, callers } = deps;
  const visible = createVisibleMigration(deps);

  app.post('/migrations', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
    about(request, 'migrate', caller, org);
    const asked = parseMigration(request.body);
    const orgs = orgsOf(caller, asked);
    const given = header(request, 'idempotency-key');
    const idempotencyKey = given === undefined ? makeIdempotencyKey() : parseIdempotencyKey(given);
    const home = orgs.includes(org) ? org : (orgs[0] as string);
    const id = await producer.runId(caller.name, home, idempotencyKey);
    about(request, 'migrate', caller, home, { run: id, count: orgs.length });
    await begun(request);
    reply.header('idempotency-key', idempotencyKey);
    const done = await producer.migrations.open({
      ...{ id, caller: caller.name, org: home, expiresInMs: asked.expiresInMs, options: optionsOf(asked, orgs) },
    });
    if ('busy' in done) {
      const told = problem(new PassferryError('migration_open'));
      const busy = await visible(caller, done.busy).catch(() => undefined);
      if (busy) reply.header('location', `/migrations/${busy.id}`);
      return reply
        .code(told.status)
        .headers({ ...told.headers, 'passferry-reason': 'migration_open' })
        .send({ ...told.body, ...(busy && { migration: busy.id }) });
    }
    return reply.code(202).header('location', `/migrations/${id}`).send(done.view);
  });

  app.get<{ Querystring: Fields }>('/migrations', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
    if (!maySee(caller, org)) authorize(caller, org, 'read');
    const limit = readQuery(request.query).integer('limit', 1, mostListed) ?? listed;
    const { cursor } = request.query;
    if (cursor !== undefined && !/^\d{1,15}$/.test(`${cursor}`)) throw new PassferryError('cursor_invalid');
    const found = await producer.runs.list(org, limit, cursor === undefined ? undefined : Number(cursor));
    const views = await Promise.all(found.map(({ id }) => visible(caller, id).catch(() => undefined)));
    const last = found.length === limit ? found.at(-1) : undefined;
    return {
      migrations: views.filter((view): view is RunView => view !== undefined),
      ...(last && { next: String(last.at) }),
    };
  });

  app.get<{ Params: { id: string } }>('/migrations/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    return answerRun(request, reply, deps, () => visible(caller, request.params.id));
  });

  app.get<{ Params: { id: string } }>('/migrations/:id/rejects', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    return sendRejects(request, reply, view, producer.runs.rejects(view));
  });

  app.get<{ Params: { id: string } }>('/migrations/:id/evidence', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    return producer.evidence.issue(await visible(caller, request.params.id));
  });

  /** What a person does with a migration: the verb after its id. */
  const verbs: Record<string, (id: string, query: Fields, body: unknown) => Promise<unknown>> = {
    pause: (id) => producer.runs.order(id, 'pause'),
    resume: (id, query) =>
      producer.runs.order(id, 'resume', readQuery(query).one('mails', ['allow']) ? { mails: 'allow' } : {}),
    cancel: (id) => producer.runs.order(id, 'cancel'),
    tune: (id, _, body) => producer.runs.tune(id, parseTuning(body)),
  };

  app.post<{ Params: { id: string }; Querystring: Fields }>('/migrations/:id', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const [, id = '', verb = ''] = /^([^:]*):([a-z]+)$/.exec(request.params.id) ?? [];
    if (!Object.hasOwn(verbs, verb)) {
      reply.header('allow', 'GET, HEAD');
      throw new PassferryError('method_not_allowed');
    }
    const action = `migration-${verb}` as AuditAction;
    about(request, action, caller);
    const view = await visible(caller, id);
    about(request, action, caller, view.org, { run: view.id });
    for (const org of view.options.migration?.orgs ?? []) authorize(caller, org, 'migrate');
    await begun(request);
    await (verbs[verb] as (typeof verbs)[string])(view.id, request.query, request.body);
    request.log.info(
      { runId: view.id, org: view.org, by: caller.name, verb },
      'a person did something with a migration',
    );
    return visible(caller, view.id);
  });
}

/** Those that were named, each of them granted; or all that are. Error: `org_not_granted`, with each that is not. */
function orgsOf(caller: Caller, { organizations }: AskedMigration): string[] {
  const may = (org: string) => isGranted(caller, org, 'migrate');
  if (!organizations) {
    const all = Object.keys(caller.grants).filter(may).sort();
    if (all.length === 0) throw new PassferryError('org_not_granted');
    return all;
  }
  const fields = organizations.flatMap((org, i) =>
    may(org) ? [] : [{ field: `organizations[${i}]`, reason: 'org_not_granted' as const }],
  );
  if (fields.length > 0) throw new PassferryError('org_not_granted', { fields });
  return organizations;
}

function optionsOf(
  { mode, create, repair, expiresInMs: _, organizations: __, ...limits }: AskedMigration,
  orgs: string[],
): RunOptions & Required<Pick<RunOptions, 'migration'>> {
  return {
    ...{ format: 'migration', changeRequired: false, overwriteNewer: false },
    ...limits,
    migration: { mode, orgs, ...(create && { create }), ...(repair && { repair }) },
  };
}
