import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import type { Answer, CallerName, Passferry } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const old = 'Old-password-1';
const id = () => randomUUID();
let pf: Passferry;

beforeAll(async () => {
  pf = await startPassferry();
  await pf.addUser('acme', 'ada', old);
  await pf.addV1({ id: 'fresh', org: 'acme', state: 'initial' });
  await pf.addV2({ id: 'fresh-2', org: 'globex', userName: 'fresh-2', state: 'initial' });
  await pf.addV1({ id: 'foreigner', org: 'globex', password: old });
  await pf.addV2({ id: 'foreigner-2', org: 'acme', userName: 'foreigner-2', password: old });
});

describe.each(['acme', 'globex'] as const)('the v1 call in %s', (org) => {
  it.each(['/management/v1/users', '/users'])('sets a password by %s/{id}/password', async (path) => {
    const user = id();
    await pf.addUser(org, user, old);
    const password = newPassword();
    const headers = { 'x-zitadel-orgid': org };
    const answer = await pf.post(`${path}/${user}/password`, { password }, { headers });
    expect(answer.status).toBe(200);
    // ZITADEL's own answer to a write has no creation date.
    expect(answer.body).toEqual({
      details: {
        sequence: expect.stringMatching(/^\d+$/),
        ...(org === 'acme' && { creationDate: expect.any(String) }),
        changeDate: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        resourceOwner: org,
      },
    });
    expect(answer.headers.get('passferry-result')).toBe('set');
    expect(answer.headers.get('idempotency-key')).toMatch(/^pf-/);
    expect(await pf.works(org, user, password)).toBe(true);
    expect(await pf.works(org, user, old)).toBe(false);
  });

  it('accepts with Prefer: respond-async and tells the outcome by its job', async () => {
    const user = id();
    await pf.addUser(org, user, old);
    const password = newPassword();
    const accepted = await pf.set(org, user, password, { headers: { prefer: 'respond-async' } });
    expect(accepted.status).toBe(202);
    expect(accepted.headers.get('preference-applied')).toBe('respond-async');
    expect(accepted.headers.get('location')).toBe(`/jobs/${accepted.body.id}`);
    const job = await pf.done(accepted.body.id);
    expect(job).toMatchObject({
      state: 'completed',
      user,
      org,
      attempts: 1,
      outcome: { result: 'set', inEffect: true },
    });
    expect(await pf.works(org, user, password)).toBe(true);
  });

  it('answers the same request under the same key once, and refuses another one', async () => {
    const user = id();
    await pf.addUser(org, user, old);
    const password = newPassword();
    const headers = { 'idempotency-key': id() };
    const first = await pf.set(org, user, password, { headers });
    const again = await pf.set(org, user, password, { headers });
    expect([first.status, again.status]).toEqual([200, 200]);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('passferry-job')).toBe(first.headers.get('passferry-job'));
    expect([first, again].map((each) => each.headers.get('idempotency-replayed'))).toEqual([null, 'true']);
    const other = await pf.set(org, user, newPassword(), { headers });
    expect(other.status).toBe(422);
    expect(other.headers.get('passferry-reason')).toBe('idempotency_key_reused');
    expect(await pf.works(org, user, password)).toBe(true);
  });

  const own = {
    acme: { initial: 'fresh', foreign: 'foreigner' },
    globex: { initial: 'fresh-2', foreign: 'foreigner-2' },
  };
  it.each([
    ['an unknown user', 'nobody', newPassword(), 9, 'COMMAND-G8dh3'],
    ['a user of another organization', own[org].foreign, newPassword(), 9, 'COMMAND-G8dh3'],
    ['a user who is not initialized', own[org].initial, newPassword(), 9, 'COMMAND-M9dse'],
    ['a password that breaks the policy', '', 'Nosymbols1', 3, 'DOMAIN-ZDLwA'],
  ])('refuses %s', async (_, given, password, code, reason) => {
    const user = given || id();
    if (!given) await pf.addUser(org, user, old);
    const answer = await pf.set(org, user, password);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({
      code,
      message: expect.stringContaining(`(${reason})`),
      details: [{ id: reason }],
    });
    expect(answer.text).not.toContain(password);
    expect(await pf.works(org, user, password)).toBe(false);
    const job = await pf.done(answer.headers.get('passferry-job') as string);
    expect(job).toMatchObject({ state: 'failed', outcome: { reason, inEffect: false } });
  });

  it.each([
    ['72 letters', `Aa1!${'x'.repeat(68)}`],
    ['36 é', `Aa1!${'é'.repeat(34)}`],
    ['18 emoji', `Aa1!${'😀'.repeat(17)}`],
  ])('takes %s whole', async (_, password) => {
    const user = id();
    await pf.addUser(org, user, old);
    expect(Buffer.byteLength(password)).toBe(72);
    expect((await pf.set(org, user, password)).status).toBe(200);
    expect(await pf.works(org, user, password)).toBe(true);
  });
});

