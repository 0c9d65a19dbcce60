import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { isBackendName } from '../../ledger/holds.ts';
import { authorizeOperate } from '../callers.ts';
import { parseReason } from '../fields.ts';
import { about, begun } from './audit.ts';
import type { HttpDeps } from './deps.ts';

/** `GET /holds`, `PUT /holds/{backend}`, `DELETE /holds/{backend}`: who holds a backend and why. Needs `operate`. */
export function registerHolds(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  async function operator(request: FastifyRequest, action?: 'hold' | 'lift'): Promise<string> {
    const caller = await callers.authenticate(request.headers.authorization);
    // It concerns every organization.
    if (action) about(request, action, caller)?.about({ org: '*' });
    authorizeOperate(caller);
    return caller.name;
  }

  app.get('/holds', async (request) => {
    await operator(request);
    const found = await producer.holds.all();
    if (found.forged.length > 0) request.log.error(found, 'a hold in Redis is not signed by us and counts as absent');
    return found;
  });

  app.put<{ Params: { backend: string } }>('/holds/:backend', async (request) => {
    const by = await operator(request, 'hold');
    const backend = parseBackend(request.params.backend);
    const reason = parseReason(request.body, 'hold_reason_invalid');
    await begun(request, { backend });
    const hold = await producer.holds.put(backend, reason, by);
    producer.status.forget();
    request.log.info({ backend, by, reason: hold.reason }, 'held by a person');
    return hold;
  });

  app.delete<{ Params: { backend: string } }>('/holds/:backend', async (request) => {
    const by = await operator(request, 'lift');
    const backend = parseBackend(request.params.backend);
    await begun(request, { backend });
    const hold = await producer.holds.lift(backend);
    producer.status.forget();
    request.log.info({ backend, by, ...(hold && { heldBy: hold.by, reason: hold.reason }) }, 'released by a person');
    return { backend, released: hold !== undefined };
  });
}

function parseBackend(name: string) {
  if (!isBackendName(name)) throw new PassferryError('backend_unknown');
  return name;
}
