import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { credential } from '../src/credential.ts';
import { createLog } from '../src/log.ts';
import { loadCallers } from '../src/producer/callers.ts';
import { createOidc, type OidcOptions } from '../src/producer/oidc/oidc.ts';
import { tempDir } from './kit/files.ts';
import { apiClient, audience, claimsOf, homeClaim, type Issuer, makeKey, part, startIssuer } from './kit/issuer.ts';
import { waitFor } from './kit/wait.ts';

const dir = tempDir();
const secretFile = join(dir, 'secret');
writeFileSync(secretFile, `${apiClient.secret}\n`);
const callersFile = join(dir, 'callers.json');
writeFileSync(callersFile, '{"callers":[]}');
const log = createLog('silent', 'test');
const client = { id: apiClient.id, secret: credential({ file: secretFile }) };

/** Callers of an issuer alone; short pauses, so that what is down is asked again soon. */
function callersOf({ url }: Issuer, over: Partial<OidcOptions> = {}) {
  const oidc = createOidc({
    ...{ issuer: url, audience, client, log, leewayMs: 30_000, cacheMs: 30_000, pauseMs: 50, cooldownMs: 50 },
    algorithms: ['RS256', 'ES256', 'EdDSA', 'PS256'],
    ...over,
  });
  const callers = loadCallers(callersFile, () => {}, oidc);
  const who = (token: string) => callers.authenticate(`Bearer ${token}`);
  /** The caller, or the reason why not. */
  const tell = (token: string) => who(token).catch((error) => error.reason);
  return { who, tell };
}
const refused = 'AUTH-7fs1e';
const inAcme = claimsOf({ passferry_set: ['acme'] }, 'acme');

test('a good token is a caller with the grants of its roles, as a JWT of any algorithm and opaque', async () => {
  const roles = { passferry_set: ['acme', 'globex'], passferry_read: ['acme'], other: ['initech'] };
  for (const alg of ['RS256', 'ES256', 'PS256', 'EdDSA']) {
    const issuer = await startIssuer([alg]);
    const { who } = callersOf(issuer);
    const caller = {
      name: `oidc:${new URL(issuer.url).host}:caller`,
      home: 'acme',
      grants: { acme: ['set', 'read'], globex: ['set'] },
    };
    for (const form of ['jwt', 'opaque'] as const) {
      const token = await issuer.issue(claimsOf(roles, 'acme'), form);
      expect(token.split('.'), form).toHaveLength(form === 'jwt' ? 3 : 1);
      expect(await who(token)).toEqual(caller);
    }
  }
});

