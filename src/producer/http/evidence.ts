import type { FastifyInstance } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { isRunId } from '../../ids.ts';
import type { RunView } from '../../run.ts';
import { type Caller, isGranted } from '../callers.ts';
import type { HttpDeps } from './deps.ts';

/** `GET /imports/{id}/evidence`, and `POST /imports/{id}/evidence:verify` with what that answered. */
export function registerEvidence(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  async function visible(caller: Caller, id: string): Promise<RunView> {
    const view = isRunId(id) ? await producer.runs.view(id) : undefined;
    if (!view || !(isGranted(caller, view.org, 'import') || isGranted(caller, view.org, 'read'))) {
      throw new PassferryError('run_unknown');
    }
    return view;
  }

  app.get<{ Params: { id: string } }>('/imports/:id/evidence', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    return producer.evidence.issue(await visible(caller, request.params.id));
  });

  app.post<{ Params: { id: string } }>('/imports/:id/evidence::verify', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { id } = await visible(caller, request.params.id);
    const verdict = producer.evidence.verdict(id, request.body);
    return { run: id, genuine: verdict === 'genuine', verdict };
  });
}
