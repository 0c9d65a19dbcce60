import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import { type Passferry, type RequestOptions, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** Imports over HTTP, as somebody with a file meets them. */

let pf: Passferry;
beforeAll(async () => {
  pf = await startPassferry();
});

const csv = { headers: { 'content-type': 'text/csv' } };
const post = (query: string, file: string | Buffer, more: RequestOptions = csv) =>
  pf.post(`/imports${query}`, file as string, more);

async function people(count: number): Promise<string[]> {
  const users = Array.from({ length: count }, () => randomUUID());
  for (const user of users) await pf.addUser('acme', user);
  return users;
}

const ended = (id: string) =>
  waitFor(
    async () => {
      const { body } = await pf.get(`/imports/${id}`);
      return body?.state === 'completed' || body?.state === 'cancelled' ? body : undefined;
    },
    { what: 'the import to end' },
  );

/** Sends bytes that are no text. */
async function postBytes(query: string, body: Uint8Array, headers: Record<string, string>) {
  const response = await fetch(`${pf.url}/imports${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${pf.token}`, ...headers },
    body: body as unknown as string,
  });
  // biome-ignore lint/suspicious/noExplicitAny: looked into by expectations
  return { status: response.status, body: (await response.json()) as any };
}

describe('a messy file', () => {
  it('is reported row by row, and its corrected rejects are imported as they are', async () => {
    const [ada = '', bob = '', eve = ''] = await people(3);
    const good = newPassword();
    const file = [
      'Employee No;mail;new password;note',
      `${ada};a@x;${good};ok`,
      `=${bob};b@x;Bad-user-1;formula`,
      `${eve};c@x;;empty`,
      `${eve};c@x;Zz9!canary;too;many`,
      '',
    ].join('\r\n');
    const { status, body, text } = await post('?asOf=now&map=userId:Employee%20No&keep=mail', file);
    expect(status, text).toBe(202);
    expect(body.options).toMatchObject({
      format: 'csv',
      delimiter: ';',
      kept: ['Employee No', 'mail', 'new password'],
    });
    const view = await ended(body.id);
    expect(view).toMatchObject({ received: 4, rejected: 2, set: 1, failed: 1, notInEffect: 3 });

    const rejects = await pf.get(`/imports/${body.id}/rejects`, { headers: { accept: 'text/csv' } });
    expect(rejects.headers.get('content-type')).toContain('text/csv');
    const lines = rejects.text.trimEnd().split('\n');
    expect(lines[0]).toBe('Employee No;mail;new password;code;reason;advice;line;byte');
    expect(lines[1]).toMatch(new RegExp(`^'=${bob};b@x;;failed_precondition;COMMAND-G8dh3;.+;3;\\d+$`));
    expect(lines[2]).toMatch(new RegExp(`^${eve};c@x;;invalid_argument;password_missing;.+;4;\\d+$`));
    expect(lines[3]).toMatch(/^;;;invalid_argument;row_columns;.+;5;\d+$/);
    expect(rejects.text).not.toContain('canary');

    const right = newPassword();
    const corrected = `${lines[0]}\n${lines[2]?.replace('c@x;;', `c@x;${right};`)}\n`;
    const second = await post('?asOf=now&map=userId:Employee%20No', corrected);
    expect(await ended(second.body.id)).toMatchObject({ received: 1, set: 1, notInEffect: 0 });
    expect(await pf.works('acme', eve, right)).toBe(true);
    expect(await pf.works('acme', ada, good)).toBe(true);
  });

  it('keeps an id that looks like a formula through rejects and back', async () => {
    const file = "userId,password\n'=x,Aa1-password\n+49123,Aa1-password\n";
    const { body } = await post('?asOf=now', file);
    await ended(body.id);
    const { text } = await pf.get(`/imports/${body.id}/rejects?format=csv`);
    expect(text).toContain("\n''=x,,");
    expect(text).toContain("\n'+49123,,");
    const again = await post('?asOf=now', text.replaceAll(',,failed', ',Aa1-password,failed'));
    await ended(again.body.id);
    expect((await pf.get(`/imports/${again.body.id}/rows/1`)).body.userId).toBe("'=x");
    expect((await pf.get(`/imports/${again.body.id}/rows/2`)).body.userId).toBe('+49123');
  });

  it('gives NDJSON and lists back in their own form', async () => {
    const rows = [
      { uid: 'nobody', pw: 'x' },
      { userId: 'nobody', password: 'Aa1-password', set_at: '2026-01-01' },
    ];
    const list = { headers: { 'content-type': 'application/json' } };
    const { body } = await post('', JSON.stringify(rows.slice(1)), list);
    await ended(body.id);
    const { text } = await pf.get(`/imports/${body.id}/rejects?format=input`);
    expect(JSON.parse(text)).toMatchObject([
      { userId: 'nobody', password: '', set_at: '2026-01-01', reason: 'COMMAND-G8dh3', line: '1' },
    ]);
    // A key that the first object does not have.
    const later = [rows[1], { userId: 'nobody', password: 'Aa1-password', set_at: '2026-01-01', org: 'globex' }];
    const second = await post('', JSON.stringify(later), list);
    await ended(second.body.id);
    expect((await pf.get(`/imports/${second.body.id}/rejects?format=input`)).body[1]).toMatchObject({
      orgId: 'globex',
    });
    const lines = await post('?asOf=now', rows.map((row) => JSON.stringify(row)).join('\n'), list);
    expect(lines.body.options.format).toBe('ndjson');
  });
});

