import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { createVisibleRun } from './visible-run.ts';

/** `GET /imports/{id}/evidence`, and `POST /imports/{id}/evidence:verify` with what that answered. */
export function registerEvidence(app: FastifyInstance, deps: HttpDeps): void {
  const { producer, callers } = deps;
  const visible = createVisibleRun(deps);

  app.get<{ Params: { id: string } }>('/imports/:id/evidence', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    return producer.evidence.issue(await visible(caller, request.params.id));
  });

  // A POST because of its body: it changes nothing, so it leaves no record.
  app.post<{ Params: { id: string } }>('/imports/:id/evidence::verify', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { id } = await visible(caller, request.params.id);
    const verdict = producer.evidence.verdict(id, request.body);
    return { run: id, genuine: verdict === 'genuine', verdict };
  });
}
