import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createAudit } from '../src/ledger/audit.ts';
import { type AuditFilter, type AuditView, createAuditReader } from '../src/ledger/audit-read.ts';
import { createSamples } from '../src/producer/audit-samples.ts';
import { hashToken } from '../src/producer/callers.ts';
import { connectRedis } from '../src/redis.ts';
import { find, makeCanary } from './kit/canary.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry, tokens } from './kit/passferry.ts';
import { rpcClients } from './kit/rpc-clients.ts';
import { waitFor } from './kit/wait.ts';

let pf: Passferry;

const root = fileURLToPath(new URL('..', import.meta.url));
function runCli(args: string[], more: Record<string, string>) {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], {
    cwd: root,
    env: { ...process.env, ...more },
  });
  const printed = { out: '', err: '' };
  child.stdout.on('data', (part) => (printed.out += part));
  child.stderr.on('data', (part) => (printed.err += part));
  return new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...printed }));
  });
}

beforeAll(async () => {
  pf = await startPassferry({ serveEnv: { PASSFERRY_WEBHOOK_ALLOW: '127.0.0.1' } });
  const grant = (...list: string[]) => ({ acme: list, globex: list });
  const caller = (name: string, grants: object) => ({
    ...{ name, home: 'acme', grants },
    tokenSha256: hashToken(tokens[name as keyof typeof tokens] ?? `pf_test-${name}`),
  });
  writeFileSync(
    join(pf.keysDir, 'callers.json'),
    JSON.stringify({
      callers: [
        caller('full', grant('set', 'import', 'read')),
        caller('reader', { acme: ['read'] }),
        caller('admin', grant('admin')),
        caller('operator', { acme: ['admin'], '*': ['operate'] }),
      ],
    }),
  );
});

const operator = { as: null, headers: { authorization: 'Bearer pf_test-operator' } } as const;

async function read(query = '', org = 'acme'): Promise<AuditView[]> {
  const { body } = await pf.get(`/audit?${query}`, { as: 'admin', headers: { 'x-zitadel-orgid': org } });
  return body.records;
}
/** Refused ones are written beside their answer. */
const about = (user: string, n: number, org = 'acme') =>
  waitFor(
    async () => {
      const found = await read(`user=${user}`, org);
      return found.length >= n ? found : undefined;
    },
    { what: `${n} records about ${user}` },
  );

