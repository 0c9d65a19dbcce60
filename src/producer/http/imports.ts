import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { isRunId } from '../../ids.ts';
import { authorize, type Caller, isGranted, ownActingOrg } from '../callers.ts';
import { parseFlag } from '../fields.ts';
import { importRows } from '../import/import.ts';
import type { RowView } from '../runs.ts';
import { overwritesNewer } from '../v1-call.ts';
import { parseIdempotencyKey } from '../validate.ts';
import { about, begun } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';

const formats: Record<string, 'csv' | 'ndjson'> = {
  'text/csv': 'csv',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
};

/** `POST /imports` (a streamed file), `GET /imports/{id}`, `GET /imports/{id}/rejects`. */
export function registerImports(app: FastifyInstance, deps: HttpDeps): void {
  const { producer, callers } = deps;

  app.register(async (scope) => {
    scope.addContentTypeParser(Object.keys(formats), (_request, payload, done) => done(null, payload));

    scope.post<{ Querystring: { noChangeRequired?: string; overwriteNewer?: string } }>(
      '/imports',
      { bodyLimit: Number.MAX_SAFE_INTEGER },
      async (request, reply) => {
        const caller = await callers.authenticate(request.headers.authorization);
        const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
        about(request, 'import', caller, org);
        authorize(caller, org, 'import');
        const format = formats[(request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''];
        if (!format) throw new PassferryError('media_type_unsupported');
        const { noChangeRequired } = request.query;
        if (noChangeRequired !== undefined && noChangeRequired !== 'true' && noChangeRequired !== 'false') {
          throw new PassferryError('field_type', { fields: [{ field: 'noChangeRequired', reason: 'field_type' }] });
        }
        const overwriteNewer = parseFlag(request.query.overwriteNewer, 'overwriteNewer');
        if (overwriteNewer) authorize(caller, org, 'admin');
        const key = header(request, 'idempotency-key');
        await begun(
          request,
          key === undefined ? {} : { run: await producer.runId(caller.name, org, parseIdempotencyKey(key)) },
        );
        const run = await importRows(
          producer,
          {
            caller: caller.name,
            org,
            ...(key !== undefined && { idempotencyKey: parseIdempotencyKey(key) }),
            mayImport: (rowOrg) => isGranted(caller, rowOrg, overwriteNewer ? 'admin' : 'import'),
            isAdmin: (rowOrg) => isGranted(caller, rowOrg, 'admin'),
          },
          request.body as Readable,
          {
            run: { format, changeRequired: noChangeRequired !== 'true', overwriteNewer },
            parse: { format },
          },
        );
        if (overwriteNewer) {
          request.log.info({ runId: run.view.id, org, by: caller.name }, overwritesNewer);
        }
        about(request, 'import', caller, org, { run: run.view.id });
        return reply
          .code(202)
          .header('location', `/imports/${run.view.id}`)
          .header('idempotency-key', run.idempotencyKey)
          .send(run.view);
      },
    );
  });

  async function visible(caller: Caller, id: string) {
    const view = isRunId(id) ? await producer.runs.view(id) : undefined;
    if (!view || !(isGranted(caller, view.org, 'import') || isGranted(caller, view.org, 'read'))) {
      throw new PassferryError('run_unknown');
    }
    return view;
  }

  app.get<{ Params: { id: string } }>('/imports/:id', async (request) => {
    return visible(await callers.authenticate(request.headers.authorization), request.params.id);
  });

  app.get<{ Params: { id: string } }>('/imports/:id/rejects', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const view = await visible(caller, request.params.id);
    return reply.type('application/x-ndjson').send(Readable.from(ofGranted(producer.runs.rejects(view), caller)));
  });
}

/** A run may have rows of several organizations; each is told to those it is granted to (P5). */
async function* ofGranted(rows: AsyncIterable<RowView>, caller: Caller): AsyncGenerator<string> {
  for await (const row of rows) {
    const { org } = row;
    if (org === undefined || isGranted(caller, org, 'import') || isGranted(caller, org, 'read')) {
      yield `${JSON.stringify(row)}\n`;
    }
  }
}
