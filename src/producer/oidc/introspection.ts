import { type Configuration, tokenIntrospection } from 'openid-client';
import { guarded, unavailable } from './issuer.ts';
import type { Claims } from './mapping.ts';
import { tokenCache, tokenKey } from './token-cache.ts';

export interface IntrospectionOptions {
  issuer: string;
  audience: string;
  /** Our own client; a token for it is for us too. */
  clientId: string;
  leewayMs: number;
  /** How long an answer counts, good or bad, ms: so long a revoked token still works. */
  cacheMs: number;
  pauseMs: number;
  onError(error: unknown): void;
}

/** Answers that are kept, of each kind: guesses push no good token out. */
const mostKept = 10_000;
/** Asked at once; more would be a flood of guesses. */
const mostAsked = 64;

/**
 * Asks the issuer about tokens that only it can read (ZITADEL: personal access tokens and opaque access tokens). Undefined for
 * one that is not good. Error: `auth_unavailable`.
 *
 * @param prepare reads what the request needs that may have changed, before each.
 */
export function introspector(
  options: IntrospectionOptions,
  discover: () => Promise<Configuration>,
  prepare: () => Promise<void>,
) {
  const { issuer, audience, clientId, leewayMs, cacheMs } = options;
  const good = tokenCache<Claims>(mostKept);
  const bad = tokenCache<true>(mostKept);
  const asked = new Map<string, Promise<Claims | undefined>>();
  const introspect = guarded(options, async (config: Configuration, token: string) => {
    await prepare();
    return tokenIntrospection(config, token, { token_type_hint: 'access_token' });
  });

  /** Until when it counts, ms since 1970; undefined when it does not. */
  function endOf(claims: Record<string, unknown>): number | undefined {
    const now = Date.now();
    const { active, sub, iss, aud, exp, nbf } = claims;
    if (active !== true || typeof sub !== 'string' || sub === '') return undefined;
    if (iss !== undefined && iss !== issuer) return undefined;
    const audiences = Array.isArray(aud) ? aud : [aud];
    if (!audiences.includes(audience) && !audiences.includes(clientId)) return undefined;
    if (nbf !== undefined && !(typeof nbf === 'number' && nbf * 1_000 <= now + leewayMs)) return undefined;
    if (exp === undefined) return Number.POSITIVE_INFINITY;
    return typeof exp === 'number' && exp * 1_000 > now - leewayMs ? exp * 1_000 + leewayMs : undefined;
  }

  async function ask(token: string): Promise<Claims | undefined> {
    const config = await discover();
    const claims: Record<string, unknown> = { ...(await introspect(config, token)) };
    const end = endOf(claims);
    const now = performance.now();
    if (end === undefined) {
      bad.set(token, true, now + cacheMs);
      return undefined;
    }
    good.set(token, claims as Claims, now + Math.min(cacheMs, end - Date.now()));
    return claims as Claims;
  }

  return async (token: string): Promise<Claims | undefined> => {
    const known = good.get(token);
    if (known || bad.get(token)) return known;
    const key = tokenKey(token);
    let answer = asked.get(key);
    if (!answer) {
      if (asked.size >= mostAsked) throw unavailable();
      answer = ask(token).finally(() => asked.delete(key));
      asked.set(key, answer);
    }
    return answer;
  };
}
