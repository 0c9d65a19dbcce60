import { PassferryError } from '../errors.ts';
import { parseQuota, type Quota } from '../quota.ts';
import { hashToken, type Permission, readCallersFile, type StoredCaller } from './callers-file.ts';
import { followFile } from './followed-file.ts';

export { hashToken, type Permission, permissions } from './callers-file.ts';

/** An authenticated client. */
export interface Caller {
  name: string;
  /** The organization it acts in when a request names none. */
  home: string;
  /** organization → permissions; `*` holds only `operate`. */
  grants: Record<string, Permission[]>;
  /** Its own limits, instead of those for all. A rate of null: none. */
  limits?: { rate?: Quota | null; concurrency?: number };
}

export interface Callers {
  /**
   * Authorization header → caller. Errors: `auth_header_missing`, `AUTH-toLo1` (not Bearer), `AUTH-7fs1e` (unknown or expired
   * token), `auth_unavailable` (its issuer cannot be asked).
   */
  authenticate(header: string | undefined): Promise<Caller>;
  /** Is the organization granted to anybody in the callers file? */
  knows(org: string): boolean;
  /** All that the callers file names. */
  orgs(): string[];
}

/** Who else knows tokens: token → caller, undefined when it is none of theirs. Error: `auth_unavailable`. */
export type TokenIssuer = (token: string) => Promise<Caller | undefined>;

/**
 * Reads the callers file, and again when it changes. A file with an error at the start throws `config_invalid`; later the
 * old callers stay and `onError` is told. What the file does not know is asked of `issuer`.
 */
export function loadCallers(path: string, onError: (error: PassferryError) => void, issuer?: TokenIssuer): Callers {
  const file = followFile(path, () => byToken(readCallersFile(path)), onError);

  /** One that has ended is like one that never was. */
  function find(hash: string): Caller | undefined {
    const found = file.get().get(hash);
    return found && found.until > Date.now() ? found.caller : undefined;
  }

  function inFile(token: string): Caller | undefined {
    const hash = hashToken(token);
    file.refresh(false);
    const caller = find(hash);
    if (caller) return caller;
    file.refresh(true);
    return find(hash);
  }

  return {
    async authenticate(header) {
      if (header === undefined || header === '') throw new PassferryError('auth_header_missing');
      // As ZITADEL cuts it: the word with its one space, and whatever follows is the token.
      const token = /^Bearer (?!.*Bearer )(.+)$/.exec(header)?.[1];
      if (!token) throw new PassferryError('AUTH-toLo1', { code: 'unauthenticated', message: 'invalid auth header' });
      const caller = inFile(token) ?? (await issuer?.(token));
      if (!caller) throw new PassferryError('AUTH-7fs1e', { code: 'unauthenticated', message: 'Errors.Token.Invalid' });
      return caller;
    },
    knows: (org) =>
      org !== '*' &&
      [...file.get().values()].some(({ caller }) => caller.home === org || Object.hasOwn(caller.grants, org)),
    orgs: () => {
      const named = [...file.get().values()].flatMap(({ caller }) => [caller.home, ...Object.keys(caller.grants)]);
      return [...new Set(named)].filter((org) => org !== '*').sort();
    },
  };
}

/** Hash of each token → its caller, and until when it counts (ms). */
function byToken(stored: StoredCaller[]): Map<string, { caller: Caller; until: number }> {
  return new Map(
    stored.flatMap(({ tokenSha256, expiresAt, previous = [], limits, ...stored }) => {
      const caller: Caller = { ...stored, ...(limits && { limits: limitsOf(limits) }) };
      const end = expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiresAt);
      const old = previous.map((each) => [each.tokenSha256, Math.min(end, Date.parse(each.expiresAt))] as const);
      return [...old, [tokenSha256, end] as const].map(([hash, until]) => [hash, { caller, until }] as const);
    }),
  );
}

function limitsOf({ rate, ...others }: NonNullable<StoredCaller['limits']>): NonNullable<Caller['limits']> {
  return { ...others, ...(rate !== undefined && { rate: parseQuota(rate) ?? null }) };
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
  if (!mayOperate(caller)) throw new PassferryError('org_not_granted');
}

/** The same as a question, where it only adds to an answer. */
export function mayOperate(caller: Caller): boolean {
  const list = Object.hasOwn(caller.grants, '*') ? caller.grants['*'] : undefined;
  return list?.includes('operate') === true;
}

/**
 * Header `x-zitadel-orgid` → the organization acted in, as the v1 contract has it. Error: `AUTH-Bs7Ds` when there is none of
 * that name. On our own paths nobody learns that: {@link ownActingOrg}.
 */
export function actingOrg(caller: Caller, header: string | undefined, exists: (org: string) => boolean): string {
  if (header === undefined || header === '') return caller.home;
  const granted = header !== '*' && Object.hasOwn(caller.grants, header);
  if (!granted && !exists(header)) {
    throw new PassferryError('AUTH-Bs7Ds', { code: 'permission_denied', message: "Organisation doesn't exist" });
  }
  return header;
}

/** The same without a word on what exists: whatever is not granted is refused alike by {@link authorize} (P5). */
export function ownActingOrg(caller: Caller, header: string | undefined): string {
  return header || caller.home;
}
