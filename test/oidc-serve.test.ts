import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadServeConfig } from '../src/config.ts';
import { tempDir } from './kit/files.ts';
import { apiClient, audience, claimsOf, type Issuer, startIssuer } from './kit/issuer.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** `serve` with callers of an issuer, over every protocol; the issuer is down when it starts. */

const dir = tempDir();
const secretFile = join(dir, 'secret');
const mappingFile = join(dir, 'mapping.json');
let issuer: Issuer;
let pf: Passferry;
const mapping = (role: string) => ({
  organization: { claim: 'urn:zitadel:iam:user:resourceowner:id' },
  roles: { claim: 'urn:zitadel:iam:org:project:{audience}:roles' },
  permissions: { [role]: ['set'], read: ['read'] },
});

beforeAll(async () => {
  writeFileSync(secretFile, apiClient.secret);
  writeFileSync(mappingFile, JSON.stringify(mapping('helpdesk')));
  issuer = await startIssuer();
  issuer.modes.discovery = 'cut';
  pf = await startPassferry({
    serveEnv: {
      PASSFERRY_OIDC_ISSUER: issuer.url,
      PASSFERRY_OIDC_AUDIENCE: audience,
      PASSFERRY_OIDC_MAPPING_FILE: mappingFile,
      PASSFERRY_OIDC_CLIENT_ID: apiClient.id,
      PASSFERRY_OIDC_CLIENT_SECRET_FILE: secretFile,
    },
  });
});

const desk = (form: 'jwt' | 'opaque' = 'jwt') =>
  issuer.issue(claimsOf({ helpdesk: ['acme'], read: ['acme'] }, 'acme'), form);
const by = (token: string, headers: Record<string, string> = {}) => ({
  as: null,
  headers: { authorization: `Bearer ${token}`, ...headers },
});
const password = () => `Aa1-${randomUUID()}`;
async function person(): Promise<string> {
  const user = randomUUID();
  await pf.addUser('acme', user);
  return user;
}
async function connectCode(token: string): Promise<unknown> {
  const path = '/zitadel.management.v1.ManagementService/SetHumanPassword';
  const headers = { 'content-type': 'application/json', 'connect-protocol-version': '1' };
  const { body } = await pf.post(path, { userId: randomUUID(), password: password() }, by(token, headers));
  return body.code;
}

it('starts while the issuer is down, and answers each protocol in its own shape until it is there', async () => {
  const token = await desk();
  const v1 = await pf.post(`/users/${await person()}/password`, { password: password() }, by(token));
  const text = 'The token cannot be checked now: its issuer is not reachable.';
  expect(v1.status).toBe(503);
  expect(v1.body).toEqual({ code: 14, message: text });
  expect(v1.headers.get('passferry-reason')).toBe('auth_unavailable');
  expect(v1.headers.get('retry-after')).toBe('2');
  const own = await pf.get('/jobs', by(token));
  expect(own.status).toBe(503);
  expect(own.headers.get('content-type')).toBe('application/problem+json');
  expect(own.body).toMatchObject({ status: 503, code: 'unavailable', reason: 'auth_unavailable', title: text });
  expect(await connectCode(token)).toBe('unavailable');
  // Those of the file are not held up.
  expect((await pf.get('/jobs')).status).toBe(200);

  issuer.modes.discovery = 'up';
  const isBack = async () => (await pf.get('/jobs', by(token))).status === 200;
  await waitFor(isBack, { what: 'the issuer is asked again' });
});

