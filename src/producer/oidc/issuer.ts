import { allowInsecureRequests, type ClientAuth, type Configuration, discovery } from 'openid-client';
import { PassferryError } from '../../errors.ts';

export interface IssuerOptions {
  issuer: string;
  clientId: string;
  authenticate: ClientAuth;
  /** Whole time of one request, ms. */
  timeoutMs: number;
  /** After a request that failed nobody is asked for so long, ms. */
  pauseMs: number;
  /** Told of each failure. */
  onError(error: unknown): void;
}

/** What an issuer publishes about itself is asked again after so long. */
const freshMs = 3_600_000;

/**
 * Finds out where an issuer has its keys and its introspection, when that is needed first: one that is down at our start
 * stops nothing. Error: `auth_unavailable`.
 */
export function lazyIssuer(options: IssuerOptions): () => Promise<Configuration> {
  const { issuer, clientId, authenticate, timeoutMs } = options;
  const plaintext = new URL(issuer).protocol === 'http:';
  const ask = guarded(options, () =>
    discovery(new URL(issuer), clientId, undefined, authenticate, {
      timeout: timeoutMs / 1_000,
      ...(plaintext && { execute: [allowInsecureRequests] }),
    }),
  );
  let known: Configuration | undefined;
  let askedAt = 0;
  let asking: Promise<Configuration> | undefined;

  return async () => {
    if (known && performance.now() - askedAt < freshMs) return known;
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    try {
      known = await asking;
      askedAt = performance.now();
    } catch (error) {
      if (!known) throw error;
    }
    return known;
  };
}

/**
 * Any failure → `auth_unavailable`, told at most once a pause; while the last one is fresh, without asking: who is down is not
 * flooded. An answer of 4xx makes no pause, or one odd token would lock the others out.
 */
export function guarded<A extends unknown[], T>(
  { pauseMs, onError }: Pick<IssuerOptions, 'pauseMs' | 'onError'>,
  ask: (...args: A) => Promise<T>,
): (...args: A) => Promise<T> {
  let failedAt = Number.NEGATIVE_INFINITY;
  let toldAt = Number.NEGATIVE_INFINITY;
  return async (...args) => {
    if (performance.now() - failedAt < pauseMs) throw unavailable();
    try {
      return await ask(...args);
    } catch (cause) {
      const now = performance.now();
      const { status } = cause as { status?: unknown };
      if (!(typeof status === 'number' && status >= 400 && status < 500)) failedAt = now;
      if (now - toldAt >= pauseMs) {
        toldAt = now;
        onError(cause);
      }
      throw unavailable(cause);
    }
  };
}

export function unavailable(cause?: unknown): PassferryError {
  return new PassferryError('auth_unavailable', { scope: 'backend', cause });
}