describe('what is asked of an import', () => {
  const file = 'userId,password\nnobody,Aa1-password\n';

  it('must say how old the passwords are, before any row is stored', async () => {
    const key = randomUUID();
    const headers = { ...csv.headers, 'idempotency-key': key };
    expect(await post('', file, { headers })).toMatchObject({
      status: 422,
      body: { reason: 'as_of_required', fields: [{ field: 'asOf' }] },
    });
    const [user] = await people(1);
    const dated = `userId,password,set_at\n${user},Aa1-password-1,2020-01-01\n${user},Aa1-password-2,\n`;
    const { body } = await post('', dated, { headers });
    expect(await ended(body.id)).toMatchObject({ received: 2, rejected: 1, stale: 1 });
    expect((await pf.get(`/imports/${body.id}/rows/2`)).body).toMatchObject({
      reason: 'set_at_missing',
      field: 'setAt',
    });
  });

  it.each([
    ['asOf=now&changeRequired=true&noChangeRequired=true', 'options_contradict', 'changeRequired'],
    ['asOf=now&noChangeRequird=true', 'option_unknown', 'noChangeRequird'],
    ['asOf=01/02/2026', 'set_at_ambiguous', 'asOf'],
    ['asOf=now&map=userId', 'field_type', 'map'],
    ['asOf=now&map=userId:Nummer', 'map_column_missing', 'userId'],
    ['asOf=now&rate=fast', 'field_type', 'rate'],
    ['asOf=now&proofShare=2', 'field_type', 'proofShare'],
    ['asOf=now&maxFailures=0', 'field_type', 'maxFailures'],
    ['asOf=now&duplicates=first', 'field_type', 'duplicates'],
    ['asOf=now&expiresIn=9999999', 'expires_invalid', 'expiresIn'],
    ['asOf=now&notBefore=2999-01-01T00:00:00Z', 'options_contradict', 'notBefore'],
    ['asOf=now&keep=password', 'keep_column_secret', 'password'],
    ['asOf=now&encoding=ebcdic', 'field_type', 'encoding'],
  ])('%s is refused', async (query, reason, field) => {
    const answer = await post(`?${query}`, file);
    expect(answer.body).toMatchObject({
      reason,
      fields: expect.arrayContaining([{ field, reason: expect.any(String) }]),
    });
    expect(answer.status).toBe(400);
  });

  it('is kept and shown', async () => {
    const query =
      '?asOf=2026-01-01&maxFailures=5&rate=50&concurrency=2&proofShare=0.5&duplicates=refuse&expiresIn=3600';
    const { body } = await post(`${query}&changeRequired=false`, file);
    expect(body.options).toMatchObject({
      ...{ changeRequired: false, maxFailures: 5, rate: 50, concurrency: 2, proofShare: 0.5, duplicates: 'refuse' },
      ...{ asOf: Date.UTC(2026, 0, 1), encoding: 'utf-8', map: { userId: 'userId', password: 'password' } },
    });
    expect(Date.parse(body.expiresAt) - Date.parse(body.acceptedAt)).toBe(3_600_000);
    expect((await pf.get(`/imports/${body.id}`)).body.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  it('refuses the second row of a user where that was asked, and counts what is odd', async () => {
    const [user] = await people(1);
    const rows = `${user}, leading-Space-1\n${user},Aa1-password-2\n`;
    const { body } = await post('?asOf=now&duplicates=refuse', `userId,password\n${rows}`);
    expect(body.warnings).toEqual({ password_space_around: 1 });
    expect(await ended(body.id)).toMatchObject({ set: 1, rejected: 1 });
    expect((await pf.get(`/imports/${body.id}/rows/2`)).body).toMatchObject({
      ...{ row: 2, line: 3, reason: 'user_repeated', userId: user, inEffect: false, advice: expect.any(String) },
    });
  });
});

describe('the body', () => {
  const plain = 'userId,password\nnobody,Aa1-password\n';
  const form = (parts: string) => Buffer.from(parts.replaceAll('\n', '\r\n'));
  const boundary = 'xxBOUNDARYxx';
  const multipart = { 'content-type': `multipart/form-data; boundary=${boundary}` };
  const filePart = `--${boundary}\nContent-Disposition: form-data; name="file"; filename="a.csv"\n\n${plain}`;

  it.each([
    ['gzip', 'application/gzip', {}],
    ['a CSV with content-encoding gzip', 'text/csv', { 'content-encoding': 'gzip' }],
    ['whatever it is', 'application/octet-stream', {}],
  ])('may be %s', async (_what, type, more) => {
    const answer = await postBytes('?asOf=now', gzipSync(plain), { 'content-type': type, ...more });
    expect(answer).toMatchObject({ status: 202, body: { received: 1, options: { format: 'csv' } } });
  });

  it('may be a form with one file, and with nothing else', async () => {
    const one = await postBytes('?asOf=now', form(`${filePart}\n--${boundary}--\n`), multipart);
    expect(one).toMatchObject({ status: 202, body: { received: 1 } });
    const field = `--${boundary}\nContent-Disposition: form-data; name="asOf"\n\nnow\n`;
    for (const bad of [
      `${field}${filePart}\n--${boundary}--\n`,
      `${filePart}\n${filePart}\n--${boundary}--\n`,
      filePart,
      plain,
      '',
    ]) {
      expect(await postBytes('?asOf=now', form(bad), multipart)).toMatchObject({
        status: 400,
        body: { reason: 'multipart_invalid' },
      });
    }
    expect(await postBytes('?asOf=now', form(filePart), { 'content-type': 'multipart/form-data' })).toMatchObject({
      body: { reason: 'multipart_invalid' },
    });
  });

  it('is refused in other encodings', async () => {
    expect(await postBytes('?asOf=now', form(plain), { ...csv.headers, 'content-encoding': 'br' })).toMatchObject({
      status: 415,
      body: { reason: 'media_type_unsupported' },
    });
  });

  it('is another one under the same key: refused, and the first goes on', async () => {
    const headers = { ...csv.headers, 'idempotency-key': randomUUID() };
    const first = await post('?asOf=now', plain, { headers });
    for (const other of ['userId,password\nsomebody,Aa1-password\n', `${plain}more,Aa1-password\n`]) {
      expect(await post('?asOf=now', other, { headers })).toMatchObject({
        status: 422,
        body: { reason: 'idempotency_key_reused' },
      });
    }
    expect(await post('?asOf=now&rate=1', plain, { headers })).toMatchObject({ status: 422 });
    expect((await post('?asOf=now', plain, { headers })).body.id).toBe(first.body.id);
    expect(await ended(first.body.id)).toMatchObject({ received: 1 });
  });
});

describe('a run', () => {
  /** One that does not begin by itself within this test. */
  async function standing(count = 3): Promise<{ id: string; users: string[] }> {
    const users = await people(count);
    const notBefore = new Date(Date.now() + 3_600_000).toISOString();
    const rows = users.map((user) => `${user},Aa1-password-new`).join('\n');
    const { body, status, text } = await post(`?asOf=now&notBefore=${notBefore}`, `userId,password\n${rows}\n`);
    expect(status, text).toBe(202);
    return { id: body.id, users };
  }
  const tell = (id: string, verb: string, more: RequestOptions = {}) =>
    pf.post(`/imports/${id}:${verb}`, undefined, more);

  it('is paused, goes on, is cancelled; then nothing is told to it any more', async () => {
    const { id, users } = await standing();
    expect(await tell(id, 'pause')).toMatchObject({ status: 200, body: { id, state: 'paused' } });
    expect(await tell(id, 'pause')).toMatchObject({ status: 200, body: { state: 'paused' } });
    expect(await tell(id, 'resume')).toMatchObject({ status: 200, body: { state: 'running' } });
    expect(await tell(id, 'retry')).toMatchObject({ status: 409, body: { reason: 'run_not_over' } });
    expect(await tell(id, 'cancel')).toMatchObject({ status: 200, body: { state: 'cancelled', canceled: 3 } });
    expect(await tell(id, 'cancel')).toMatchObject({ status: 200 });
    for (const verb of ['pause', 'resume', 'retry']) {
      expect(await tell(id, verb)).toMatchObject({ body: { reason: 'run_ended' } });
    }
    expect(await pf.works('acme', users[0] as string, 'Old-password-1')).toBe(true);
    const { text } = await pf.get(`/imports/${id}/rejects?format=csv`);
    expect(text.match(/run_canceled/g)).toHaveLength(3);
    expect(await tell(id, 'explode')).toMatchObject({ status: 405 });
  });

  it('that nobody knows, or that is another organization’s, is unknown', async () => {
    const headers = { ...csv.headers, 'x-zitadel-orgid': 'globex' };
    const { body } = await post('?asOf=now', 'userId,password\nnobody,Aa1-password\n', { headers });
    for (const id of [body.id, 'r0-0123456789abcdefghjkmnpqrs', 'r0-x']) {
      for (const path of ['', '/events', '/rejects', '/rows/1']) {
        expect(await pf.get(`/imports/${id}${path}`, { as: 'reader' })).toMatchObject({
          status: 404,
          body: { reason: 'run_unknown' },
        });
      }
      expect(await tell(id, 'cancel', { as: 'reader' })).toMatchObject({
        status: 404,
        body: { reason: 'run_unknown' },
      });
    }
    await ended(body.id);
    expect(await pf.get(`/imports/${body.id}/rows/2`)).toMatchObject({ status: 404, body: { reason: 'row_unknown' } });
  });

  it('may be read by who reads, and changed only by who imports', async () => {
    const { id } = await standing(1);
    expect(await pf.get(`/imports/${id}`, { as: 'reader' })).toMatchObject({ status: 200 });
    expect(await tell(id, 'cancel', { as: 'reader' })).toMatchObject({ status: 403 });
    await tell(id, 'cancel');
  });

  it('stands in the list, page by page, the newest first', async () => {
    const made = [await standing(1), await standing(1), await standing(1)].map(({ id }) => id);
    const first = await pf.get('/imports?limit=2');
    expect(first.body.imports.map(({ id }: { id: string }) => id)).toEqual([made[2], made[1]]);
    const second = await pf.get(`/imports?limit=1&cursor=${first.body.next}`);
    expect(second.body.imports[0].id).toBe(made[0]);
    expect(await pf.get('/imports?cursor=x')).toMatchObject({ body: { reason: 'cursor_invalid' } });
    expect((await pf.get('/imports', { headers: { 'x-zitadel-orgid': 'globex' } })).text).not.toContain(made[0]);
    for (const id of made) await tell(id, 'cancel');
  });

  it('is waited for until it changes, and until it is over', async () => {
    const { id } = await standing(1);
    const tag = (await pf.get(`/imports/${id}`)).headers.get('etag') ?? '';
    const same = { 'if-none-match': tag };
    expect(await pf.get(`/imports/${id}`, { headers: same })).toMatchObject({ status: 304 });
    const changed = pf.get(`/imports/${id}`, { headers: { ...same, prefer: 'wait=30' } });
    await tell(id, 'pause');
    expect(await changed).toMatchObject({ status: 200, body: { state: 'paused' } });
    const over = pf.get(`/imports/${id}`, { headers: { prefer: 'wait=30' } });
    await tell(id, 'cancel');
    expect(await over).toMatchObject({ status: 200, body: { state: 'cancelled' } });
  });

  it('is followed to its end, and not further', async () => {
    const { id } = await standing(1);
    const headers = { authorization: `Bearer ${pf.token}` };
    const stream = fetch(`${pf.url}/imports/${id}/events`, { headers }).then((answer) => answer.text());
    await tell(id, 'cancel');
    const text = await stream;
    const [, last = ''] = /\nid: (\d+-\d+)\nevent: state\ndata: (?=[^\n]*"state":"cancelled")/.exec(text) ?? [];
    expect(text).toContain('"state":"cancelled"');
    expect(last).not.toBe('');
    const again = await fetch(`${pf.url}/imports/${id}/events`, { headers: { ...headers, 'last-event-id': last } });
    expect(again.status).toBe(204);
  });

  it('leaves records of what was done to it', async () => {
    const { id } = await standing(1);
    await tell(id, 'pause');
    await tell(id, 'cancel');
    const { body } = await pf.get('/audit?limit=100', { as: 'admin' });
    const actions = body.records.filter((each: { run?: string }) => each.run === id);
    expect(actions.map(({ action, result }: { action: string; result: string }) => `${action} ${result}`)).toEqual([
      'import-cancel accepted',
      'import-pause accepted',
      'import accepted',
    ]);
  });
});