describe('what is refused before it becomes a job', () => {
  const canary = 'Zz9!canary';
  const texts: [string, string, number, number, string][] = [
    ['a body that is not JSON', `{"password":"${canary}`, 400, 3, 'body_not_json'],
    ['a body that is a list', `["${canary}"]`, 400, 3, 'body_not_object'],
    ['a body that is null', 'null', 400, 3, 'body_not_object'],
    ['a body that is text', `"${canary}"`, 400, 3, 'body_not_object'],
    ['a body that is too large', `{"password":"${canary}","x":"${'x'.repeat(70_000)}"}`, 413, 3, 'body_too_large'],
    ['an empty body', '', 400, 3, 'password_missing'],
    ['a missing password', '{}', 400, 3, 'password_missing'],
    ['an empty password', '{"password":""}', 400, 3, 'password_missing'],
    ['a password that is null', '{"password":null}', 400, 3, 'password_missing'],
    ['a password that is a number', '{"password":123456789}', 400, 3, 'field_type'],
    ['a flag that is text', `{"password":"${canary}","noChangeRequired":"yes"}`, 400, 3, 'field_type'],
    ['73 letters', JSON.stringify({ password: canary.padEnd(73, 'x') }), 400, 3, 'password_too_long'],
    ['37 é', JSON.stringify({ password: 'é'.repeat(37) }), 400, 3, 'password_too_many_bytes'],
    ['72 emoji', JSON.stringify({ password: '😀'.repeat(72) }), 400, 3, 'password_too_many_bytes'],
    ['NUL', JSON.stringify({ password: `${canary}\0` }), 400, 3, 'password_nul'],
    ['half a surrogate pair', `{"password":"${canary}\\ud83d"}`, 400, 3, 'password_ill_formed'],
  ];
  it.each(texts)('%s', async (_, body, status, code, reason) => {
    const answer = await pf.post('/management/v1/users/ada/password', body);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('passferry-reason')).toBe(reason);
    expect(answer.body).toMatchObject({ code, message: expect.any(String) });
    expect(answer.text).not.toContain(canary);
    expect(answer.text).not.toContain('123456789');
    expect(answer.headers.get('passferry-job')).toBeNull();
  });

  const callers: [string, CallerName | null, Record<string, string>, number, number, string][] = [
    ['no token', null, {}, 401, 16, 'auth_header_missing'],
    ['a wrong token', null, { authorization: 'Bearer nonsense' }, 401, 16, 'AUTH-7fs1e'],
    ['another scheme', null, { authorization: 'Basic YTpi' }, 401, 16, 'AUTH-toLo1'],
    ['an unknown organization', 'full', { 'x-zitadel-orgid': 'initech' }, 403, 7, 'AUTH-Bs7Ds'],
    ['an organization that is not granted', 'reader', { 'x-zitadel-orgid': 'globex' }, 404, 5, 'AUTHZ-cdgFk'],
    ['a missing permission', 'reader', {}, 403, 7, 'AUTH-5mWD2'],
    ['an Idempotency-Key with a space', 'full', { 'idempotency-key': 'a b' }, 400, 3, 'idempotency_key_invalid'],
    ['a Prefer that makes no sense', 'full', { prefer: 'wait=long' }, 400, 3, 'prefer_invalid'],
  ];
  it.each(callers)('%s', async (_, as, headers, status, code, reason) => {
    const answer = await pf.post('/users/ada/password', { password: canary }, { as, headers });
    expect(answer.status).toBe(status);
    expect(answer.body.code).toBe(code);
    expect(answer.headers.get('passferry-reason')).toBe(reason);
    if (/^[A-Z]/.test(reason)) expect(answer.body.details).toEqual([expect.objectContaining({ id: reason })]);
    expect(answer.text).not.toContain(canary);
  });

  it.each(['a%00b', 'x'.repeat(201)])('the user id %s', async (user) => {
    const answer = await pf.post(`/users/${user}/password`, { password: canary });
    expect(answer.status).toBe(400);
    expect(answer.headers.get('passferry-reason')).toBe('user_id_invalid');
  });
});