describe('a JWT is refused', () => {
  let issuer: Issuer;
  let tell: (token: string) => Promise<unknown>;
  const now = Math.floor(Date.now() / 1_000);
  beforeAll(async () => {
    issuer = await startIssuer(['RS256']);
    ({ tell } = callersOf(issuer));
    expect(await tell(await issuer.forge(inAcme))).toMatchObject({ home: 'acme' });
  });

  it.each<[string, () => Promise<string> | string]>([
    ['expired', () => issuer.forge({ exp: now - 60 })],
    ['without an end', () => issuer.forge({ exp: undefined })],
    ['not yet valid', () => issuer.forge({ nbf: now + 120 })],
    ['for another audience', () => issuer.forge({ aud: 'project-2' })],
    ['for no audience', () => issuer.forge({ aud: undefined })],
    ['of another issuer', () => issuer.forge({ iss: 'https://issuer.example' })],
    ['of the issuer with a slash more', () => issuer.forge({ iss: `${issuer.url}/` })],
    ['without a subject', () => issuer.forge({ sub: undefined })],
    ['with an empty subject', () => issuer.forge({ sub: '' })],
    ['with an unknown key', async () => issuer.forge({}, {}, await makeKey('RS256', 'unknown'))],
    ['by another key under a known name', async () => issuer.forge({}, {}, await makeKey('RS256', 'key-0'))],
    ['with an algorithm that is not allowed', async () => issuer.forge({}, {}, await makeKey('RS512', 'key-0'))],
    ['signed by HMAC with the public key', () => issuer.confused({})],
    ['an ID token', () => issuer.forge({ nonce: 'n', at_hash: 'h' }, { typ: 'JWT' })],
    ['a logout token', () => issuer.forge({}, { typ: 'logout+jwt' })],
    ['with a critical header that nobody knows', () => issuer.forge({}, { crit: ['extra'], extra: true })],
    ['cut short', async () => (await issuer.forge({})).slice(0, -4)],
    ['altered', async () => altered(await issuer.forge({}), { sub: 'another' })],
    ['with a body that is no JSON', async () => (await issuer.forge({})).replace(/\.[^.]+\./, '.bm90IGpzb24.')],
    ['longer than 8,192 characters', () => issuer.forge({ more: 'x'.repeat(8_000) })],
    ['with characters that no token has', async () => `${await issuer.forge({})}"`],
    ...['none', 'None', 'NONE', ''].map((alg): [string, () => string] => [
      `alg ${JSON.stringify(alg)}, unsigned`,
      () => `${part({ alg, typ: 'at+jwt' })}.${part({ iss: issuer.url, aud: audience, sub: 's', exp: now + 300 })}.`,
    ]),
  ])('%s', async (_, make) => {
    expect(await tell(await make())).toBe(refused);
  });

  it('not within the leeway', async () => {
    expect(await tell(await issuer.forge({ exp: now - 10, ...inAcme }))).toMatchObject({ home: 'acme' });
    expect(await tell(await issuer.forge({ nbf: now + 20, ...inAcme }))).toMatchObject({ home: 'acme' });
  });

  it('and unknown keys do not flood the issuer', async () => {
    const calm = callersOf(issuer, { cooldownMs: 60_000 });
    await calm.who(await issuer.forge(inAcme));
    const before = issuer.seen.keys;
    const key = await makeKey('RS256', 'x');
    for (let n = 0; n < 50; n++) {
      expect(await calm.tell(await issuer.forge({}, { kid: `unknown-${n}` }, key))).toBe(refused);
    }
    expect(issuer.seen.keys).toBe(before);
  });
});

function altered(token: string, over: object): string {
  const [head, body = '', mac] = token.split('.');
  return [head, part({ ...JSON.parse(Buffer.from(body, 'base64url').toString()), ...over }), mac].join('.');
}

describe('keys', () => {
  it('change while we run; a token by the old one counts as long as the key is published', async () => {
    const issuer = await startIssuer();
    const { tell } = callersOf(issuer);
    const first = await issuer.issue(inAcme);
    expect(await tell(first)).toMatchObject({ home: 'acme' });
    await issuer.rotate('second', true);
    const second = await issuer.issue(inAcme);
    await waitFor(async () => typeof (await tell(second)) === 'object', { what: 'the new key is known' });
    expect(await tell(first)).toMatchObject({ home: 'acme' });
    await issuer.rotate('third');
    const third = await issuer.issue(inAcme);
    await waitFor(async () => typeof (await tell(third)) === 'object', { what: 'the newest key is known' });
    for (const old of [first, second]) expect(await tell(old)).toBe(refused);
  });

  it('may be several that fit a token which names none', async () => {
    const issuer = await startIssuer();
    const keys = await Promise.all(['a', 'b', 'c'].map((kid) => makeKey('ES256', kid)));
    await issuer.publish(keys);
    const { tell } = callersOf(issuer);
    for (const key of keys) {
      expect(await tell(await issuer.forge(inAcme, { kid: undefined }, key))).toMatchObject({ home: 'acme' });
      expect(await tell(await issuer.forge({ exp: 1 }, { kid: undefined }, key))).toBe(refused);
    }
    expect(await tell(await issuer.forge(inAcme, { kid: undefined }, await makeKey('ES256', 'd')))).toBe(refused);
  });
});

