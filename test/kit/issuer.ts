import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from 'jose';
import Provider, { type Configuration } from 'oidc-provider';
import { atEnd } from './files.ts';

export const audience = 'project-1';
export const apiClient = { id: 'passferry-api', secret: 'secret-of-the-api-client' };
const rolesClaim = `urn:zitadel:iam:org:project:${audience}:roles`;
export const homeClaim = 'urn:zitadel:iam:user:resourceowner:id';

/** What happens to requests of a path: answered, connection cut, or answered with a status. */
export type Mode = 'up' | 'cut' | number;
type Place = 'discovery' | 'keys' | 'introspection';

interface Key {
  jwk: JWK;
  privateKey: CryptoKey;
  publicKey: CryptoKey;
  alg: string;
}
type CryptoKey = Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];

/** Roles in the shape of ZITADEL: role → organizations. */
export type Roles = Record<string, string[]>;

export function claimsOf(roles: Roles, home?: string): Record<string, unknown> {
  const shaped = Object.entries(roles).map(([role, orgs]) => [
    role,
    Object.fromEntries(orgs.map((org) => [org, `${org}.example`])),
  ]);
  return { [rolesClaim]: Object.fromEntries(shaped), ...(home !== undefined && { [homeClaim]: home }) };
}

/**
 * A real OpenID Connect provider (`oidc-provider`) on a port of this machine: client credentials, JWTs and opaque tokens,
 * introspection, revocation. Its keys can be changed and parts of it can fail. Ended after the test file.
 */
export async function startIssuer(algs: string[] = ['ES256']) {
  const modes: Record<Place, Mode> = { discovery: 'up', keys: 'up', introspection: 'up' };
  const seen: Record<Place, number> = { discovery: 0, keys: 0, introspection: 0 };
  let handle: (request: IncomingMessage, response: ServerResponse) => unknown;
  const server = createServer((request, response) => {
    const place = placeOf(request.url ?? '');
    if (place) seen[place] += 1;
    const mode = place ? modes[place] : 'up';
    if (mode === 'cut') request.socket.destroy();
    else if (mode !== 'up') response.writeHead(mode).end();
    else handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  // What a token of each client says besides; set before it is asked for.
  const extras = new Map<string, Record<string, unknown>>();
  const stored = new Map<string, object>();
  let keys: Key[] = [];

  async function useKeys(next: Key[]): Promise<void> {
    keys = next;
    const privateJwks = await Promise.all(
      next.map(async ({ jwk, privateKey }) => ({ ...(await exportJWK(privateKey)), ...headOf(jwk) })),
    );
    handle = new Provider(url, configuration(privateJwks, extras, stored)).callback();
  }
  await useKeys(await Promise.all(algs.map((alg, n) => makeKey(alg, `key-${n}`))));

  /** Client credentials → an access token of `caller` that says these claims. */
  async function issue(claims: Record<string, unknown>, form: 'jwt' | 'opaque' = 'jwt', resource = audience) {
    extras.set('caller', { sub: 'caller', ...claims });
    const response = await fetch(`${url}/token`, {
      method: 'POST',
      headers: { authorization: basic('caller', 'secret-of-the-caller') },
      body: new URLSearchParams({ grant_type: 'client_credentials', resource: `urn:${form}:${resource}` }),
    });
    const body = (await response.json()) as { access_token?: string };
    if (!body.access_token) throw new Error(`no token: ${JSON.stringify(body)}`);
    return body.access_token;
  }

  /** A token by one of its keys, whatever it says. */
  function forge(
    payload: Record<string, unknown>,
    head: Record<string, unknown> = {},
    key = keys[0] as Key,
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({ iss: url, aud: audience, sub: 'forged', iat: now, exp: now + 300, ...payload })
      .setProtectedHeader({ alg: key.alg, kid: key.jwk.kid as string, typ: 'at+jwt', ...head })
      .sign(key.privateKey, { crit: { extra: true } });
  }

  return {
    url,
    modes,
    seen,
    issue,
    forge,
    key: () => keys[0] as Key,
    /** Now these keys are published, the last one too when `keep`. */
    async rotate(kid: string, keep = false): Promise<void> {
      await useKeys([await makeKey('ES256', kid), ...(keep ? keys : [])]);
    },
    /** The keys that are published, as they are. */
    publish: useKeys,
    async revoke(token: string): Promise<void> {
      await fetch(`${url}/token/revocation`, {
        method: 'POST',
        headers: { authorization: basic('caller', 'secret-of-the-caller') },
        body: new URLSearchParams({ token }),
      });
    },
    /** Signed by HMAC, the published public key being the secret. */
    async confused(payload: Record<string, unknown>): Promise<string> {
      const { publicKey, jwk } = keys[0] as Key;
      const now = Math.floor(Date.now() / 1_000);
      const body = { iss: url, aud: audience, sub: 'forged', iat: now, exp: now + 300, ...payload };
      const signed = `${part({ alg: 'HS256', kid: jwk.kid, typ: 'at+jwt' })}.${part(body)}`;
      const mac = createHmac('sha256', await exportSPKI(publicKey))
        .update(signed)
        .digest('base64url');
      return `${signed}.${mac}`;
    },
  };
}

export type Issuer = Awaited<ReturnType<typeof startIssuer>>;

export const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

export async function makeKey(alg: string, kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }, privateKey, publicKey, alg };
}

function headOf({ kid, alg, use }: JWK) {
  return { ...(kid !== undefined && { kid }), ...(alg && { alg }), ...(use && { use }) };
}

const basic = (id: string, secret: string) =>
  `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`;

function placeOf(path: string): Place | undefined {
  if (path.startsWith('/.well-known')) return 'discovery';
  if (path.startsWith('/jwks')) return 'keys';
  return path.startsWith('/token/introspection') ? 'introspection' : undefined;
}

function configuration(
  keys: JWK[],
  extras: Map<string, Record<string, unknown>>,
  stored: Map<string, object>,
): Configuration {
  const client = { redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_basic' as const };
  return {
    // Outlives a change of keys.
    adapter: memoryOf(stored),
    clients: [
      { ...client, client_id: 'caller', client_secret: 'secret-of-the-caller', grant_types: ['client_credentials'] },
      { ...client, client_id: apiClient.id, client_secret: apiClient.secret, grant_types: [] },
    ],
    jwks: { keys: keys as never },
    clientAuthMethods: ['client_secret_basic'],
    clientDefaults: { id_token_signed_response_alg: keys[0]?.alg as 'RS256' },
    extraTokenClaims: (_ctx, { clientId }) => extras.get(clientId as string) as never,
    cookies: { keys: ['of no use here'] },
    ttl: { ClientCredentials: 300 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => {
          const [, form, aud = ''] = resource.split(':');
          const accessTokenFormat = form as 'jwt' | 'opaque';
          return {
            scope: 'api',
            audience: aud,
            accessTokenFormat,
            accessTokenTTL: 300,
            jwt: { sign: { alg: keys[0]?.alg as 'RS256' } },
          };
        },
        useGrantedResource: () => true,
      },
    },
  };
}

function memoryOf(stored: Map<string, object>): NonNullable<Configuration['adapter']> {
  return (model: string) => {
    const keyOf = (id: string) => `${model}:${id}`;
    return {
      upsert: async (id: string, payload: object) => void stored.set(keyOf(id), payload),
      find: async (id: string) => stored.get(keyOf(id)) as never,
      findByUserCode: async () => undefined,
      findByUid: async () => undefined,
      consume: async () => {},
      destroy: async (id: string) => void stored.delete(keyOf(id)),
      revokeByGrantId: async () => {},
    };
  };
}
