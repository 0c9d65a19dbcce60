import type { FastifyInstance } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { authorize, isGranted, mayOperate, ownActingOrg } from '../callers.ts';
import { checkOrgId, checkUserId } from '../validate.ts';
import { type HttpDeps, header } from './deps.ts';

type Fields = Record<string, unknown>;

/**
 * `GET /status`: `read` in an organization tells what concerns it, `operate` what concerns all. `GET /why?user=…`: what is known of one
 * user, for `read`.
 */
export function registerStatus(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  app.get<{ Querystring: Fields }>('/status', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const named = one(request.query, 'org') ?? (header(request, 'x-zitadel-orgid') || undefined);
    const org = checked(named ?? caller.home, 'org', checkOrgId);
    const whole = mayOperate(caller);
    const own = isGranted(caller, org, 'read');
    // Whoever operates is told of everything, and of an organization only when it is granted.
    if (!own && (!whole || named !== undefined)) authorize(caller, org, 'read');
    return producer.status.status(own ? org : undefined, whole);
  });

  app.get<{ Querystring: Fields }>('/why', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const named = one(request.query, 'org') ?? ownActingOrg(caller, header(request, 'x-zitadel-orgid'));
    const org = checked(named, 'org', checkOrgId);
    authorize(caller, org, 'read');
    return producer.why(org, checked(one(request.query, 'user') ?? '', 'user', checkUserId));
  });
}

function one(query: Fields, name: string): string | undefined {
  const value = query[name];
  if (value === undefined || value === '') return undefined;
  if (typeof value !== 'string') throw badField(name, 'field_type');
  return value;
}

function checked(value: string, field: string, check: (value: string) => Reason | undefined): string {
  const reason = check(value);
  if (reason) throw badField(field, reason);
  return value;
}

function badField(field: string, reason: Reason): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