describe('a request leaves exactly one record', () => {
  test('accepted over REST: who, what, whom, which job, from where, when', async () => {
    await pf.addUser('acme', 'rest');
    const before = Date.now();
    const { headers } = await pf.set('acme', 'rest', 'New-password-1');
    const [record, ...more] = await about('rest', 1);
    expect(more).toEqual([]);
    expect(record).toEqual({
      ...{ id: expect.any(String), time: expect.any(String), action: 'set', result: 'accepted' },
      ...{ caller: 'full', org: 'acme', user: 'rest', job: headers.get('passferry-job'), from: '127.0.0.1' },
    });
    // In the same step as the job; Redis reads its clock twice in it.
    const { acceptedAt } = (await pf.get(`/jobs/${headers.get('passferry-job')}`)).body;
    for (const time of [record?.time, acceptedAt]) {
      expect(Date.parse(time)).toBeGreaterThanOrEqual(before);
      expect(Date.parse(time)).toBeLessThanOrEqual(Date.now());
    }
  });

  test('a repeat of it under its key has its own, which says so', async () => {
    const headers = { 'idempotency-key': 'again' };
    await pf.set('acme', 'rest-2', 'New-password-1', { headers });
    await pf.set('acme', 'rest-2', 'New-password-1', { headers });
    const [repeat, first] = await about('rest-2', 2);
    expect(first).not.toHaveProperty('replayed');
    expect(repeat).toMatchObject({ result: 'accepted', replayed: true, job: (first as { job: string }).job });
  });

  test('refused over REST', async () => {
    await pf.set('acme', 'bad', '');
    expect(await about('bad', 1)).toEqual([
      expect.objectContaining({ result: 'refused', reason: 'password_missing', action: 'set', user: 'bad' }),
    ]);
  });

  test.each(rpcClients.map((client) => [client.name, client] as const))('over %s', async (name, client) => {
    const user = name.replace(/\W/g, '-').toLowerCase();
    await pf.addUser('acme', user);
    const headers = { 'x-zitadel-orgid': 'acme' };
    await client.set(pf.url, { userId: user, password: 'New-password-1' }, { token: pf.token, headers });
    expect(await about(user, 1)).toEqual([expect.objectContaining({ result: 'accepted', from: '127.0.0.1' })]);
  });

  test('each item of a list, accepted and refused', async () => {
    const jobs = [
      { user: 'one', password: 'New-password-1' },
      { user: 'two', password: 'x'.repeat(80) },
      { user: 'three', password: 'New-password-1', org: 'globex' },
    ];
    const before = (await read('action=set&limit=500')).length;
    await pf.post('/jobs', { jobs }, { headers: { 'content-type': 'application/json' } });
    await about('one', 1);
    await about('three', 1, 'globex');
    const after = await waitFor(
      async () => {
        const found = await read('action=set&limit=500');
        return found.length >= before + 2 ? found : undefined;
      },
      { what: 'the refused item' },
    );
    expect(after).toHaveLength(before + 2);
    expect(after).toContainEqual(expect.objectContaining({ result: 'refused', reason: 'password_too_long' }));
  });

  test('an import: one, whatever its rows', async () => {
    const file = 'userId,password\nr1,New-password-1\nr2,New-password-1\n';
    const { body } = await pf.post('/imports?asOf=now', file, { headers: { 'content-type': 'text/csv' } });
    expect(await read('action=import')).toEqual([
      expect.objectContaining({ result: 'accepted', run: body.id, caller: 'full' }),
    ]);
    await pf.post('/imports?asOf=now', file, { as: 'reader', headers: { 'content-type': 'text/csv' } });
    await waitFor(async () => (await read('action=import&caller=reader')).length === 1, { what: 'the refused one' });
  });

  test.each([
    ['cancel', 'DELETE', '', 'job_done'],
    ['retry', 'POST', ':retry', 'job_not_failed'],
    ['drop', 'POST', ':drop', 'job_not_failed'],
    ['release', 'POST', ':release', 'AUTH-5mWD2'],
  ])('%s, refused for what the job is', async (action, method, verb, reason) => {
    const user = `for-${action}`;
    await pf.addUser('acme', user);
    const job = (await pf.set('acme', user, 'New-password-1')).headers.get('passferry-job') as string;
    await pf.send(method, `/jobs/${job}${verb}`, method === 'POST' ? { reason: 'why' } : undefined, {
      headers: method === 'POST' ? { 'content-type': 'application/json' } : {},
    });
    const [record, ...more] = await about(user, 2);
    expect(record).toMatchObject({ action, result: 'refused', reason, job, user });
    expect(more).toHaveLength(1);
  });

  test('retry and drop, accepted', async () => {
    const job = (await pf.set('acme', 'nobody-here', 'New-password-1')).headers.get('passferry-job') as string;
    await pf.done(job);
    const headers = { 'content-type': 'application/json' };
    expect((await pf.post(`/jobs/${job}:retry`, {}, { headers })).status).toBe(200);
    await waitFor(async () => (await pf.get(`/jobs/${job}`)).body.done, { what: 'its end' });
    expect((await pf.post(`/jobs/${job}:drop`, { reason: 'gone' }, { headers })).status).toBe(200);
    expect(await about('nobody-here', 3)).toEqual(
      ['drop', 'retry', 'set'].map((action) => expect.objectContaining({ action, job, result: 'accepted' })),
    );
  });

  test('a hold and its end, for whoever may see what concerns all', async () => {
    const headers = { ...operator.headers, 'content-type': 'application/json' };
    await pf.send('PUT', '/holds/v2', { reason: 'upgrade' }, { as: null, headers });
    await pf.send('DELETE', '/holds/v2', undefined, operator);
    const { body } = await pf.get('/audit?org=*&caller=operator', operator);
    expect(body.records).toEqual(
      ['lift', 'hold'].map((action) =>
        expect.objectContaining({ action, backend: 'v2', org: '*', result: 'accepted' }),
      ),
    );
    expect((await pf.get('/audit?org=*', { as: 'admin' })).status).toBe(403);
  });

  test('what is done with a webhook', async () => {
    const as = { as: 'admin', headers: { 'content-type': 'application/json' } } as const;
    expect((await pf.post('/webhooks', { url: 'http://10.0.0.1/' }, as)).status).toBe(400);
    const { body } = await pf.post('/webhooks', { url: 'http://127.0.0.1:9/' }, as);
    await pf.post(`/webhooks/${body.id}:disable`, { reason: 'why' }, as);
    await pf.post(`/webhooks/${body.id}:rotate`, {}, { ...as, as: 'full' });
    await pf.send('DELETE', `/webhooks/${body.id}`, undefined, { as: 'admin' });
    const found = await waitFor(
      async () => {
        const all = (await read('limit=50')).filter((each) => 'action' in each && each.action.startsWith('webhook'));
        return all.length >= 5 ? all : undefined;
      },
      { what: 'the records' },
    );
    const told = found.map((each) => ('action' in each ? [each.action, each.result, each.webhook ?? each.reason] : []));
    expect(told).toHaveLength(5);
    expect(told).toEqual(
      expect.arrayContaining([
        ['webhook-add', 'refused', 'webhook_url_forbidden'],
        ['webhook-add', 'accepted', body.id],
        ['webhook-disable', 'accepted', body.id],
        ['webhook-rotate', 'refused', 'webhook_unknown'],
        ['webhook-remove', 'accepted', body.id],
      ]),
    );
  });

  test('reading leaves none, also where a body says what to read', async () => {
    const csv = { headers: { 'content-type': 'text/csv' } };
    const { id } = (await pf.post('/imports?asOf=now', 'userId,password\nnobody,x-password-1\n', csv)).body;
    const all = await waitFor(
      async () => {
        const found = await read('limit=500');
        return found.some((each) => 'run' in each && each.run === id) ? found : undefined;
      },
      { what: 'the record of the import' },
    );
    await pf.get('/jobs?state=failed');
    const { body: evidence } = await pf.get(`/imports/${id}/evidence`);
    const verified = await pf.post(`/imports/${id}/evidence:verify`, evidence, {
      headers: { 'content-type': 'application/json' },
    });
    expect(verified.body.genuine).toBe(true);
    expect(await read('limit=500')).toEqual(all);
  });
});

