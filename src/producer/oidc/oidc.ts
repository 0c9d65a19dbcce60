import { type ClientAuth, ClientSecretBasic, None } from 'openid-client';
import type { Credential } from '../../credential.ts';
import type { PassferryError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { TokenIssuer } from '../callers.ts';
import { followFile } from '../followed-file.ts';
import { introspector } from './introspection.ts';
import { lazyIssuer } from './issuer.ts';
import { isJwt, jwtChecker } from './jwt.ts';
import { callerOf, type Mapping, readMapping, zitadelMapping } from './mapping.ts';

export interface OidcOptions {
  /** As its tokens name it. */
  issuer: string;
  /** Who tokens must be for; with ZITADEL the id of the project. */
  audience: string;
  /** Default: the mapping for ZITADEL. */
  mappingFile?: string | undefined;
  /** For introspection; without it opaque tokens are unknown. */
  client?: { id: string; secret: Credential } | undefined;
  algorithms: string[];
  leewayMs: number;
  cacheMs: number;
  log: Log;
  /** After a failure nobody is asked for so long, ms. Default 1 s. */
  pauseMs?: number;
  /** An unknown key asks for new ones at most this often, ms. Default 5 s. */
  cooldownMs?: number;
}

const timeoutMs = 5_000;
/** Longer ones are refused unread. */
const longestToken = 8_192;
const tokenForm = /^[\w\-.~+/]+=*$/;

/**
 * Callers whose tokens an OpenID Connect issuer gives out: JWTs by its published keys, all others by introspection. Nothing is
 * asked before the first token. Errors: `config_invalid` (the mapping file, now); `auth_unavailable` (per token).
 */
export function createOidc(options: OidcOptions): TokenIssuer {
  const { issuer, audience, client, mappingFile, log } = options;
  const mapping = mappingFile === undefined ? undefined : mappingOf(mappingFile, log);
  let secret = '';
  const authenticate: ClientAuth = (...request) => (secret === '' ? None() : ClientSecretBasic(secret))(...request);
  const shared = {
    ...{ pauseMs: 1_000, cooldownMs: 5_000, timeoutMs, ...options },
    onError: (err: unknown) => log.error({ err }, 'the issuer of tokens cannot be asked; its callers get 503'),
  };
  const discover = lazyIssuer({ ...shared, clientId: client?.id ?? audience, authenticate });
  const checkJwt = jwtChecker(shared, discover);
  const introspect =
    client &&
    introspector({ ...shared, clientId: client.id }, discover, async () => {
      secret = await client.secret.get();
    });

  return async (token) => {
    if (token.length > longestToken || !tokenForm.test(token)) return undefined;
    const claims = isJwt(token) ? await checkJwt(token) : await introspect?.(token);
    mapping?.refresh(false);
    return claims && callerOf(claims, mapping?.get() ?? zitadelMapping, issuer, audience);
  };
}

function mappingOf(path: string, log: Log) {
  const onError = (err: PassferryError) => log.error({ err }, 'the old mapping stays');
  return followFile<Mapping>(path, () => readMapping(path), onError);
}
