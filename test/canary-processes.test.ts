import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { beforeAll, expect, it } from 'vitest';
import { createV1Postgres, pgClient } from '../src/adapters/v1-postgres/index.ts';
import { createKeyFiles } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { hashToken } from '../src/producer/callers.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { Secret } from '../src/secret.ts';
import { bytes, encodings, find, makeCanary, readRedis, runSet } from './kit/canary.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { startPostgres } from './kit/postgres.ts';
import { startRedis } from './kit/redis.ts';
import { rpcClients } from './kit/rpc-clients.ts';
import { waitFor } from './kit/wait.ts';
import { debugging, spawnWatched, watchedPlaces } from './kit/watching.ts';

/**
 * P4 in real processes that are watched as closely as anybody can, while whatever can fail does. A password goes in on
 * every way; afterwards each place is searched, and a planted control must be found where the password must not.
 */

const canary = makeCanary();
const control = makeCanary();
const { password } = canary;
const token = `pf_${randomBytes(9).toString('hex')}`;
const v2Token = `v2-${randomBytes(9).toString('hex')}`;
/** The whole story, and one wait in it; ms. */
const slow = 400_000;
const long = 120_000;

const processes = ['serve', 'work'] as const;
const redisPlaces = ['keys and values', 'streams', 'slow log', 'append-only file', 'snapshot', 'monitor'];
const otherPlaces = ['log of PostgreSQL', 'rows of PostgreSQL', 'output of set', 'answers'];
/** place → what was found there, as bytes in a text. */
const places: Record<string, string> = {};
const statuses: Record<string, number | string> = {};

