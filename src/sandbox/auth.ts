import { Code } from '@connectrpc/connect';
import type { Store } from './state.ts';
import type { RefusalId } from './zitadel-errors.ts';
import { bareError, refusal } from './zitadel-errors.ts';

/** Whom a token stands for and which roles it has where. */
export interface TokenGrant {
  userId: string;
  roles: { instance?: string[]; orgs?: Record<string, string[]> };
}

export type Permission = 'user.write' | 'user.read' | 'policy.read';

export interface Caller {
  userId: string;
  /** The organization of the `x-zitadel-orgid` header, else the caller's home. */
  org: string;
  roles: TokenGrant['roles'];
}

const writers = ['IAM_OWNER', 'IAM_USER_MANAGER', 'ORG_OWNER', 'ORG_USER_MANAGER'];
const granting: Record<Permission, string[]> = {
  'user.write': writers,
  'user.read': [...writers, 'IAM_OWNER_VIEWER', 'ORG_OWNER_VIEWER'],
  'policy.read': ['IAM_OWNER', 'IAM_OWNER_VIEWER', 'ORG_OWNER', 'ORG_OWNER_VIEWER'],
};

/** Header, token, organization: in the order of the real thing. */
export function authenticate(tokens: Record<string, TokenGrant>, store: Store, headers: Headers): Caller {
  const header = headers.get('authorization');
  if (!header) throw bareError(Code.Unauthenticated, 'auth header missing');
  if (!header.startsWith('Bearer ')) throw refusal('AUTH-toLo1');
  const token = header.slice('Bearer '.length);
  const grant = Object.hasOwn(tokens, token) ? tokens[token] : undefined;
  if (!grant) throw refusal('AUTH-7fs1e');
  const wanted = headers.get('x-zitadel-orgid');
  if (wanted && !store.orgs.has(wanted)) throw refusal('AUTH-Bs7Ds');
  return { userId: grant.userId, roles: grant.roles, org: wanted || homeOf(grant, store) };
}

function homeOf(grant: TokenGrant, store: Store): string {
  const own = store.users.get(grant.userId)?.org;
  return own ?? Object.keys(grant.roles.orgs ?? {})[0] ?? [...store.orgs][0] ?? '';
}

/** Throws 404 without any membership there, 403 with `id` when none of them grants the permission. */
export function requirePermission(caller: Caller, org: string, permission: Permission, id: RefusalId): void {
  const roles = [...(caller.roles.instance ?? []), ...(caller.roles.orgs?.[org] ?? [])];
  if (roles.length === 0) throw refusal('AUTHZ-cdgFk');
  if (!roles.some((role) => granting[permission].includes(role))) throw refusal(id);
}
