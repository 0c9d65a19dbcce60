import type { Reason } from '../../errors.ts';
import { PassferryError } from '../../errors.ts';

export type Effect = 'none' | 'unknown';

// connection lost · cannot connect · shutting down or starting · out of connections
const down = /^(08|57P0|53)/;
// statement timeout · lock timeout · idle in transaction timeout
const timeouts = new Set(['57014', '55P03', '25P03', 'ETIMEDOUT']);

/**
 * Whatever a driver threw → our error, scope `backend`. Its text, detail and parameters go nowhere, not even into
 * `cause`, which holds the bare SQLSTATE or errno; they can quote a row.
 */
export function sqlError(thrown: unknown, effect: Effect): PassferryError {
  if (thrown instanceof PassferryError) {
    if (effect === 'none' || thrown.effect === effect) return thrown;
    return new PassferryError(thrown.reason, {
      scope: thrown.scope,
      code: thrown.code,
      message: thrown.message,
      effect,
    });
  }
  const { code, message } = (thrown ?? {}) as { code?: unknown; message?: unknown };
  const known = typeof code === 'string' && /^[A-Z0-9_]{3,32}$/.test(code) ? code : undefined;
  // A bug of ours is not an outage.
  const bug = thrown instanceof TypeError || thrown instanceof RangeError;
  return new PassferryError(bug ? 'backend_error' : reasonOf(known, String(message)), {
    scope: 'backend',
    effect,
    cause: known && { code: known },
  });
}

function reasonOf(code: string | undefined, message: string): Reason {
  if (code === undefined) return /timeout/i.test(message) ? 'backend_timeout' : 'backend_down';
  if (timeouts.has(code)) return 'backend_timeout';
  // Class 28: our own login is refused, which no retry repairs.
  if (/^28[0-9A-Z]{3}$/.test(code)) return 'backend_unauthenticated';
  // Anything but a SQLSTATE (those have digits) comes from the network: ECONNREFUSED, ENOTFOUND, EPIPE …
  return down.test(code) || !/^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? 'backend_down' : 'backend_error';
}

/** Throws `aborted` (scope `backend`) when the signal says stop. */
export function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new PassferryError('aborted', { scope: 'backend' });
}