beforeAll(async () => {
  const slowLog = ['--slowlog-log-slower-than', '0', '--slowlog-max-len', '100000', '--rdbcompression', 'no'];
  const [redis, postgres] = [await startRedis({ extra: slowLog }), await startPostgres()];
  const direct = new Redis(redis.url);
  atEnd(() => direct.disconnect());
  let monitored = '';
  const monitor: Socket = connect(redis.port, '127.0.0.1');
  atEnd(() => monitor.destroy());
  monitor.on('data', (part) => (monitored += part.toString('latin1')));
  monitor.write('MONITOR\r\n');

  // PostgreSQL tells everything, parameters too.
  const sql = new pg.Client({ connectionString: postgres.url });
  await sql.connect();
  atEnd(() => sql.end());
  sql.on('error', () => {});
  for (const setting of [`log_statement = 'all'`, 'log_parameter_max_length_on_error = -1']) {
    await sql.query(`alter system set ${setting}`);
  }
  await sql.query('select pg_reload_conf()');
  const v1 = await createV1Postgres({ sql: pgClient(postgres.url), bcryptCost: 4 });
  atEnd(() => v1.close());
  await v1.migrate();
  const sandbox = await startSandbox({
    bcryptCost: 4,
    tokens: { [v2Token]: { userId: 'worker', roles: { instance: ['IAM_OWNER'] } } },
    orgs: ['acme', 'globex'],
    silentOrgs: ['acme', 'globex'],
  });
  atEnd(() => sandbox.close());

  const dir = tempDir();
  const keysDir = join(dir, 'keys');
  await createKeyFiles(keysDir);
  const callers = join(dir, 'callers.json');
  const grants = { acme: ['set', 'import', 'read'], globex: ['set', 'import', 'read'] };
  const caller = { name: 'canary', tokenSha256: hashToken(token), home: 'acme', grants };
  writeFileSync(callers, JSON.stringify({ callers: [caller] }));
  writeFileSync(join(dir, 'v2-token'), v2Token);
  const shared = {
    PASSFERRY_REDIS_URL: redis.url,
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { globex: 'v2' } }),
    PASSFERRY_LOG_LEVEL: 'debug',
    UV_THREADPOOL_SIZE: '4',
  };
  const serve = spawnWatched('serve', control.core, {
    ...shared,
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callers,
  });
  const work = spawnWatched('work', control.core, {
    ...shared,
    PASSFERRY_V1_URL: postgres.url,
    PASSFERRY_V1_BCRYPT_COST: '4',
    PASSFERRY_V2_URL: sandbox.url,
    PASSFERRY_V2_TOKEN_FILE: join(dir, 'v2-token'),
    PASSFERRY_V2_DEADLINE: '3s',
    PASSFERRY_V2_SETTLE: '1s',
  });
  const url = JSON.parse(await serve.child.waitForLine(/^\{.*"serving"/, long)).url as string;
  await waitFor(async () => (await fetch(`${url}/readyz`)).ok, { what: 'readyz', timeoutMs: long });

  const answers: string[] = [];
  async function send(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
    const all = { authorization: `Bearer ${token}`, ...headers };
    const answer = await fetch(`${url}${path}`, { method, headers: all, ...(body !== undefined && { body }) });
    const text = await answer.text();
    answers.push(`${answer.status} ${JSON.stringify([...answer.headers])} ${text}`);
    return { status: answer.status, headers: answer.headers, body: JSON.parse(text) };
  }
  const set = (org: string, user: string, headers = {}, body = JSON.stringify({ password })) =>
    send('POST', `/users/${encodeURIComponent(user)}/password`, body, { 'x-zitadel-orgid': org, ...headers });
  /** Accepted without waiting: its id. */
  const later = async (org: string, user: string): Promise<string> =>
    (await set(org, user, { prefer: 'respond-async' })).body.id;
  const view = async (id: string) => (await send('GET', `/jobs/${id}`)).body;
  const waits = (id: string) =>
    waitFor(async () => (await view(id)).waitingFor, { what: `job ${id} to wait`, timeoutMs: long });
  const done = (id: string) =>
    waitFor(async () => (await view(id)).done, { what: `job ${id} to be done`, timeoutMs: long });
  const added: [string, string][] = [];
  async function addUser(org: 'acme' | 'globex'): Promise<string> {
    const user = randomUUID();
    if (org === 'acme') await v1.addUsers([{ id: user, org, password: 'Old-password-1' }]);
    else await sandbox.addUser({ id: user, org, userName: user, password: 'Old-password-1' });
    added.push([org, user]);
    return user;
  }

  // Everything goes well, and every refusal.
  statuses.v1 = (await set('acme', await addUser('acme'))).status;
  statuses.v2 = (await set('globex', await addUser('globex'))).status;
  statuses.unknown = (await set('acme', 'nobody')).status;
  statuses['not JSON'] = (await set('acme', 'x', {}, `{"password":${JSON.stringify(password)},`)).status;
  statuses['too long'] = (await set('acme', 'x', {}, JSON.stringify({ password: password.repeat(9) }))).status;
  statuses['too large'] = (await set('acme', 'x', {}, JSON.stringify({ password: password.repeat(3_000) }))).status;
  const rows = [await addUser('acme'), 'nobody', await addUser('acme')].map((userId) => ({ userId, password }));
  const quoted = `"${password.replaceAll('"', '""')}"`;
  const files = {
    'application/x-ndjson': `${rows.map((row) => JSON.stringify(row)).join('\n')}\n{"userId":"x","password":${password}`,
    'text/csv': `userId,password\n${await addUser('acme')},${quoted}\nx,${password}\nx,${quoted},${quoted}\n`,
  };
  for (const [type, file] of Object.entries(files)) {
    const run = await send('POST', '/imports?asOf=now', file, { 'content-type': type });
    const completed = async () => (await send('GET', `/imports/${run.body.id}`)).body.state === 'completed';
    await waitFor(completed, { what: 'the import to complete', timeoutMs: long });
  }
  // Every other protocol, good and refused, and many at once.
  for (const client of rpcClients) {
    const call = async (userId: string, plain: string) => {
      const told = await client.set(url, { userId, password: plain }, { token });
      answers.push(
        `${JSON.stringify(told, (_, v) => (typeof v === 'bigint' ? String(v) : v))} ${[...told.headers].join()}`,
      );
      return told.code;
    };
    const codes = [await call(await addUser('acme'), password), await call('nobody', password)];
    statuses[client.name] = [...codes, await call('x', password.repeat(9))].join();
  }
  const rpcPath = '/zitadel.management.v1.ManagementService/SetHumanPassword';
  const cutShort = `{"userId":"x","password":${JSON.stringify(password)},`;
  statuses['Connect, not JSON'] = (
    await send('POST', rpcPath, cutShort, { 'content-type': 'application/json' })
  ).status;
  const jobs = [await addUser('acme'), await addUser('acme'), 'nobody', ''].map((user) => ({ user, password }));
  const batch = await send('POST', '/jobs', JSON.stringify({ jobs }), { 'content-type': 'application/json' });
  statuses.batch = batch.status;
  for (const { id } of batch.body.jobs) if (id) await done(id);
  const cli = { PASSFERRY_URL: url, PASSFERRY_TOKEN: token, ...debugging };
  const printed = [await runSet(await addUser('acme'), password, cli), await runSet('nobody', password, cli)];
  places['output of set'] = printed.map((each) => each.printed).join('\n');

  // Redis refuses: full, read-only, and a key of another type, first in serve, then in work.
  const keys = redisKeys('passferry');
  await direct.config('SET', 'maxmemory', '1');
  statuses.OOM = (await set('acme', await addUser('acme').finally(() => added.pop()))).status;
  await direct.config('SET', 'maxmemory', '0');
  await direct.call('REPLICAOF', '127.0.0.1', '1');
  statuses.READONLY = (await set('acme', 'x')).status;
  await direct.call('REPLICAOF', 'NO', 'ONE');
  await direct.rename(keys.sequence, 'away');
  await direct.lpush(keys.sequence, 'x');
  statuses.WRONGTYPE = (await set('acme', 'x')).status;
  await direct.del(keys.sequence);
  await direct.rename('away', keys.sequence);

  const typed = await addUser('acme');
  work.child.stop();
  const ofType = await later('acme', typed);
  const key = keys.user('acme', typed);
  const there = await direct.exists(key);
  if (there) await direct.rename(key, 'away');
  await direct.set(key, 'x');
  work.child.cont();
  await work.child.waitForLine(new RegExp(`${ofType}.*job put off`), long);
  await direct.del(key);
  if (there) await direct.rename('away', key);
  await done(ofType);

  const full = await addUser('globex');
  sandbox.faults.add({ call: 'SetPassword', user: full, times: 1, fault: { kind: 'latency', ms: 1_500 } });
  const ofFull = await later('globex', full);
  await waitFor(async () => (await view(ofFull)).attempts, { what: 'the attempt to be on record' });
  await direct.config('SET', 'maxmemory', '1');
  await work.child.waitForLine(new RegExp(`${ofFull}.*job put off`), long);
  await direct.config('SET', 'maxmemory', '0');
  await done(ofFull);

  // PostgreSQL refuses: a statement that fails, and a row whose text it quotes.
  const [one, two] = [await addUser('acme'), await addUser('acme')];
  await sql.query('alter table "users" rename column "password_hash" to "away"');
  const statement = await later('acme', one);
  await waits(statement);
  await sql.query('alter table "users" rename column "away" to "password_hash"');
  await done(statement);
  await sql.query(`alter table "users" add constraint "never" check ("password_hash" is null) not valid`);
  const constrained = await later('acme', two);
  await waits(constrained);
  await sql.query('alter table "users" drop constraint "never"');
  await done(constrained);

  // ZITADEL fails.
  for (const kind of ['html', '503', 'cut-before', 'cut-after'] as const) {
    const user = await addUser('globex');
    sandbox.faults.add({ call: 'SetPassword', user, times: 1, fault: { kind } });
    await done(await later('globex', user));
  }

  for (const [org, user] of added) {
    const secret = Secret.fromString(password);
    const works =
      org === 'globex' ? sandbox.verify(user, password) : v1.prove(org, user, secret, AbortSignal.timeout(long));
    expect(await works, `${org} ${user}`).toBe(true);
  }

  // The control where the hook cannot plant it.
  const planted = Object.values(encodings).map((encode) => encode(control.password));
  await direct.set('control', planted.join('\n'));
  await direct.xadd('control-stream', '*', 'field', planted.join('\n'));
  // PostgreSQL knows no NUL.
  const texts = [planted.join('\n').replaceAll('\0', '')];
  await sql.query('create table "control" ("text" text)');
  await sql.query('insert into "control" values ($1)', texts);
  await set('acme', control.core, { 'idempotency-key': control.core });
  places['output of set'] += (await runSet(control.core, password, cli)).printed;
  await waitFor(() => find(control, monitored).length > 0, { what: 'the monitor to see the control' });

  for (const [name, each] of Object.entries({ serve, work })) {
    for (const [place, text] of Object.entries(await each.read())) places[`${name}: ${place}`] = text;
  }
  const stored = await readRedis(direct, redis.dir);
  places['keys and values'] = stored.values ?? '';
  places.streams = stored.streams ?? '';
  places['slow log'] = stored['slow log'] ?? '';
  places['append-only file'] = Object.entries(stored)
    .flatMap(([n, text]) => (n.endsWith('.aof') ? text : []))
    .join();
  places.snapshot = stored['dump.rdb'] ?? '';
  places.monitor = monitored;
  places['log of PostgreSQL'] = bytes(postgres.log());
  let dump = '';
  for (const table of ['users', 'passferry_users', 'passferry_events', 'control']) {
    const { rows: all } = await sql.query(`select t::text as "text" from "${table}" t`);
    dump += all.map((row) => row.text).join('\n');
  }
  places['rows of PostgreSQL'] = bytes(dump);
  places.answers = bytes(answers.join('\n'));
}, slow);