describe('who may read', () => {
  test('nobody without admin, and nothing of another organization', async () => {
    expect((await pf.get('/audit')).body.reason).toBe('AUTH-5mWD2');
    expect((await pf.get('/audit?org=globex', { as: 'reader' })).body.reason).toBe('AUTHZ-cdgFk');
    await pf.set('globex', 'hers', 'New-password-1');
    expect(await about('hers', 1, 'globex')).toHaveLength(1);
    expect(await read('user=hers')).toEqual([]);
    expect((await read('limit=500')).every((each) => 'org' in each && each.org === 'acme')).toBe(true);
  });

  test('a caller without anything there stands in the records of his own', async () => {
    await pf.set('globex', 'foreign', 'New-password-1', { as: 'reader' });
    expect(await about('foreign', 1)).toEqual([expect.objectContaining({ caller: 'reader', result: 'refused' })]);
    expect(await read('user=foreign', 'globex')).toEqual([]);
  });

  test('pages and NDJSON have the same, by time too', async () => {
    const all = await read('limit=500');
    const pages: AuditView[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await pf.get(`/audit?limit=3${cursor}`, { as: 'admin' });
      pages.push(...body.records);
      if (!body.next) break;
      cursor = `&cursor=${body.next}`;
    }
    expect(pages).toEqual(all);
    const { text } = await pf.get('/audit', { as: 'admin', headers: { accept: 'application/x-ndjson' } });
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(all);
    const middle = all[Math.floor(all.length / 2)] as AuditView;
    const older = await read(`limit=500&until=${middle.time}`);
    const younger = await read(`limit=500&since=${middle.time}`);
    expect([...younger, ...older]).toEqual(all);
  });

  test.each(['since=yesterday', 'action=steal', 'limit=0', 'cursor=x', 'user=a&user=b'])(
    '%s is refused',
    async (query) => {
      expect((await pf.get(`/audit?${query}`, { as: 'admin' })).status).toBe(400);
    },
  );
});

