import type { Backend } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { SetPasswordData } from '../job.ts';

/** Whose password only an `admin` caller may set. */
export interface Protection {
  /** Ids of users. */
  users?: ReadonlySet<string>;
  /** Roles in the backend that protect; default: any. An empty set asks for no roles: only `users` are protected. */
  roles?: ReadonlySet<string>;
}

/**
 * A helpdesk token must not take over an owner's account. Where the roles of a user cannot be read, nothing is set without
 * `admin`: what is not known is not assumed to be harmless. A backend that cannot be reached puts the job off.
 *
 * Errors: `protected_user`, `roles_unreadable`.
 */
export async function checkProtected(
  data: SetPasswordData,
  backend: Backend,
  { users, roles: protecting }: Protection,
  signal: AbortSignal,
): Promise<void> {
  if (data.admin) return;
  if (users?.has(data.user)) throw new PassferryError('protected_user');
  if (protecting?.size === 0) return;
  if (!backend.readRoles) {
    // Roles that were named must not go unseen; else a backend without roles has nobody to protect.
    if (protecting) throw new PassferryError('roles_unreadable');
    return;
  }
  let roles: string[];
  try {
    roles = await backend.readRoles(data.org, data.user, signal);
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.reason !== 'backend_forbidden' && error.code !== 'unimplemented') throw error;
    throw new PassferryError('roles_unreadable', { cause: error });
  }
  if (protecting ? roles.some((role) => protecting.has(role)) : roles.length > 0) {
    throw new PassferryError('protected_user');
  }
}