it('what was provoked came true', () => {
  expect(statuses).toEqual({
    ...{ v1: 200, v2: 200, unknown: 400, 'not JSON': 400, 'too long': 400, 'too large': 413 },
    ...Object.fromEntries(rpcClients.map(({ name }) => [name, '0,9,3'])),
    ...{ 'Connect, not JSON': 400, batch: 202 },
    ...{ OOM: 503, READONLY: 503, WRONGTYPE: 503 },
  });
  for (const text of ['job put off', 'ioredis:', 'HTTP2 ', 'NET ']) expect(places['work: output']).toContain(text);
  for (const text of ['violates check constraint', 'Failing row contains', 'does not exist', 'parameters: $1']) {
    expect(places['log of PostgreSQL']).toContain(text);
  }
  for (const text of ['passferry:job:begun', 'ioredis:command', 'http.']) {
    expect(`${places['serve: traces']}${places['work: traces']}`).toContain(text);
  }
});

/** Where every encoding stands as it was written; the others escape, quote or drop some characters. */
const verbatim = /idle heap|temporary files|keys and values|streams|append-only file|snapshot/;
const everywhere = [
  ...redisPlaces,
  ...otherPlaces,
  ...processes.flatMap((n) => watchedPlaces.map((p) => `${n}: ${p}`)),
];

it.each(everywhere)('%s: the control is found, the password is not', (place) => {
  const found = find(control, places[place] ?? '');
  // A heap snapshot cuts strings at a NUL; its own UTF-16 strings are told as text.
  const all = Object.keys(encodings).filter((name) => name !== 'UTF-16' || !place.endsWith('heap'));
  expect(found).toEqual(verbatim.test(place) ? all : expect.arrayContaining(['raw']));
  expect(find(canary, places[place] ?? '')).toEqual([]);
});

it.each([...processes.map((name) => `${name}: output`), ...redisPlaces, ...otherPlaces])('%s: no token', (place) => {
  for (const secret of [token, v2Token]) expect(places[place]).not.toContain(secret);
});

it('an idle producer keeps no token either', () => {
  for (const secret of [token, v2Token]) expect(places['serve: idle heap']).not.toContain(secret);
});