test('refused tokens are counted, however many and from wherever', async () => {
  for (let i = 0; i < 5; i++) {
    await pf.get('/jobs', { as: null, headers: { authorization: `Bearer wrong-${i}` } });
  }
  const found = await pf.get('/audit?org=*&action=authenticate', operator);
  expect(found.body.records).toEqual([
    expect.objectContaining({ result: 'refused', reason: 'AUTH-7fs1e', from: '127.0.0.1', org: '*' }),
  ]);
  expect(found.text).not.toContain('wrong-');
});

test('a password stands in no record and in no line of the log, wherever it was put', async () => {
  const canary = makeCanary();
  const { password } = canary;
  await pf.addUser('acme', 'secret');
  await pf.set('acme', 'secret', password);
  await pf.post(
    '/jobs',
    {
      jobs: [
        { user: 'secret', password },
        { user: 'secret', password: 7, more: password },
      ],
    },
    {
      headers: { 'content-type': 'application/json' },
    },
  );
  await pf.post('/imports?asOf=now', `userId,password\nsecret,"${password.replaceAll('"', '""')}"\n`, {
    headers: { 'content-type': 'text/csv' },
  });
  await about('secret', 2);
  const client = connectRedis({ url: pf.redis.url }, 'worker');
  const stored = JSON.stringify(await client.xrange(redisKeys('passferry').audit, '-', '+'));
  client.disconnect();
  expect(find(canary, stored)).toEqual([]);
  const lines = pf.lines.filter((line) => line.includes('"audit":true'));
  expect(lines.length).toBeGreaterThan(10);
  expect(find(canary, lines.join(''))).toEqual([]);
});

describe('passferry audit', () => {
  const cli = (args: string[], token: string = tokens.admin) =>
    runCli(args, { PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: token });

  test('one line each, newest first; --json; other organizations only for whom they are granted', async () => {
    await pf.set('acme', 'by-cli', '');
    await about('by-cli', 1);
    const { code, out, err } = await cli(['audit', '--user', 'by-cli', '--since', '1h']);
    expect(out).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC {2}full: set by-cli: REFUSED \(password_missing\) {2}from 127\.0\.0\.1\n$/,
    );
    expect([code, err]).toEqual([0, '1 record\n']);
    const json = await cli(['audit', '--caller', 'full', '--action', 'set', '--user', 'by-cli', '--json']);
    expect(JSON.parse(json.out)).toMatchObject({ action: 'set', caller: 'full' });
    expect((await cli(['audit', '--until', '2020-01-01'])).out).toBe('no records\n');
    const refused = await cli(['audit'], tokens.full);
    expect(refused).toMatchObject({ code: 1, out: '' });
    expect(refused.err).toContain('AUTH-5mWD2');
    expect(await cli(['audit', '--since', 'soon'])).toMatchObject({ code: 2 });
  });

  test('a forged record is seen at a glance and by the exit code', async () => {
    const client = connectRedis({ url: pf.redis.url }, 'worker');
    const id = (await client.xadd(redisKeys('passferry').audit, '*', 'b', '[]', 'm', '', 'k', '')) as string;
    const { code, out, err } = await cli(['audit']);
    await client.xdel(redisKeys('passferry').audit, id);
    client.disconnect();
    expect(code).toBe(1);
    expect(out.split('\n')[0]).toContain('FORGED');
    expect(err).toContain('compare with the log');
  });
});