describe('what cannot be asked', () => {
  it.each([
    ['discovery', 'jwt', 'cut'],
    ['discovery', 'opaque', 503],
    ['keys', 'jwt', 'cut'],
    ['keys', 'jwt', 500],
    ['introspection', 'opaque', 'cut'],
    ['introspection', 'opaque', 502],
    ['introspection', 'opaque', 401],
  ] as const)('refuses nobody and lets nobody in: %s, %s, %s; it recovers by itself', async (place, form, mode) => {
    const issuer = await startIssuer();
    issuer.modes[place] = mode;
    const { who, tell } = callersOf(issuer);
    const token = await issuer.issue(inAcme, form);
    for (let n = 0; n < 3; n++) {
      await expect(who(token)).rejects.toMatchObject({ reason: 'auth_unavailable', code: 'unavailable' });
    }
    // Failures in a row are asked once a pause.
    if (mode !== 401) expect(issuer.seen[place]).toBe(1);
    issuer.modes[place] = 'up';
    await waitFor(async () => typeof (await tell(token)) === 'object', { what: 'it is asked again' });
  });

  it('leaves those in whose keys are known', async () => {
    const issuer = await startIssuer();
    const { tell } = callersOf(issuer);
    expect(await tell(await issuer.issue(inAcme))).toMatchObject({ home: 'acme' });
    issuer.modes.keys = 'cut';
    const stranger = await issuer.forge(inAcme, {}, await makeKey('RS256', 'unknown'));
    await waitFor(async () => (await tell(stranger)) === 'auth_unavailable', { what: 'keys are asked for in vain' });
    expect(await tell(await issuer.issue(inAcme))).toMatchObject({ home: 'acme' });
  });
});

describe('an opaque token', () => {
  it('is asked about once in a while, good or bad, and once by many at once', async () => {
    const issuer = await startIssuer();
    const { tell } = callersOf(issuer);
    const token = await issuer.issue(inAcme, 'opaque');
    await Promise.all(Array.from({ length: 20 }, () => tell(token)));
    for (let n = 0; n < 5; n++) expect(await tell('pat-of-nobody')).toBe(refused);
    expect(issuer.seen.introspection).toBe(2);
  });

  it('counts no more once it is revoked and the answer is old', async () => {
    const issuer = await startIssuer();
    const { tell } = callersOf(issuer, { cacheMs: 100 });
    const token = await issuer.issue(inAcme, 'opaque');
    expect(await tell(token)).toMatchObject({ home: 'acme' });
    await issuer.revoke(token);
    await waitFor(async () => (await tell(token)) === refused, { what: 'it is refused' });
  });

  it('is refused for another audience', async () => {
    const issuer = await startIssuer();
    const { tell } = callersOf(issuer);
    expect(await tell(await issuer.issue(inAcme, 'opaque', 'project-2'))).toBe(refused);
    expect(await tell(await issuer.issue(inAcme, 'opaque', apiClient.id))).toMatchObject({ home: 'acme' });
  });

  it('is unknown where introspection is not configured', async () => {
    const issuer = await startIssuer();
    const { tell } = callersOf(issuer, { client: undefined });
    expect(await tell(await issuer.issue(inAcme, 'opaque'))).toBe(refused);
    expect(issuer.seen.introspection).toBe(0);
  });
});

