import type { FastifyInstance } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { authorize, ownActingOrg } from '../callers.ts';
import { checkOrgId } from '../validate.ts';
import { type HttpDeps, header } from './deps.ts';
import { defined, hashHereOf, readQuery } from './imports/options.ts';

/** `GET /imports:plan?rows=…&rate=…&hashHere=…`: how long an import into the organization would take. Needs `import` there. */
export function registerImportPlan(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  app.get<{ Querystring: Record<string, unknown> }>('/imports::plan', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
    if (checkOrgId(org)) {
      throw new PassferryError('field_type', { fields: [{ field: 'x-zitadel-orgid', reason: 'field_type' }] });
    }
    authorize(caller, org, 'import');
    const asked = readQuery(request.query);
    const rows = asked.integer('rows', 0, 1_000_000_000);
    const rate = asked.number('rate', 0.01, 100_000);
    return producer.plan(org, defined({ rows, rate, hashHere: hashHereOf(asked) }));
  });
}
