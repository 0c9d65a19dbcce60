import type { FastifyInstance } from 'fastify';
import { PassferryError, type Reason } from '../../errors.ts';
import { everyOrg } from '../../ledger/stages.ts';
import { type Stage, stageNames } from '../../stage.ts';
import { authorize, authorizeOperate, type Caller, isGranted, mayOperate, type Permission } from '../callers.ts';
import { parseFlag, parseReason } from '../fields.ts';
import type { AskedStep } from '../stages/conditions.ts';
import type { AskedChange } from '../stages/desk.ts';
import { checkOrgId } from '../validate.ts';
import { about, begun } from './audit.ts';
import type { HttpDeps } from './deps.ts';
import { problem } from './errors.ts';

type Fields = Record<string, unknown>;

const planVerb = ':plan';
const sees = ['read', 'migrate'] as const satisfies Permission[];
const fields = new Set(['stage', 'percent', 'force', 'reason', 'writersStopped', 'confirm', 'version']);

/**
 * `GET /stages`, `GET /stages/{org}`, `GET /stages/{org}:plan`, `PUT /stages/{org}`: where organizations stand on their way from v1 to v2. To
 * see one: `read` or `migrate` there; to change it: `migrate` there; `operate` sees and changes all, and the default (`*`) is its alone.
 */
export function registerStages(app: FastifyInstance, { producer, callers }: HttpDeps): void {
  const known = () => callers.orgs();

  app.get<{ Querystring: Fields }>('/stages', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const cursor = one(request.query, 'cursor');
    const own = Object.keys(caller.grants).filter((org) => sees.some((each) => isGranted(caller, org, each)));
    const whole = mayOperate(caller);
    return producer.stages.list(whole ? [...own, ...known()] : own, whole, cursor);
  });

  app.get<{ Params: { org: string }; Querystring: Fields }>('/stages/:org', async (request) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { params, query, url } = request;
    // An id may end so too: then its colon is written as `%3A`.
    const plans = /:plan(\?|$)/.test(url);
    const org = orgOf(plans ? params.org.slice(0, -planVerb.length) : params.org);
    mayDo(caller, org, sees);
    if (!plans) return producer.stages.one(org);
    const percent = one(query, 'percent') ?? '0';
    const asked = {
      stage: stageOf(one(query, 'stage')),
      percent: percentOf(/^\d{1,2}$/.test(percent) ? Number(percent) : undefined),
      writersStopped: parseFlag(one(query, 'writersStopped'), 'writersStopped'),
      confirmed: one(query, 'confirm') === 'final',
    };
    return producer.stages.plan(org, asked, known());
  });

  app.put<{ Params: { org: string } }>('/stages/:org', async (request, reply) => {
    const caller = await callers.authenticate(request.headers.authorization);
    const { org: given } = request.params;
    const record = about(request, 'stage', caller, given);
    // It concerns every organization.
    if (given === everyOrg) record?.about({ org: everyOrg });
    const org = orgOf(given);
    mayDo(caller, org, ['migrate']);
    const asked = parseChange(request.body);
    const { stage, percent, reason } = asked;
    const facts = { stage: percent > 0 ? `${stage} ${percent}%` : stage, ...(reason !== undefined && { why: reason }) };
    record?.about(facts);
    const by = caller.name;
    const done = await producer.stages.set(org, { ...asked, by }, known(), () => begun(request));
    if ('refused' in done) {
      const { status, headers, body } = problem(new PassferryError('stage_refused'));
      return reply
        .code(status)
        .headers(headers)
        .send({ ...body, conditions: done.refused });
    }
    request.log.info({ org, by, ...facts, overruled: done.overruled }, 'a stage was set');
    return { ...done.stage, overruled: done.overruled };
  });
}

/** In the organization, or for all. Errors of `authorize`; for the default `org_not_granted`. */
function mayDo(caller: Caller, org: string, any: readonly Permission[]): void {
  if (mayOperate(caller)) return;
  if (org === everyOrg) authorizeOperate(caller);
  if (any.some((each) => isGranted(caller, org, each))) return;
  authorize(caller, org, any[0] as Permission);
}

function orgOf(given: string): string {
  if (checkOrgId(given)) throw badField('org', 'org_id_invalid');
  return given;
}

function parseChange(body: unknown): Omit<AskedChange, 'by'> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new PassferryError('body_not_object');
  const given = body as Fields;
  const unknown = Object.keys(given).find((name) => !fields.has(name));
  if (unknown !== undefined) throw badField(/^[A-Za-z_-]{1,40}$/.test(unknown) ? unknown : 'body', 'option_unknown');
  const force = parseFlag(given.force, 'force');
  const writersStopped = parseFlag(given.writersStopped, 'writersStopped');
  // Somebody's word counts with a reason only.
  const reason =
    force || writersStopped || given.reason !== undefined ? parseReason(body, 'reason_invalid') : undefined;
  if (given.confirm !== undefined && given.confirm !== 'final') throw badField('confirm');
  if (given.version !== undefined && !isWhole(given.version, 1_000_000_000)) throw badField('version');
  return {
    ...{ stage: stageOf(given.stage), percent: percentOf(given.percent ?? 0), force, writersStopped },
    confirmed: given.confirm === 'final',
    ...(reason !== undefined && { reason }),
    ...(given.version !== undefined && { version: given.version as number }),
  };
}

function stageOf(given: unknown): Stage {
  if (!(stageNames as readonly unknown[]).includes(given)) throw badField('stage');
  return given as Stage;
}

function percentOf(given: unknown): AskedStep['percent'] {
  if (!isWhole(given, 99)) throw badField('percent');
  return given as number;
}

const isWhole = (value: unknown, most: number) =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;

function one(query: Fields, name: string): string | undefined {
  const value = query[name];
  if (value === undefined || value === '') return undefined;
  if (typeof value !== 'string' || value.length > 400) throw badField(name);
  return value;
}

function badField(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
