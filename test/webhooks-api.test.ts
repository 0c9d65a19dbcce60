import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { openApiDocument } from '../src/producer/openapi/document.ts';
import { newPassword } from './kit/conformance.ts';
import { openApi } from './kit/openapi.ts';
import { type Passferry, type RequestOptions, startPassferry, tokens } from './kit/passferry.ts';
import { startReceiver } from './kit/receiver.ts';
import { waitFor } from './kit/wait.ts';
import { verified } from './kit/webhook-scene.ts';

const api = openApi(JSON.parse(JSON.stringify(openApiDocument())));
const root = fileURLToPath(new URL('..', import.meta.url));
let pf: Passferry;
let receiver: Awaited<ReturnType<typeof startReceiver>>;

beforeAll(async () => {
  const allow = { PASSFERRY_WEBHOOK_ALLOW: '127.0.0.1' };
  pf = await startPassferry({ serveEnv: allow, workEnv: allow });
  receiver = await startReceiver();
});

/** As an admin; compares the answer with the document. */
async function ask(method: string, path: string, body?: unknown, more: RequestOptions = {}) {
  const json = { ...(body !== undefined && { 'content-type': 'application/json' }) };
  const answer = await pf.send(method, path, body, { as: 'admin', ...more, headers: { ...json, ...more.headers } });
  expect(api.differences(method, path, answer), `${method} ${path}\n${answer.text}`).toEqual([]);
  return answer;
}

const add = async (path: string, more: object = {}) =>
  (await ask('POST', '/webhooks', { url: `${receiver.url}${path}`, ...more })).body;

describe('a webhook of an organization', () => {
  it('is told how a job ended, and nothing of its password', async () => {
    const { id, secret } = await add('/end', { events: ['job.*'] });
    const [user, password] = [randomUUID(), newPassword()];
    await pf.addUser('acme', user);
    const { body } = await pf.set('acme', user, password, { headers: { prefer: 'respond-async' } });
    await waitFor(() => receiver.at('/end').length > 0, { what: 'the delivery' });
    const [one] = receiver.at('/end');
    expect(verified(secret, one as never)).toMatchObject({
      type: 'job.completed',
      data: { org: 'acme', user, job: body.id, result: 'set', inEffect: true, backend: 'v1', attempts: 1 },
    });
    expect(JSON.stringify(one)).not.toContain(password);
    const { deliveries } = (await ask('GET', `/webhooks/${id}/deliveries`)).body;
    expect(deliveries).toMatchObject([{ id: one?.headers['webhook-id'], type: 'job.completed' }]);
    expect((await ask('DELETE', `/webhooks/${id}`)).status).toBe(204);
    expect((await ask('GET', `/webhooks/${id}`)).body.reason).toBe('webhook_unknown');
  });

  it('is made, shown, rotated, disabled, enabled, tried and removed', async () => {
    const added = await ask('POST', '/webhooks', { url: `${receiver.url}/all` });
    expect(added).toMatchObject({ status: 201, body: { events: ['job.*', 'run.*'], createdBy: 'admin' } });
    const { id, secret, ...view } = added.body;
    expect(added.headers.get('location')).toBe(`/webhooks/${id}`);
    expect((await ask('GET', `/webhooks/${id}`)).body).toEqual({ id, ...view });
    expect((await ask('GET', '/webhooks')).body.webhooks).toContainEqual({ id, ...view });
    expect((await ask('GET', '/webhooks?org=globex')).body.webhooks).toEqual([]);
    const rotated = (await ask('POST', `/webhooks/${id}:rotate`)).body;
    expect(rotated.secret).not.toBe(secret);
    expect(rotated.oldSecretUntil).toBeDefined();
    const disabled = (await ask('POST', `/webhooks/${id}:disable`, { reason: 'maintenance' })).body;
    expect(disabled).toMatchObject({ state: 'disabled', disabled: { reason: 'maintenance', by: 'admin' } });
    expect((await ask('POST', `/webhooks/${id}:disable`, { reason: '' })).body.reason).toBe('reason_invalid');
    const replay = { since: new Date().toISOString() };
    expect(await ask('POST', `/webhooks/${id}:replay`, replay)).toMatchObject({ status: 409 });
    expect((await ask('POST', `/webhooks/${id}:enable`)).body.state).toBe('enabled');
    expect((await ask('POST', `/webhooks/${id}:replay`, replay)).body).toEqual({ replayed: 0 });
    const { delivery } = (await ask('POST', `/webhooks/${id}:test`)).body;
    await waitFor(() => receiver.at('/all').some(({ headers }) => headers['webhook-id'] === delivery), { what: 'it' });
    await ask('DELETE', `/webhooks/${id}`);
  });

  it('does not exist for whoever is not an admin there', async () => {
    const { id } = await add('/secret');
    const unknown = 'w0-00000000000000000000000000';
    for (const as of ['full', 'reader'] as const) {
      for (const [method, rest] of [
        ['GET', ''],
        ['DELETE', ''],
        ['GET', '/deliveries'],
        ['POST', ':test'],
        ['POST', ':rotate'],
        ['POST', ':enable'],
        ['POST', ':disable'],
        ['POST', ':replay'],
      ] as const) {
        const answers = await Promise.all(
          [id, unknown].map((each) => ask(method, `/webhooks/${each}${rest}`, undefined, { as })),
        );
        expect(answers.map(({ status }) => status)).toEqual([404, 404]);
        expect(answers[0]?.text).toBe(answers[1]?.text);
      }
      expect((await ask('GET', '/webhooks', undefined, { as })).status).toBe(403);
      expect((await ask('POST', '/webhooks', { url: 'https://example.com/' }, { as })).status).toBe(403);
      const nowhere = { url: 'https://example.com/', org: 'nowhere' };
      expect((await ask('POST', '/webhooks', nowhere, { as })).status).toBe(404);
    }
    expect((await ask('GET', '/webhooks', undefined, { as: null })).status).toBe(401);
    await ask('DELETE', `/webhooks/${id}`);
  });

  it.each([
    [{ url: 'https://10.0.0.1/' }, 'webhook_url_forbidden'],
    [{ url: 'https://169.254.169.254/latest' }, 'webhook_url_forbidden'],
    [{ url: 'https://[::ffff:10.0.0.1]/' }, 'webhook_url_forbidden'],
    [{ url: 'https://0x0a000001/' }, 'webhook_url_forbidden'],
    [{ url: 'https://localhost/' }, 'webhook_url_forbidden'],
    [{ url: 'http://8.8.8.8/' }, 'webhook_url_forbidden'],
    [{ url: 'https://user:sesame@8.8.8.8/' }, 'webhook_url_invalid'],
    [{ url: 7 }, 'webhook_url_invalid'],
    [{}, 'webhook_url_invalid'],
    [{ url: 'https://8.8.8.8/', events: ['job.started'] }, 'webhook_events_invalid'],
    [{ url: 'https://8.8.8.8/', events: [] }, 'webhook_events_invalid'],
    [{ url: 'https://8.8.8.8/', events: 'job.*' }, 'webhook_events_invalid'],
    [{ url: 'https://8.8.8.8/', org: 7 }, 'field_type'],
    [{ url: 'https://8.8.8.8/', org: '' }, 'org_id_invalid'],
    [[], 'body_not_object'],
  ])('is refused: %j', async (body, reason) => {
    const answer = await ask('POST', '/webhooks', body);
    expect(answer).toMatchObject({ status: 400, body: { reason } });
    expect(answer.text).not.toMatch(/sesame|10\.0\.0\.1/);
  });

  it.each([
    [{}, 'field_type'],
    [{ since: 'yesterday' }, 'field_type'],
    [{ since: '2026-11-25T00:00:00Z', until: 5 }, 'field_type'],
    [{ since: '2026-11-25T00:00:00Z', cursor: 'x' }, 'cursor_invalid'],
    [{ event: '1-0', since: '2026-11-25T00:00:00Z' }, 'field_type'],
    [{ event: 'test-1' }, 'event_unknown'],
    [{ event: '1795600949612-0' }, 'event_unknown'],
  ])('is not replayed by %j', async (body, reason) => {
    const { id } = await add(`/replay/${randomUUID()}`);
    expect((await ask('POST', `/webhooks/${id}:replay`, body)).body.reason).toBe(reason);
    await ask('DELETE', `/webhooks/${id}`);
  });
});

