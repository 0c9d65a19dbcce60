import type { Backend } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { SetPasswordData } from '../job.ts';

/**
 * Users whose password only an `admin` caller may set: a helpdesk token must not take over an owner's account. Listed
 * ones, and whoever has a manager role in the backend. Where roles cannot be read, every write needs `admin` until a list
 * is configured.
 *
 * Errors: `protected_user`, `roles_unreadable`.
 */
export async function checkProtected(
  data: SetPasswordData,
  backend: Backend,
  listed: ReadonlySet<string> | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (data.admin) return;
  if (listed?.has(data.user)) throw new PassferryError('protected_user');
  if (!backend.readRoles) return;
  let roles: string[];
  try {
    roles = await backend.readRoles(data.org, data.user, signal);
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.reason !== 'backend_forbidden' && error.code !== 'unimplemented') throw error;
    if (listed) return;
    throw new PassferryError('roles_unreadable');
  }
  if (roles.length > 0) throw new PassferryError('protected_user');
}
