import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient, PassferryClientError } from '../src/client/index.ts';
import { type ClientScene, startClientScene } from './kit/client-scene.ts';
import { tempDir } from './kit/files.ts';

let scene: ClientScene;
let client: Client;
let proxy: ClientScene['proxy'];
let clientOf: ClientScene['clientOf'];
let newUser: ClientScene['newUser'];

beforeAll(async () => {
  scene = await startClientScene();
  ({ client, clientOf, newUser, proxy } = scene);
});
afterEach(() => scene.restore());

async function errorFrom(promise: Promise<unknown>): Promise<PassferryClientError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(PassferryClientError);
  return error as PassferryClientError;
}

/** An answer for the proxy to give. */
const http = (status: string, headers: string, body = '') =>
  Buffer.from(`HTTP/1.1 ${status}\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);

describe('setPassword', () => {
  test('sets a password and tells the outcome', async () => {
    const user = await newUser();
    const sent = await client.setPassword({ user, password: 'New-password-1', org: 'acme', wait: true });
    expect(sent.outcome).toMatchObject({ result: 'set', inEffect: true, backend: 'v1' });
    expect(sent.idempotencyKey).toMatch(/^pf-/);
    expect(await scene.passferry.works('acme', user, 'New-password-1')).toBe(true);
  });

  test('resolves when it is accepted, and the handle waits', async () => {
    const user = await newUser('globex');
    const sent = await client.setPassword({ user, password: 'New-password-1', org: 'globex' });
    expect(sent.outcome).toBeUndefined();
    expect(await sent.wait()).toMatchObject({ result: 'set', inEffect: true, backend: 'v2' });
    expect(await client.job(sent.id)).toMatchObject({ id: sent.id, user, done: true, ended: 'set' });
    expect(await client.wait(sent.id)).toMatchObject({ inEffect: true });
  });

  test('a lost reply leaves one job only', async () => {
    const user = await newUser();
    proxy.dropReplies(2, `/users/${user}/password`);
    const sent = await client.setPassword({ user, password: 'New-password-1', wait: true });
    expect(proxy.dropped()).toBeGreaterThanOrEqual(2);
    expect(sent).toMatchObject({ replayed: true, outcome: { inEffect: true } });
    expect((await scene.jobsOf(user)).map(({ id }) => id)).toEqual([sent.id]);
  });

  test('503, 504 and 429 are tried again', async () => {
    const user = await newUser();
    proxy.injectReply(http('503 Service Unavailable', 'passferry-reason: accept_unknown\r\n'), `/users/${user}/`);
    await client.setPassword({ user, password: 'New-password-1' });
    proxy.injectReply(http('504 Gateway Timeout', ''), `/users/${user}/`);
    await client.setPassword({ user, password: 'New-password-2' });
    proxy.injectReply(http('429 Too Many Requests', 'retry-after: 1\r\n'), `/users/${user}/`);
    const sent = await client.setPassword({ user, password: 'New-password-3', wait: true });
    expect(sent.outcome).toMatchObject({ inEffect: true });
    expect(await scene.jobsOf(user)).toHaveLength(3);
  });

  test('a wait that a proxy cut short with 504 goes on to the outcome', async () => {
    const user = await newUser();
    proxy.injectReply(http('504 Gateway Timeout', ''), 'GET /jobs/');
    const sent = await client.setPassword({ user, password: 'New-password-1', wait: true });
    expect(sent.outcome).toMatchObject({ result: 'set' });
  });

  test('gives up at once when it is asked to wait longer than it may', async () => {
    proxy.injectReply(http('429 Too Many Requests', 'retry-after: 900\r\n'), '/users/limited/');
    const error = await errorFrom(client.setPassword({ user: 'limited', password: 'New-password-1' }));
    expect(error).toMatchObject({ status: 429, code: 'resource_exhausted', retryAfterMs: 900_000 });
  });

  test('an outcome that is bad is told, not thrown', async () => {
    const sent = await client.setPassword({ user: 'nobody', password: 'New-password-1', wait: true });
    expect(sent.outcome).toMatchObject({ code: 'failed_precondition', reason: 'COMMAND-G8dh3', inEffect: false });
  });

  test('a cut server is unreachable, and the error has the key to go on with', async () => {
    proxy.cut();
    const { reason, code, idempotencyKey, status } = await errorFrom(
      client.setPassword({ user: 'u1', password: 'New-password-1', idempotencyKey: 'mine-1', timeoutMs: 300 }),
    );
    expect({ reason, code, idempotencyKey, status }).toEqual({
      ...{ reason: 'unreachable', code: 'unavailable' },
      ...{ idempotencyKey: 'mine-1', status: undefined },
    });
  });

  test('a signal ends the wait', async () => {
    proxy.blackhole();
    const stopped = new AbortController();
    const sending = errorFrom(client.setPassword({ user: 'u1', password: 'Canary-1', signal: stopped.signal }));
    stopped.abort();
    expect(await sending).toMatchObject({ reason: 'stopped', code: 'canceled' });
  });
});

describe('errors', () => {
  test('a wrong token', async () => {
    const error = await errorFrom(clientOf('pf_wrong').setPassword({ user: 'u1', password: 'New-password-1' }));
    expect(error).toMatchObject({ status: 401, code: 'unauthenticated', name: 'PassferryClientError' });
  });

  test('a token function is asked again after a 401', async () => {
    const tokens = ['pf_old', scene.passferry.token];
    const rotating = clientOf(() => (tokens.length > 1 ? (tokens.shift() as string) : (tokens[0] as string)));
    expect(await rotating.setPassword({ user: await newUser(), password: 'New-password-1' })).toHaveProperty('id');
  });

  test('what the API refuses, by reason and field', async () => {
    const long = await errorFrom(client.setPassword({ user: 'u1', password: 'x'.repeat(73) }));
    expect(long).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'password_too_long' });
    const unknown = await errorFrom(client.job(`j0-${'0'.repeat(34)}`));
    expect(unknown).toMatchObject({ status: 404, code: 'not_found', reason: 'job_unknown' });
    const foreign = await errorFrom(client.setPassword({ user: 'u1', password: 'New-password-1', org: 'other' }));
    expect(foreign).toMatchObject({ status: 403, code: 'permission_denied' });
    const key = { user: await newUser(), idempotencyKey: 'one-key' };
    await client.setPassword({ ...key, password: 'New-password-1' });
    const reused = await errorFrom(client.setPassword({ ...key, password: 'New-password-2' }));
    expect(reused).toMatchObject({ status: 422, reason: 'idempotency_key_reused', idempotencyKey: 'one-key' });
  });

  test('a redirect is not followed: it would take the token along', async () => {
    proxy.injectReply(http('302 Found', 'location: http://127.0.0.1:1/\r\n'), '/jobs/');
    expect(await errorFrom(client.job('j0-a'))).toMatchObject({ status: 302, reason: 'http_302' });
  });

  test('what is no option is refused before anything is sent', async () => {
    for (const baseUrl of ['nowhere', 'ftp://host', 'http://user:secret@host']) {
      expect(() => createClient({ baseUrl, token: 'x' })).toThrow(PassferryClientError);
    }
    expect(await errorFrom(client.job('../imports/1'))).toMatchObject({ reason: 'job_unknown', status: undefined });
    expect(await errorFrom(client.setPassword({ user: '..', password: 'x' }))).toMatchObject({
      reason: 'user_id_invalid',
    });
    await expect(client.events({ after: 'yesterday' }).next()).rejects.toMatchObject({ reason: 'option_invalid' });
  });

  test('none of them holds the password or the token, whatever broke', async () => {
    const password = 'Canary-password-1';
    const token = 'Canary-token-1\r\nx: y';
    const echo = JSON.stringify({ code: 3, message: `bad ${password} Canary-token-1`, reason: 'field_type' });
    const errors = [
      await errorFrom(clientOf(token).setPassword({ user: 'u1', password })),
      await errorFrom(
        clientOf(() => {
          throw new Error(token);
        }).setPassword({ user: 'u1', password }),
      ),
      await errorFrom(
        clientOf('Canary-token-1', {
          fetch: () => Promise.reject(new Error(`${password} ${token}`, { cause: { password, token } })),
          timeoutMs: 200,
        }).setPassword({ user: 'u1', password }),
      ),
    ];
    proxy.injectReply(http('400 Bad Request', 'content-type: application/json\r\n', echo), '/users/');
    errors.push(await errorFrom(clientOf('Canary-token-1').setPassword({ user: 'u1', password })));
    proxy.injectReply(http('400 Bad Request', 'content-type: application/json\r\n', echo), 'POST /jobs');
    const { items } = await clientOf('Canary-token-1').setPasswords([{ user: 'u1', password }]);
    for (const each of [...errors, items, client, clientOf('Canary-token-1')]) {
      const shown = `${inspect(each, { depth: 9, showHidden: true })} ${JSON.stringify(each)} ${String((each as Error).stack)}`;
      expect(shown).not.toContain('Canary');
    }
    expect(errors.map(({ reason }) => reason)).toEqual([
      ...['token_unavailable', 'token_unavailable', 'unreachable', 'field_type'],
    ]);
  });
});

describe('wait and cancel', () => {
  test('a job that is open is told by undefined, and can be cancelled', async () => {
    await scene.hold('v2');
    const sent = await client.setPassword({ user: await newUser('globex'), password: 'New-password-1', org: 'globex' });
    expect(await sent.wait({ timeoutMs: 100 })).toBeUndefined();
    const waited = client.wait(sent.id);
    expect(await client.cancel(sent.id)).toMatchObject({ done: true, ended: 'canceled' });
    expect(await waited).toMatchObject({ reason: 'job_canceled', inEffect: false });
    expect(await client.cancel(sent.id)).toMatchObject({ ended: 'canceled' });
  });

  test('too late is told with the reason and the job', async () => {
    const sent = await client.setPassword({ user: await newUser(), password: 'New-password-1', wait: true });
    expect(await errorFrom(client.cancel(sent.id))).toMatchObject({ status: 409, reason: 'job_done', jobId: sent.id });
  });

  test('a wait goes on over connections that break', async () => {
    await scene.hold('v1');
    const sent = await client.setPassword({ user: await newUser(), password: 'New-password-1' });
    const waited = sent.wait();
    proxy.cut();
    await proxy.restore();
    await scene.lift('v1');
    expect(await waited).toMatchObject({ inEffect: true });
  });
});

describe('setPasswords', () => {
  test('any number, each with its word, in order', async () => {
    const user = await newUser();
    const items = [
      { user, password: 'First-password-1' },
      { user, password: 'x'.repeat(73) },
      ...Array.from({ length: 1_100 }, (_, i) => ({ user: `none-${i}`, password: 'New-password-1' })),
      { user, password: 'Last-password-1' },
    ];
    proxy.dropReplies(1, 'POST /jobs');
    const sent = await client.setPasswords(items, { timeoutMs: 100_000 });
    expect(proxy.dropped()).toBeGreaterThan(0);
    expect(sent).toMatchObject({ accepted: 1_102, refused: 1 });
    expect(sent.items[1]).toMatchObject({ status: 'refused', error: { reason: 'password_too_long' } });
    const last = sent.items.at(-1);
    expect(await client.wait(last?.status === 'accepted' ? last.id : '', { timeoutMs: 100_000 })).toMatchObject({
      inEffect: true,
    });
    expect(await scene.jobsOf(user)).toHaveLength(2);
    expect(await scene.passferry.works('acme', user, 'Last-password-1')).toBe(true);
  });

  test('when none is accepted, each says why', async () => {
    const { accepted, items } = await clientOf('pf_wrong').setPasswords([{ user: 'u1', password: 'New-password-1' }]);
    expect(accepted).toBe(0);
    expect(items[0]).toMatchObject({ status: 'refused', error: { status: 401, code: 'unauthenticated' } });
    const empty = await client.setPasswords([{ user: '', password: 'New-password-1' }]);
    expect(empty.items[0]).toMatchObject({ error: { status: 422, reason: 'user_id_missing' } });
  });
});

describe('import', () => {
  test('takes text, a file and a stream, and follows them', async () => {
    const user = await newUser();
    const file = join(tempDir(), 'people.ndjson');
    writeFileSync(file, `${JSON.stringify({ userId: user, password: 'From-a-file-1' })}\n`);
    const rows = `userId,password\n${user},From-a-text-1\n,No-user-1\n`;
    async function* stream() {
      yield 'userId,password\n';
      yield `${user},From-a-stream-1\n`;
    }
    const [text, fromFile, fromStream] = [
      await client.import(rows, { asOf: 'now', idempotencyKey: 'people-1' }),
      await client.import({ path: file }, { asOf: 'now' }),
      await client.import(stream(), { asOf: 'now' }),
    ];
    expect(text).toMatchObject({ idempotencyKey: 'people-1', run: { received: 2, rejected: 1 } });
    expect(await text.wait()).toMatchObject({ id: text.run.id, state: 'completed', finished: 1 });
    expect(await fromFile.wait()).toMatchObject({ state: 'completed', finished: 1 });
    let last: unknown;
    for await (const view of fromStream.progress()) last = view;
    expect(last).toMatchObject({ state: 'completed', finished: 1 });
    expect(await scene.passferry.works('acme', user, 'From-a-stream-1')).toBe(true);
  });

  test('goes on under its key when the reply is lost', async () => {
    const rows = `userId,password\n${await newUser()},From-a-text-1\n`;
    const before = proxy.dropped();
    proxy.dropReplies(1, 'POST /imports');
    const sent = await client.import(rows, { asOf: 'now' });
    expect(proxy.dropped()).toBeGreaterThan(before);
    expect(await sent.wait()).toMatchObject({ received: 1, set: 1 });
  });

  test('gives the rows that are not in force, and is told what to do', async () => {
    const rows = `user,password\nnobody,No-user-1\n,No-user-2\n`;
    const sent = await client.import(rows, { asOf: new Date(), map: { userId: 'user' } });
    await sent.wait();
    const rejects = [];
    for await (const each of sent.rejects()) rejects.push(each);
    expect(rejects).toMatchObject([
      { row: 1, line: 2, userId: 'nobody', reason: 'COMMAND-G8dh3', columns: { user: 'nobody' } },
      { row: 2, line: 3, reason: 'user_id_missing', advice: expect.any(String) },
    ]);
    expect(await errorFrom(sent.pause())).toMatchObject({ reason: 'run_ended' });
    const later = { asOf: 'now', notBefore: new Date(Date.now() + 3_600_000) } as const;
    const standing = await client.import(`userId,password\nnobody,No-user-1\n`, later);
    expect(await standing.pause()).toMatchObject({ state: 'paused' });
    expect(await standing.resume()).toMatchObject({ state: 'running' });
    expect(await standing.cancel()).toMatchObject({ state: 'cancelled', canceled: 1 });
  });

  test('joins an export in two files of another product, and names its users as it is told', async () => {
    const users = ['a', 'b'].map((id) => JSON.stringify({ user_id: `auth0|${id}`, email: `${id}@x.example` }));
    const hash = `$2b$10$${'N9qo8uLOickgx2ZMRZoMye'}IjZAgcfl7p92ldGxad68LJZdL17lhWy`;
    const rows = ['a', 'gone'].map((id) =>
      JSON.stringify({ _id: { $oid: id }, email: `${id}@x.example`, passwordHash: hash, tenant: 't' }),
    );
    const how = { from: 'auth0', by: 'email', known: 'matched', hashParams: { algorithm: 'BCRYPT' } } as const;
    const sent = await client.import(rows.join('\n'), {
      ...how,
      users: users.join('\n'),
      format: 'ndjson',
      asOf: 'now',
    });
    expect(sent.run).toMatchObject({ received: 2, options: { source: 'auth0', by: 'email', known: 'matched' } });
    const rejects = [];
    for await (const each of sent.rejects()) rejects.push(each);
    // What the caller lacks is asked of the row that has a user; of the other one nobody knows.
    expect(rejects).toMatchObject([
      { row: 1, reason: 'hash_not_granted' },
      { row: 2, reason: 'join_user_missing' },
    ]);
    async function* broken(): AsyncGenerator<string> {
      yield users[0] as string;
      throw new Error('it says New-password-1');
    }
    const error = await errorFrom(client.import(rows.join('\n'), { ...how, users: broken(), asOf: 'now' }));
    expect(error).toMatchObject({ reason: 'source_unreadable' });
  });

  test('says what is wrong with the file or the source', async () => {
    expect(await errorFrom(client.import('userId\n1\n'))).toMatchObject({ reason: 'header_column_missing' });
    const file = 'userId,password\n1,No-user-1\n';
    expect(await errorFrom(client.import(file))).toMatchObject({ reason: 'as_of_required', status: 422 });
    const missing = join(tempDir(), 'none.csv');
    expect(await errorFrom(client.import({ path: missing }))).toMatchObject({ reason: 'source_unreadable' });
  });
});