describe('passferry webhooks', () => {
  function cli(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    const env = { ...process.env, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: tokens.admin };
    const command = ['--import', 'tsx', 'src/cli/main.ts', 'webhooks', ...args];
    const child = spawn(process.execPath, command, { cwd: root, env });
    const printed = { out: '', err: '' };
    child.stdout.on('data', (part) => (printed.out += part));
    child.stderr.on('data', (part) => (printed.err += part));
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ code, ...printed }));
    });
  }

  it('does what the API does', async () => {
    const added = await cli('add', `${receiver.url}/cli`, '--event', 'job.failed', 'run.*');
    expect(added).toMatchObject({ code: 0, err: expect.stringContaining('not shown again') });
    const [, id = ''] = /^(w0-\S+) is told job\.failed, run\.\* of acme\n/.exec(added.out) ?? [];
    expect(added.out).toMatch(/\nsecret: whsec_\S{44}\n$/);
    expect((await cli('list')).out).toContain(`${id}  enabled  ${receiver.url}/cli`);
    expect(await cli('test', id)).toMatchObject({ code: 0, out: 'taken: answer 204\n' });
    receiver.answer('/cli', 500);
    expect(await cli('test', id)).toMatchObject({ code: 1, out: 'NOT taken: answer 500\n' });
    expect((await cli('deliveries', id, '--failed')).out).toMatch(
      / UTC {2}test-\w+ {2}webhook\.test {2}FAILED: answer 500, 1 attempt\n/,
    );
    expect((await cli('rotate', id)).out).toMatch(/has a new secret; .*\nsecret: whsec_/);
    expect(await cli('disable', id, '--reason', 'move')).toMatchObject({ code: 0 });
    expect((await cli('list')).out).toMatch(/DISABLED .*\n {4}since .* by admin: move\n/);
    expect((await cli('enable', id)).err).toContain(`passferry webhooks replay ${id} --since`);
    const since = new Date(Date.now() - 60_000).toISOString();
    expect((await cli('replay', id, '--since', since)).out).toMatch(/^\d+ events? on the way again\n$/);
    expect(await cli('replay', id)).toMatchObject({ code: 2 });
    expect((await cli('remove', id)).code).toBe(0);
    expect(await cli('test', id)).toMatchObject({ code: 1, err: expect.stringContaining('(webhook_unknown)') });
    expect((await cli('add', 'https://10.0.0.1/')).err).toContain('(webhook_url_forbidden)');
  });
});