describe('the store', () => {
  let scenes = 0;
  function scene(options: { retentionMs?: number; max?: number } = {}) {
    const redis = connectRedis({ url: pf.redis.url }, 'worker');
    const keys = redisKeys(`audit-${scenes++}`);
    const jobKey = readJobKey(pf.keysDir);
    const audit = createAudit({ redis, keys, jobKey, ...options });
    atEnd(async () => {
      await audit.close();
      redis.disconnect();
    });
    const reader = createAuditReader({ redis, keys, jobKey });
    const write = (user: string) => audit.entry({ action: 'set', caller: 'me', org: 'acme', user }).accepted();
    const list = async (limit = 100, filter: Partial<AuditFilter> = {}) =>
      (await reader.page({ org: 'acme', ...filter }, limit)).records;
    return { redis, keys, jobKey, audit, reader, write, list };
  }
  /** Records that are old enough to be missed. */
  async function writeLongAgo(n: number) {
    const made = scene();
    for (let i = 0; i < n; i++) await made.write(`u${i}`);
    const stored = await made.redis.xrange(made.keys.audit, '-', '+');
    await made.redis.del(made.keys.audit);
    const minuteAgo = Number(stored[0]?.[0].split('-')[0]) - 60_000;
    for (const [i, [, fields]] of stored.entries())
      await made.redis.xadd(made.keys.audit, `${minuteAgo}-${i}`, ...fields);
    return { ...made, ids: stored.map((_, i) => `${minuteAgo}-${i}`) };
  }

  test('a record that a writer of Redis made, changed or moved is told as forged, and nothing of it', async () => {
    const { redis, keys, write, list } = scene();
    await write('one');
    const [[, fields] = ['', []]] = await redis.xrange(keys.audit, '-', '+');
    const changed = fields.map((each) => each.replace('"one"', '"two"'));
    await redis.xadd(keys.audit, '*', ...changed);
    await redis.xadd(keys.audit, '*', 'b', '[1,"p",1,1,"set"]', 'm', 'x', 'k', 'y');
    await redis.xadd(keys.audit, '*', 'hello', 'world');
    await redis.xadd(keys.audit, `${Date.now() + 3_600_000}-0`, ...fields);
    const told = await list();
    expect(told.map(({ result }) => result)).toEqual(['forged', 'forged', 'forged', 'forged', 'accepted']);
    expect(Object.keys(told[0] ?? {})).toEqual(['id', 'time', 'result']);
  });

  test('one that was copied is told once', async () => {
    const { redis, keys, write, list } = scene();
    await write('one');
    const [[, fields] = ['', []]] = await redis.xrange(keys.audit, '-', '+');
    await redis.xadd(keys.audit, '*', ...fields);
    expect(await list()).toHaveLength(1);
  });

  test.each([1, 2, 3, 100])('those that were deleted are told as a gap, pages of %i', async (limit) => {
    const { redis, keys, reader, ids } = await writeLongAgo(8);
    await redis.xdel(keys.audit, ids[3] as string, ids[4] as string, ids[6] as string);
    const told: AuditView[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await reader.page({ org: 'acme' }, limit, cursor);
      told.push(...page.records);
      cursor = page.next;
      if (cursor === undefined) break;
    }
    const seen = told.map((each) => (each.result === 'gap' ? `gap ${each.count}` : (each as { user: string }).user));
    expect(seen).toEqual(['u7', 'gap 1', 'u5', 'gap 2', 'u2', 'u1', 'u0']);
  });

  test('without a hand on it there is no gap, also of requests that overlapped', async () => {
    const { audit, list } = await writeLongAgo(5);
    const [first, second] = [1, 2].map(() => audit.entry({ action: 'set', caller: 'me', org: 'acme' }));
    first?.accepting({});
    await second?.accepted();
    await first?.accepted();
    expect((await list()).filter(({ result }) => result === 'gap')).toEqual([]);
    expect(await list(1)).toHaveLength(1);
  });

  test('one whose process ended in the middle says that nobody knows', async () => {
    const { audit, list } = scene();
    const record = audit.entry({ action: 'drop', caller: 'me', org: 'acme', job: 'j' });
    await record.begun();
    expect(await list()).toEqual([expect.objectContaining({ action: 'drop', result: 'unknown' })]);
    await record.accepted();
    expect(await list()).toEqual([expect.objectContaining({ action: 'drop', result: 'accepted' })]);
  });

  test('under a job key that is gone it is told as not verified', async () => {
    const { redis, keys, write, jobKey } = scene();
    await write('one');
    const other = createAuditReader({ redis, keys, jobKey: { current: Buffer.alloc(32, 1) } });
    expect((await other.page({ org: 'acme' }, 10)).records).toEqual([
      expect.objectContaining({ user: 'one', unverified: true }),
    ]);
    const next = { current: Buffer.alloc(32, 1), previous: jobKey.current };
    const [record] = (await createAuditReader({ redis, keys, jobKey: next }).page({ org: 'acme' }, 10)).records;
    expect(record).not.toHaveProperty('unverified');
  });

  test('is trimmed by age, silently', async () => {
    const { redis, keys, audit, write, list } = scene({ retentionMs: 3_600_000 });
    const old = Date.now() - 7_200_000;
    for (let i = 0; i < 250; i++) await redis.xadd(keys.audit, `${old}-${i + 1}`, 'b', 'x'.repeat(200));
    await write('young');
    await audit.trim();
    const left = await redis.xlen(keys.audit);
    expect(left).toBeLessThan(100);
    expect((await list(100, { since: old + 1 })).map(({ result }) => result)).toEqual(['accepted']);
  });

  test('is trimmed by number, and says so at its end', async () => {
    const { redis, keys, audit, write, list } = scene({ max: 100 });
    await Promise.all(Array.from({ length: 400 }, (_, i) => write(`u${i}`)));
    await audit.trim();
    expect(await redis.xlen(keys.audit)).toBeLessThan(250);
    expect((await list(500)).at(-1)).toMatchObject({ result: 'gap', reason: 'trimmed' });
    expect((await list(10)).filter(({ result }) => result === 'gap')).toEqual([]);
    await redis.set(keys.auditTrimmed, '{"at":1,"mac":"x"}');
    expect((await list(500)).at(-1)).toMatchObject({ result: 'forged' });
  });

  test('an attacker with many addresses makes few records', async () => {
    const { redis, keys, audit } = scene();
    const samples = createSamples(audit);
    for (let i = 0; i < 2_000; i++) samples.refusedToken('AUTH-7fs1e', `10.0.${i >> 8}.${i & 255}`);
    for (let i = 0; i < 500; i++) samples.overLimit('caller_rate', 'me', '10.1.1.1');
    samples.close();
    await audit.flush();
    expect(await redis.xlen(keys.audit)).toBeLessThan(50);
    const reader = createAuditReader({ redis, keys, jobKey: readJobKey(pf.keysDir) });
    const { records } = await reader.page({ org: '*' }, 500);
    const sum = (action: string) =>
      records.reduce((n, each) => ('action' in each && each.action === action ? n + (each.count ?? 1) : n), 0);
    expect([sum('authenticate'), sum('limit')]).toEqual([2_000, 500]);
  });
});