it.each(['text/plain', 'application/x-www-form-urlencoded', 'image/png', 'application/json; charset=utf-8'])(
  'reads %s on the v1 path as JSON',
  async (type) => {
    const user = id();
    await pf.addUser('acme', user, old);
    const body = { password: newPassword(), unknown: 1, no_change_required: true };
    const answer = await pf.post(`/users/${user}/password`, body, { headers: { 'content-type': type } });
    expect(answer.status).toBe(200);
    expect((await pf.v1.readUser('acme', user, AbortSignal.timeout(5_000))).changeRequired).toBe(false);
  },
);

it('shows a job of another organization as an unknown one', async () => {
  const user = id();
  await pf.addUser('globex', user, old);
  const set = await pf.set('globex', user, newPassword());
  const job = set.headers.get('passferry-job') as string;
  expect((await pf.get(`/jobs/${job}`)).status).toBe(200);
  const bare = ({ status, body }: Answer) => ({ status, body });
  const foreign = bare(await pf.get(`/jobs/${job}`, { as: 'reader' }));
  expect(foreign).toEqual(bare(await pf.get(`/jobs/j0-${'0'.repeat(34)}`, { as: 'reader' })));
  expect(foreign).toEqual(bare(await pf.get('/jobs/nonsense', { as: 'reader' })));
  expect(foreign).toMatchObject({ status: 404, body: { reason: 'job_unknown', code: 'not_found' } });
  expect((await pf.get(`/jobs/${job}`, { as: null })).status).toBe(401);
});

it('tells health, unknown routes and wrong methods', async () => {
  expect((await pf.get('/healthz', { as: null })).status).toBe(200);
  expect(await pf.get('/readyz', { as: null })).toMatchObject({ status: 200, body: { status: 'ready' } });
  expect(await pf.get('/nothing')).toMatchObject({ status: 404, body: { code: 5, message: 'Not Found' } });
  for (const method of ['GET', 'PUT', 'DELETE']) {
    const answer = await pf.send(method, '/management/v1/users/ada/password', undefined);
    expect(answer).toMatchObject({ status: 405, body: { code: 12, message: 'Method Not Allowed' } });
  }
});