describe('once the issuer is there', () => {
  beforeAll(async () => {
    issuer.modes.discovery = 'up';
    const token = await desk();
    await waitFor(async () => (await pf.get('/jobs', by(token))).status === 200, { what: 'the issuer is asked' });
  });

  it.each(['jwt', 'opaque'] as const)(
    'sets a password for a caller with a %s, who is named in the job',
    async (form) => {
      const token = await desk(form);
      const user = await person();
      const chosen = password();
      const set = await pf.post(`/users/${user}/password`, { password: chosen }, by(token));
      expect(set.status, set.text).toBe(200);
      expect(await pf.works('acme', user, chosen)).toBe(true);
      const query = new URLSearchParams({ user, caller: `oidc:${new URL(issuer.url).host}:caller` });
      const { jobs } = (await pf.get(`/jobs?${query}`, by(token))).body;
      expect(jobs).toEqual([expect.objectContaining({ id: set.headers.get('passferry-job'), org: 'acme' })]);
    },
  );

  it('lets nobody beyond what the roles grant, and an organization that is only granted by them can be named', async () => {
    const user = await person();
    const reader = await issuer.issue(claimsOf({ read: ['acme', 'fromclaims'] }, 'acme'));
    const ask = (org: string) =>
      pf.post(`/users/${user}/password`, { password: password() }, by(reader, { 'x-zitadel-orgid': org }));
    expect(await ask('acme')).toMatchObject({ status: 403, body: { details: [{ id: 'AUTH-5mWD2' }] } });
    expect(await ask('globex')).toMatchObject({ status: 404, body: { details: [{ id: 'AUTHZ-cdgFk' }] } });
    expect(await ask('fromclaims')).toMatchObject({ status: 403, body: { details: [{ id: 'AUTH-5mWD2' }] } });
    expect(await ask('nowhere')).toMatchObject({ status: 403, body: { details: [{ id: 'AUTH-Bs7Ds' }] } });
  });

  it('takes a good token without any claim for a caller to whom nothing is granted', async () => {
    const nobody = by(await issuer.issue({}), { 'content-type': 'application/json' });
    const item = { user: await person(), password: password() };
    const answers = [
      await pf.get('/jobs', nobody),
      await pf.get('/webhooks', nobody),
      await pf.get('/holds', nobody),
      await pf.post('/jobs', { jobs: [item] }, nobody),
      await pf.post(`/users/${item.user}/password`, { password: item.password }, nobody),
      await pf.post(
        '/imports?asOf=now',
        'userId,password\n',
        by(await issuer.issue({}), { 'content-type': 'text/csv' }),
      ),
    ];
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 403, 422, 404, 404]);
    expect(answers[0]?.body.reason).toBe('org_id_invalid');
  });

  it('answers a bad token as it answers every bad token', async () => {
    const words = async (token: string) => {
      const { status, text } = await pf.post(`/users/${randomUUID()}/password`, { password: password() }, by(token));
      return `${status} ${text}`;
    };
    const unknown = await words('pf_nobody');
    for (const token of [
      await issuer.forge({ exp: 1 }),
      await issuer.forge({ aud: 'else' }),
      await issuer.confused({}),
    ]) {
      expect(await words(token)).toBe(unknown);
    }
  });

  it('takes a changed mapping, and keeps the old one loudly when it has an error', async () => {
    const may = async () =>
      (await pf.post(`/users/${await person()}/password`, { password: password() }, by(await desk()))).status;
    writeFileSync(mappingFile, '{ hunter22');
    await waitFor(
      async () => (await may()) === 200 && pf.lines.some((line) => line.includes('the old mapping stays')),
      {
        what: 'the log says so',
      },
    );
    writeFileSync(mappingFile, JSON.stringify(mapping('another role')));
    await waitFor(async () => (await may()) === 403, { what: 'the new mapping is there' });
    writeFileSync(mappingFile, JSON.stringify(mapping('helpdesk')));
    await waitFor(async () => (await may()) === 200, { what: 'the first mapping is there again' });
    expect(pf.lines.join('\n')).not.toContain('hunter22');
  });

  it('writes no token anywhere', async () => {
    const token = await desk('opaque');
    await pf.get('/jobs', by(token));
    const jwt = await desk();
    await pf.get('/jobs', by(jwt));
    const everything = `${pf.lines.join('\n')} ${pf.answers.join('\n')} ${readFileSync(mappingFile, 'utf8')}`;
    for (const each of [token, jwt.split('.')[2] as string, apiClient.secret]) expect(everything).not.toContain(each);
  });
});

it.each<[Record<string, string>, RegExp]>([
  [{ PASSFERRY_OIDC_ISSUER: 'https://i.example' }, /PASSFERRY_OIDC_AUDIENCE is required/],
  [{ PASSFERRY_OIDC_AUDIENCE: 'a' }, /PASSFERRY_OIDC_ISSUER is required/],
  [{ PASSFERRY_OIDC_ISSUER: 'hunter22', PASSFERRY_OIDC_AUDIENCE: 'a' }, /PASSFERRY_OIDC_ISSUER must be a URL/],
  [{ PASSFERRY_OIDC_ISSUER: 'http://i.example', PASSFERRY_OIDC_AUDIENCE: 'a' }, /PASSFERRY_ALLOW_INSECURE=oidc/],
  [{ PASSFERRY_OIDC_CLIENT_ID: 'a' }, /go together/],
  [{ PASSFERRY_OIDC_ALGORITHMS: 'RS256,HS256' }, /asymmetric/],
  [{ PASSFERRY_OIDC_ALGORITHMS: 'none' }, /asymmetric/],
  [{ PASSFERRY_OIDC_ALGORITHMS: ',' }, /asymmetric/],
  [{ PASSFERRY_OIDC_LEEWAY: '1d' }, /at most 5m/],
  [{ PASSFERRY_OIDC_CACHE: '1d' }, /at most 1h/],
  [{ PASSFERRY_OIDC_MAPPING_FILE: join(dir, 'none') }, /names something that does not exist/],
])('refuses the configuration %j', (env, why) => {
  const load = () =>
    loadServeConfig({
      PASSFERRY_REDIS_URL: 'redis://127.0.0.1',
      PASSFERRY_KEYS_DIR: dir,
      PASSFERRY_CALLERS_FILE: secretFile,
      ...env,
    });
  expect(load).toThrow(why);
  expect(load).not.toThrow(/hunter22|i\.example/);
});