/** Routes that only read: their question does not fit into an address. That they leave no record is tested above. */
const reading = ['/imports/:id/evidence::verify'];

test('every file with a route that changes something says what its records are about', () => {
  const folder = join(root, 'src/producer/http');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const silent = files.filter((name) => {
    const text = readFileSync(join(folder, name), 'utf8');
    const routes = [...text.matchAll(/\.(?:post|put|patch|delete)(?:<.*>)?\(\s*['`]([^'`]*)/g)];
    const changes = routes.some(([, path]) => !reading.includes(path as string));
    return changes && !/\b(about\(request|callV1\()/.test(text);
  });
  expect(silent).toEqual([]);
});

// Last: the records that could not be stored are a gap from then on.
test('a job and its record are one step: without the one there is not the other', async () => {
  const client = connectRedis({ url: pf.redis.url }, 'worker');
  const { audit } = redisKeys('passferry');
  await client.rename(audit, `${audit}-aside`);
  await client.set(audit, 'no stream');
  const headers = { 'idempotency-key': 'one-step' };
  const failed = await pf.set('acme', 'one-step', 'New-password-1', { headers });
  await client.rename(`${audit}-aside`, audit);
  client.disconnect();
  expect(failed.status).toBe(503);
  const { headers: told } = await pf.set('acme', 'one-step', 'New-password-1', { headers });
  expect(told.get('idempotency-replayed')).toBeNull();
  expect(await about('one-step', 1)).toEqual([expect.objectContaining({ job: told.get('passferry-job') })]);
});
