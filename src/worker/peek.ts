import type { Backend } from '../adapters/port.ts';
import type { SetPasswordData } from '../job.ts';
import type { Begun } from '../ledger/begun.ts';
import { checkProtected, type Protection } from './protect.ts';

type User = Awaited<ReturnType<NonNullable<Backend['readUser']>>>;

/** What was read while the lease was still being asked for: the way to v2 is as long as the way to Redis. */
export interface Peek {
  /** The user, and whether the read began short enough before now. */
  user: Promise<User>;
  startedAt: number;
  /** Rejects for a protected user. */
  allowed: Promise<void>;
}

/** Older than this it says nothing: this process may have stood still. */
export const freshMs = 250;
/** One change as two calls print its time: one may have been cut to milliseconds. */
export const sameMs = 1.5;

/** Undefined where the backend decides by itself, as v1 does. */
export function startPeek(
  data: SetPasswordData,
  backend: Backend,
  protection: Protection,
  signal: AbortSignal,
): Peek | undefined {
  if (backend.exact || !backend.readUser) return undefined;
  const peek = {
    user: backend.readUser(data.org, data.user, signal),
    startedAt: performance.now(),
    allowed: checkProtected(data, backend, protection, signal),
  };
  // Perhaps nobody asks for them.
  peek.user.catch(() => {});
  peek.allowed.catch(() => {});
  return peek;
}

/**
 * The user as read early, if that is worth as much as a read under the lease: nobody else of ours has changed this user since (its
 * time would be newer than what was read), no attempt is open, and no time has passed. Else undefined: read again.
 */
export async function stillTrue(
  peek: Peek | undefined,
  begun: Extract<Begun, { kind: 'go' }>,
): Promise<User | undefined> {
  if (!peek || begun.attempt || begun.other || begun.starts > 1) return undefined;
  if (performance.now() - peek.startedAt > freshMs) return undefined;
  const user = await peek.user;
  const known = begun.applied?.changedAt ?? 0;
  return (user.passwordChangedAt ?? 0) + sameMs >= known ? user : undefined;
}
