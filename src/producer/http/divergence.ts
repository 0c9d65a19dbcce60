import type { FastifyInstance } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { authorize, isGranted, mayOperate, ownActingOrg } from '../callers.ts';
import { checkOrgId } from '../validate.ts';
import { about, begun } from './audit.ts';
import { type HttpDeps, header } from './deps.ts';

type Fields = Record<string, unknown>;

const listed = 100;
/** So many are looked at by one call at most, whatever matches: it must end. */
const mostLooked = 5_000;

/**
 * `GET /divergence`: users who are not in step, with `read` or `migrate` in their organization. `POST /divergence:redrive`: they are tried at
 * once; `migrate` there, or `operate`, which is told nobody's id.
 */
export function registerDivergence(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  app.get<{ Querystring: Fields }>('/divergence', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const org = checked(one(request.query, 'org') ?? ownActingOrg(caller, header(request, 'x-zitadel-orgid')));
    if (!isGranted(caller, org, 'migrate')) authorize(caller, org, 'read');
    const cause = one(request.query, 'cause');
    let cursor = one(request.query, 'cursor') ?? '0';
    if (!/^\d{1,20}$/.test(cursor)) throw badField('cursor', 'cursor_invalid');
    const { divergences } = producer;
    const count = await divergences.count(org);
    const users: object[] = [];
    let looked = 0;
    do {
      const found = await divergences.list(org, cursor, listed);
      cursor = found.cursor;
      looked += Math.max(1, found.list.length);
      for (const each of found.list) {
        if (cause !== undefined && each.cause !== cause) continue;
        const { user, follower, tries, since, nextTry } = each;
        users.push({
          ...{ user, backend: follower, cause: each.cause, since: new Date(since).toISOString(), tries },
          ...(nextTry !== undefined && { nextTry: new Date(nextTry).toISOString() }),
        });
      }
    } while (cursor !== '0' && users.length < listed && looked < mostLooked);
    return { org, count, users, ...(cursor !== '0' && { next: cursor }) };
  });

  app.post('/divergence::redrive', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const body = request.body ?? {};
    if (typeof body !== 'object' || Array.isArray(body)) throw new PassferryError('body_not_object');
    const given = body as Fields;
    const named = typeof given.org === 'string' ? given.org : undefined;
    const record = about(request, 'redrive', caller, named);
    const org = checked(one(given, 'org') ?? ownActingOrg(caller, header(request, 'x-zitadel-orgid')));
    if (!mayOperate(caller)) authorize(caller, org, 'migrate');
    const cause = one(given, 'cause');
    await begun(request, { ...(cause !== undefined && { why: cause }) });
    const redriven = await producer.divergences.redrive(org, cause);
    record?.about({ count: redriven });
    return { org, redriven };
  });
}

function checked(org: string): string {
  const reason = checkOrgId(org);
  if (reason) throw badField('org', reason);
  return org;
}

function one(query: Fields, name: string): string | undefined {
  const value = query[name];
  if (value === undefined || value === '') return undefined;
  if (typeof value !== 'string' || value.length > 400) throw badField(name);
  return value;
}

function badField(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
