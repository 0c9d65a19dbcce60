import {
  createRemoteJWKSet,
  customFetch,
  decodeProtectedHeader,
  errors,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
  type RemoteJWKSet,
} from 'jose';
import type { Configuration } from 'openid-client';
import { guarded, unavailable } from './issuer.ts';
import type { Claims } from './mapping.ts';

export interface JwtOptions {
  issuer: string;
  audience: string;
  /** Asymmetric ones only: a public key must never serve as the secret of another algorithm. */
  algorithms: string[];
  leewayMs: number;
  timeoutMs: number;
  pauseMs: number;
  /** An unknown key asks the issuer at most this often, ms. */
  cooldownMs: number;
  onError(error: unknown): void;
}

/** Types of access tokens; ID tokens and logout tokens are signed by the same keys and are none. */
const types = new Set(['jwt', 'at+jwt', 'application/at+jwt']);
const onlyInIdTokens = ['nonce', 'at_hash', 'c_hash'];

/** Is it one to be checked by keys? Everything else is opaque. */
export function isJwt(token: string): boolean {
  try {
    return token.split('.').length === 3 && typeof decodeProtectedHeader(token).alg === 'string';
  } catch {
    return false;
  }
}

/**
 * Checks JWTs by the keys that the issuer publishes. Undefined for whatever is wrong with a token. Error: `auth_unavailable`
 * while the keys cannot be had.
 */
export function jwtChecker(options: JwtOptions, discover: () => Promise<Configuration>) {
  const { issuer, audience, algorithms, leewayMs } = options;
  const rules: JWTVerifyOptions = {
    ...{ issuer, audience, algorithms, requiredClaims: ['sub', 'exp'] },
    clockTolerance: leewayMs / 1_000,
  };
  const fetchKeys = guarded(options, async (url: string, init: Parameters<typeof fetch>[1]) => {
    const response = await fetch(url, init);
    if (response.status === 200) return response;
    await response.body?.cancel();
    throw new TypeError(`keys: ${response.status}`);
  });
  let keys: { at: string; find: RemoteJWKSet } | undefined;

  async function keySet(): Promise<RemoteJWKSet> {
    const { jwks_uri: at } = (await discover()).serverMetadata();
    if (at === undefined || (issuer.startsWith('https:') && !at.startsWith('https:'))) {
      throw unavailable(new Error('the issuer names no keys that can be fetched safely'));
    }
    if (keys?.at !== at) {
      const { timeoutMs: timeoutDuration, cooldownMs: cooldownDuration } = options;
      keys = {
        at,
        find: createRemoteJWKSet(new URL(at), { timeoutDuration, cooldownDuration, [customFetch]: fetchKeys }),
      };
    }
    return keys.find;
  }

  const findKey: JWTVerifyGetKey = async (header, token) => {
    const find = await keySet();
    try {
      return await find(header, token);
    } catch (error) {
      throw isAboutToken(error) ? error : unavailable(error);
    }
  };

  async function verify(token: string) {
    try {
      return await jwtVerify(token, findKey, rules);
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      // It does not say which: each that fits is tried.
      for await (const key of error) {
        try {
          return await jwtVerify(token, key, rules);
        } catch (wrong) {
          if (!(wrong instanceof errors.JWSSignatureVerificationFailed)) throw wrong;
        }
      }
      return undefined;
    }
  }

  return async (token: string): Promise<Claims | undefined> => {
    try {
      const verified = await verify(token);
      if (!verified) return undefined;
      const { payload, protectedHeader } = verified;
      if (!types.has((protectedHeader.typ ?? 'jwt').toLowerCase())) return undefined;
      if (onlyInIdTokens.some((name) => payload[name] !== undefined)) return undefined;
      return typeof payload.sub === 'string' && payload.sub !== '' ? (payload as Claims) : undefined;
    } catch (error) {
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  };
}

function isAboutToken(error: unknown): boolean {
  return (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported
  );
}
