import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { PassferryError } from '../errors.ts';

export const permissions = ['set', 'import', 'migrate', 'read', 'admin', 'operate'] as const;
export type Permission = (typeof permissions)[number];

/** An authenticated client. */
export interface Caller {
  name: string;
  /** The organization it acts in when a request names none. */
  home: string;
  /** organization → permissions; `*` holds only `operate`. */
  grants: Record<string, Permission[]>;
}

const callersFile = z.strictObject({
  callers: z.array(
    z
      .strictObject({
        name: z.string().regex(/^[\w.-]{1,64}$/),
        /** SHA-256 of the token, hex. */
        tokenSha256: z.string().regex(/^[0-9a-f]{64}$/),
        home: z.string().min(1).max(200),
        grants: z.record(z.string().min(1).max(200), z.array(z.enum(permissions)).min(1)),
      })
      .refine(
        ({ grants }) =>
          Object.entries(grants).every(([org, list]) =>
            org === '*' ? list.every((p) => p === 'operate') : !list.includes('operate'),
          ),
        { message: 'operate goes with the organization * and nothing else does', path: ['grants'] },
      ),
  ),
});

export interface Callers {
  /** Authorization header → caller. Errors: `auth_header_missing`, `AUTH-toLo1` (not Bearer), `AUTH-7fs1e` (unknown token). */
  authenticate(header: string | undefined): Caller;
  /** Is the organization granted to anybody? */
  knows(org: string): boolean;
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/**
 * Reads the callers file, and again when it changes. A file with an error at the start throws `config_invalid`; later the
 * old callers stay and `onError` is told.
 */
export function loadCallers(path: string, onError: (error: PassferryError) => void): Callers {
  let known = parseCallers(path);
  let stamp = stampOf(path);
  let checkedAt = Date.now();

  function refresh(now: boolean): void {
    if (!now && Date.now() - checkedAt < 2_000) return;
    checkedAt = Date.now();
    const seen = stampOf(path);
    if (seen === stamp) return;
    stamp = seen;
    try {
      known = parseCallers(path);
    } catch (error) {
      onError(error as PassferryError);
    }
  }

  const find = (token: string) => known.get(hashToken(token));

  return {
    authenticate(header) {
      if (header === undefined || header === '') throw new PassferryError('auth_header_missing');
      // As ZITADEL cuts it: the word with its one space, and whatever follows is the token.
      const token = /^Bearer (?!.*Bearer )(.+)$/.exec(header)?.[1];
      if (!token) throw new PassferryError('AUTH-toLo1', { code: 'unauthenticated', message: 'invalid auth header' });
      refresh(false);
      let caller = find(token);
      if (!caller) {
        refresh(true);
        caller = find(token);
      }
      if (!caller) throw new PassferryError('AUTH-7fs1e', { code: 'unauthenticated', message: 'Errors.Token.Invalid' });
      return caller;
    },
    knows: (org) =>
      org !== '*' && [...known.values()].some((caller) => caller.home === org || Object.hasOwn(caller.grants, org)),
  };
}

function parseCallers(path: string): Map<string, Caller> {
  let parsed: ReturnType<typeof callersFile.safeParse>;
  try {
    parsed = callersFile.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new PassferryError('config_invalid', { message: `The callers file ${path} cannot be read as JSON.`, cause });
  }
  if (!parsed.success) {
    const where = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
    throw new PassferryError('config_invalid', { message: `The callers file ${path} has errors: ${where}` });
  }
  return new Map(parsed.data.callers.map(({ tokenSha256, ...caller }) => [tokenSha256, caller]));
}

function stampOf(path: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return 'missing';
  }
}

export function isGranted(caller: Caller, org: string, permission: Permission): boolean {
  const list = org !== '*' && Object.hasOwn(caller.grants, org) ? caller.grants[org] : undefined;
  return list !== undefined && (list.includes(permission) || list.includes('admin'));
}

/**
 * The one place that decides. Errors, as the v1 contract has them: `AUTHZ-cdgFk` (nothing granted there),
 * `AUTH-5mWD2` (something, but not this).
 */
export function authorize(caller: Caller, org: string, permission: Permission): void {
  if (isGranted(caller, org, permission)) return;
  if (!Object.hasOwn(caller.grants, org) || org === '*') {
    throw new PassferryError('AUTHZ-cdgFk', { code: 'not_found', message: 'membership not found' });
  }
  throw new PassferryError('AUTH-5mWD2', { code: 'permission_denied', message: 'No matching permissions found' });
}

/** For what concerns every organization: `operate` with `*`. Error: `org_not_granted` (403), for whoever is known. */
export function authorizeOperate(caller: Caller): void {
  const list = Object.hasOwn(caller.grants, '*') ? caller.grants['*'] : undefined;
  if (!list?.includes('operate')) throw new PassferryError('org_not_granted');
}

/** Header `x-zitadel-orgid` → the organization acted in. Error: `AUTH-Bs7Ds` when there is none of that name. */
export function actingOrg(caller: Caller, header: string | undefined, exists: (org: string) => boolean): string {
  if (header === undefined || header === '') return caller.home;
  if (!exists(header)) {
    throw new PassferryError('AUTH-Bs7Ds', { code: 'permission_denied', message: "Organisation doesn't exist" });
  }
  return header;
}
