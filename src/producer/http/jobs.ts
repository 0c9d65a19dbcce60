import type { FastifyInstance } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { isJobId } from '../../ids.ts';
import { isGranted } from '../callers.ts';
import type { HttpDeps } from './deps.ts';

/** `GET /jobs/{id}`. What is not granted looks like what does not exist (P5). */
export function registerJobs(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  app.get<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
    const caller = callers.authenticate(request.headers.authorization);
    const view = isJobId(request.params.id) ? await producer.view(request.params.id) : undefined;
    const mayRead = view && (isGranted(caller, view.org, 'read') || isGranted(caller, view.org, 'set'));
    if (!mayRead) throw new PassferryError('job_unknown');
    if (!view.done) reply.header('retry-after', '1');
    return view;
  });
}