describe('imports', () => {
  const send = (type: string, file: string, more: Record<string, string> = {}) =>
    pf.post('/imports?asOf=now', file, { headers: { 'content-type': type, ...more } });
  const finished = (run: string) =>
    waitFor(
      async () => {
        const { body } = await pf.get(`/imports/${run}`);
        return body?.state === 'completed' ? body : undefined;
      },
      { what: 'the import to complete' },
    );
  const rejects = async (run: string) => {
    const { text } = await pf.get(`/imports/${run}/rejects`);
    const rows = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    return rows.sort((a, b) => a.row - b.row);
  };

  it.each(['text/csv', 'application/x-ndjson'])(
    'counts every row of %s once; the last duplicate wins',
    async (type) => {
      const [a, b] = [id(), id()];
      await pf.addUser('acme', a, old);
      await pf.addUser('globex', b, old);
      const [first, last, other] = [newPassword(), newPassword(), newPassword()];
      const rows = [
        { userId: a, password: first },
        { userId: 'nobody', password: newPassword() },
        { userId: b, password: other, orgId: 'globex' },
        { userId: a, password: '' },
        { userId: a, password: newPassword(), orgId: 'initech' },
        { userId: a, password: last },
      ];
      const csv = ['userId,password,orgId', ...rows.map((r) => `${r.userId},${r.password},${r.orgId ?? ''}`)];
      const file = type === 'text/csv' ? csv : rows.map((row) => JSON.stringify(row));
      const answer = await send(type, `${file.join('\n')}\n`);
      expect(answer.status).toBe(202);
      expect(answer.headers.get('location')).toBe(`/imports/${answer.body.id}`);
      const run = await finished(answer.body.id);
      expect(run).toMatchObject({ org: 'acme', received: 6, rejected: 2, finished: 4, failed: 1, expired: 0 });
      expect(run.set + run.superseded).toBe(3);
      expect((await rejects(run.id)).filter((row) => row.result !== 'superseded')).toMatchObject([
        { row: 2, userId: 'nobody', reason: 'COMMAND-G8dh3' },
        { row: 4, userId: a, reason: 'password_missing' },
        { row: 5, userId: a, reason: 'org_not_granted' },
      ]);
      // An organization nobody granted may be a piece of a password whose columns shifted.
      expect((await pf.get(`/imports/${run.id}/rejects`)).text).not.toContain('initech');
      expect(await pf.works('acme', a, last)).toBe(true);
      expect(await pf.works('globex', b, other)).toBe(true);
    },
  );

  it('goes on with the same run when the file is sent again under its key', async () => {
    const user = id();
    await pf.addUser('acme', user, old);
    const file = `userId,password\n${user},${newPassword()}\n`;
    const key = { 'idempotency-key': id() };
    const first = await send('text/csv', file, key);
    await finished(first.body.id);
    const again = await send('text/csv', file, key);
    expect(again.body).toMatchObject({ id: first.body.id, received: 1, set: 1, state: 'completed' });
  });

  it('refuses other media types, unreadable files, and who may not', async () => {
    for (const type of ['application/xml', 'application/zip', 'text/plain']) {
      const answer = await send(type, '{"password":"Zz9!canary"}');
      expect(answer).toMatchObject({ status: 415, body: { reason: 'media_type_unsupported' } });
      expect(answer.text).not.toContain('canary');
    }
    expect(await send('text/csv', 'who;what\na;Zz9!canary\n')).toMatchObject({
      status: 400,
      body: { reason: 'header_column_missing' },
    });
    const headers = { 'content-type': 'text/csv' };
    expect(await pf.post('/imports?asOf=now', 'userId,password\na,b\n', { as: 'reader', headers })).toMatchObject({
      status: 403,
    });
    expect(await pf.post('/imports?asOf=now', 'userId,password\na,b\n', { as: null, headers })).toMatchObject({
      status: 401,
    });
  });

  it.each(['/imports?asOf=now', '/resets?mode=random'])('refuses plain text for %s before its end', async (path) => {
    const headers = { authorization: `Bearer ${pf.token}`, 'content-type': 'text/plain' };
    const endless = request(`${pf.url}${path}`, { method: 'POST', headers });
    endless.on('error', () => {});
    endless.write('userId,password\n');
    const [answer] = await once(endless, 'response');
    endless.destroy();
    expect(answer.statusCode).toBe(415);
  });

  it('shows a run of another organization as an unknown one', async () => {
    const user = id();
    await pf.addUser('globex', user, old);
    const file = `userId,password\n${user},${newPassword()}\n`;
    const { body } = await send('text/csv', file, { 'x-zitadel-orgid': 'globex' });
    await finished(body.id);
    for (const path of [`/imports/${body.id}`, `/imports/${body.id}/rejects`]) {
      expect(await pf.get(path, { as: 'reader' })).toMatchObject({ status: 404, body: { reason: 'run_unknown' } });
    }
  });
});