describe('claims', () => {
  let issuer: Issuer;
  beforeAll(async () => {
    issuer = await startIssuer();
  });
  const mapped = (mapping: unknown) => {
    const mappingFile = join(dir, `mapping-${mappings++}.json`);
    writeFileSync(mappingFile, typeof mapping === 'string' ? mapping : JSON.stringify(mapping));
    return callersOf(issuer, { mappingFile });
  };
  let mappings = 0;
  const keycloak = {
    organization: { always: 'acme' },
    roles: { claim: ['realm_access', 'roles'] },
    permissions: { helpdesk: ['set', 'read'], boss: ['admin'] },
  };

  it.each<[string, object, object]>([
    ['no claim', {}, { home: '', grants: {} }],
    [
      'roles of another project',
      { 'urn:zitadel:iam:org:project:roles': { passferry_admin: { acme: 'x' } } },
      { grants: {} },
    ],
    ['one organization and no home', claimsOf({ passferry_set: ['b'] }), { home: 'b', grants: { b: ['set'] } }],
    ['two and no home', claimsOf({ passferry_set: ['b', 'c'] }), { home: '', grants: { b: ['set'], c: ['set'] } }],
    ['the organization *', claimsOf({ passferry_admin: ['*', 'b'] }, '*'), { home: 'b', grants: { b: ['admin'] } }],
    ['an organization with a control character', claimsOf({ passferry_set: ['b\u0007'] }), { grants: {} }],
    [
      'names of Object.prototype',
      claimsOf({ constructor: ['b'], passferry_set: ['toString'] }),
      { grants: { toString: ['set'] } },
    ],
    [
      'roles in a wrong shape',
      { [`urn:zitadel:iam:org:project:${audience}:roles`]: { passferry_set: ['b'] } },
      { grants: {} },
    ],
    ['a home in a wrong shape', { [homeClaim]: ['b'] }, { home: '', grants: {} }],
  ])('of ZITADEL: %s', async (_, claims, caller) => {
    expect(await callersOf(issuer).who(await issuer.forge(claims as Record<string, unknown>))).toMatchObject(caller);
    const { grants } = await callersOf(issuer).who(await issuer.forge(claims as Record<string, unknown>));
    expect({ grants }).toEqual({ grants: (caller as { grants: object }).grants });
  });

  it.each<[string, object]>([
    ['a list', { realm_access: { roles: ['helpdesk', 'other', 7] } }],
    ['words', { realm_access: { roles: 'other helpdesk' } }],
  ])('may be nested, and roles %s in one organization', async (_, claims) => {
    const { grants, home } = await mapped(keycloak).who(await issuer.forge(claims as Record<string, unknown>));
    expect({ grants, home }).toEqual({ grants: { acme: ['set', 'read'] }, home: 'acme' });
  });

  it('let hold backends only by a role in one named organization', async () => {
    const { who } = mapped({
      ...{ organization: { claim: homeClaim }, roles: { claim: 'urn:zitadel:iam:org:project:{audience}:roles' } },
      ...{ permissions: { ops: ['read'] }, operate: { role: 'ops', organization: 'acme' } },
    });
    const of = async (org: string) => (await who(await issuer.forge(claimsOf({ ops: [org] })))).grants;
    expect(await of('acme')).toEqual({ acme: ['read'], '*': ['operate'] });
    expect(await of('globex')).toEqual({ globex: ['read'] });
  });

  it.each<[string, unknown]>([
    ['no JSON', 'hunter22 {'],
    ['an unknown field', { ...keycloak, hunter: 1 }],
    ['an unknown permission', { ...keycloak, permissions: { a: ['hunter22'] } }],
    ['operate for a role anywhere', { ...keycloak, permissions: { a: ['operate'] } }],
  ])('are not read by a mapping with %s', (_, mapping) => {
    expect(() => mapped(mapping)).toThrow(expect.objectContaining({ reason: 'config_invalid' }));
    expect(() => mapped(mapping)).not.toThrow(/hunter22/);
  });

  it.each<[string, RegExp]>([
    ['289375028375', /^289375028375$/],
    ['a-b_c.d@example', /^a-b_c\.d@example$/],
    ['auth0|abc', /^~[\w-]{43}$/],
    ['~x', /^~[\w-]{43}$/],
    ['x'.repeat(129), /^~[\w-]{43}$/],
    ['a:b', /^~[\w-]{43}$/],
    ['nul\u0000', /^~[\w-]{43}$/],
  ])('name the caller: %j', async (sub, expected) => {
    const { name } = await callersOf(issuer).who(await issuer.forge({ sub }));
    const start = `oidc:${new URL(issuer.url).host}:`;
    expect(name.startsWith(start)).toBe(true);
    expect(name.slice(start.length)).toMatch(expected);
  });
});
