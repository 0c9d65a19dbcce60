import { inspect } from 'node:util';
import { hash } from '@node-rs/bcrypt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SqlClient, V1Postgres } from '../../src/adapters/v1-postgres/index.ts';
import { createV1Postgres, pgClient, pgliteClient } from '../../src/adapters/v1-postgres/index.ts';
import type { PassferryError } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import type { Fixture, TestUser } from '../kit/conformance.ts';
import { changeOf, errorOf, newPassword, testBackend } from '../kit/conformance.ts';
import type { TestPostgres } from '../kit/postgres.ts';
import { createDatabase, startPostgres } from '../kit/postgres.ts';
import { startProxy } from '../kit/proxy.ts';
import { waitFor } from '../kit/wait.ts';

const cost = 4;
const signal = new AbortController().signal;
let postgres: TestPostgres;

beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres.stop());

interface V1Fixture extends Fixture {
  backend: V1Postgres;
  sql: SqlClient;
}

async function fixtureOn(sql: SqlClient): Promise<V1Fixture> {
  const backend = await createV1Postgres({ sql, bcryptCost: cost });
  await backend.migrate();
  return {
    backend,
    sql,
    async addUser(user) {
      await backend.addUsers([user]);
    },
    async foreignChange(org, user, password) {
      await sql.query(
        `update "users" set "password_hash" = $3, "password_changed_at" = now() where "id" = $1 and "organization" = $2`,
        [user, org, await hash(password, cost)],
      );
    },
    async effects(user) {
      const rows = await sql.query('select 1 from "passferry_events" where "user_id" = $1', [user]);
      return rows.length;
    },
    close: () => backend.close(),
  };
}

const onPostgres = async (max = 10) =>
  fixtureOn(pgClient({ connectionString: await createDatabase(postgres.url), max }));

testBackend('v1 on PGlite', async () => fixtureOn(await pgliteClient()));
testBackend('v1 on PostgreSQL', () => onPostgres());

describe('v1 on PostgreSQL', () => {
  let fixture: V1Fixture;
  let backend: V1Postgres;
  beforeAll(async () => {
    fixture = await onPostgres(20);
    backend = fixture.backend;
  });
  afterAll(() => fixture?.close());

  async function addUser(more: Partial<TestUser> = {}): Promise<TestUser> {
    const user = { id: `user ${newPassword()}`, org: 'org-1', ...more };
    await fixture.addUser(user);
    return user;
  }
  const eventsOf = (user: string) =>
    fixture.sql.query(
      `select "sequence"::int as "number", "password_sequence"::int as "seq", "at"::text as "at"
       from "passferry_events" where "user_id" = $1 order by "sequence"`,
      [user],
    );

  const waiting = (query: SqlClient['query'], count = 1) =>
    waitFor(async () => (await query('select 1 from pg_locks where not granted')).length >= count, {
      what: 'changes that wait for the row',
    });

  it('keeps the highest sequence when 20 changes of one user race', async () => {
    const user = await addUser();
    const changes = Array.from({ length: 20 }, (_, n) => changeOf(user, BigInt(100 + ((n * 7) % 20))));
    const started = changes.map((change) => backend.setPassword(change, new AbortController().signal));
    const results = await Promise.all(started);

    const highest = changes.find((change) => change.seq === 119n);
    expect(await backend.prove(user.org, user.id, highest?.password as Secret, signal)).toBe(true);
    const events = await eventsOf(user.id);
    expect(events.map((event) => event.number)).toEqual(events.map((_, n) => n + 1));
    for (const column of ['seq', 'at']) {
      const values = events.map((event) => event[column]);
      expect(values).toEqual([...new Set(values)].sort());
    }
    expect(events.at(-1)?.seq).toBe(119);
    expect(results.filter(({ result }) => result === 'set')).toHaveLength(events.length);
    expect(results.filter(({ result }) => result === 'superseded')).toHaveLength(20 - events.length);
    expect(await backend.highestSequence(signal)).toBe(119n);
  });

  it('makes one event when the same job runs twice at once, dated when it was made', async () => {
    const user = await addUser();
    const change = changeOf(user, 500n);
    let made: ReturnType<V1Postgres['setPassword']>[] = [];
    const freedAt = await fixture.sql.transaction(async ({ query }) => {
      await query(`select 1 from "users" where "id" = $1 for update`, [user.id]);
      made = [1, 2].map(() => backend.setPassword(change, signal));
      await waiting(query, 2);
      const [row] = await query('select (extract(epoch from clock_timestamp()) * 1000)::float8 as "ms"');
      return Number(row?.ms);
    });
    const [one, other] = await Promise.all(made);
    expect(one).toMatchObject({ result: 'set', details: { sequence: '1' } });
    expect(other).toEqual(one);
    expect(await eventsOf(user.id)).toHaveLength(1);
    expect((await backend.readUser(user.org, user.id, signal)).passwordChangedAt).toBeGreaterThan(freedAt);
  });

  it('waits for whoever changes a user that it knows, and judges by what they left', async () => {
    const user = await addUser();
    expect((await backend.setPassword(changeOf(user, 510n), signal)).result).toBe('set');
    let made: Promise<unknown> | undefined;
    await fixture.sql.transaction(async ({ query }) => {
      await query(`update "passferry_users" set "password_sequence" = 512 where "user_id" = $1`, [user.id]);
      made = backend.setPassword(changeOf(user, 511n), signal);
      await waiting(query);
    });
    expect(await made).toEqual({ result: 'superseded' });
    expect(await eventsOf(user.id)).toHaveLength(1);
    const [row] = await fixture.sql.query(
      'select "password_sequence"::text as "n" from "passferry_users" where "user_id" = $1',
      [user.id],
    );
    expect(row?.n).toBe('512');
  });

  it('sees a foreign change that commits while it waits for the row', async () => {
    const user = await addUser();
    let made: Promise<unknown> | undefined;
    await fixture.sql.transaction(async ({ query }) => {
      await query(`update "users" set "password_changed_at" = now() where "id" = $1`, [user.id]);
      made = backend.setPassword(changeOf(user, 600n, { acceptedAt: Date.now() - 60_000 }), signal);
      await waiting(query);
    });
    expect(await made).toEqual({ result: 'stale' });
    expect(await eventsOf(user.id)).toEqual([]);
  });

  it('stops waiting for a lock when the signal aborts, and leaves nothing behind', async () => {
    const user = await addUser();
    const abort = new AbortController();
    let made: Promise<PassferryError> | undefined;
    await fixture.sql.transaction(async ({ query }) => {
      await query(`select 1 from "users" where "id" = $1 for update`, [user.id]);
      made = errorOf(backend.setPassword(changeOf(user, 700n), abort.signal));
      await waiting(query);
      abort.abort();
      expect(await made).toMatchObject({ reason: 'aborted', scope: 'backend', effect: 'none' });
    });
    expect(await eventsOf(user.id)).toEqual([]);
    expect((await backend.setPassword(changeOf(user, 701n), signal)).result).toBe('set');
  });

  it('writes $2b$ hashes of its cost, and the times with microseconds', async () => {
    const user = await addUser();
    const { details } = await backend.setPassword(changeOf(user, 800n), signal);
    const time = expect.stringMatching(/\.\d{6}Z$/);
    expect(details).toEqual({ sequence: '1', creationDate: time, changeDate: time, resourceOwner: 'org-1' });
    const [row] = await fixture.sql.query('select "password_hash" from "users" where "id" = $1', [user.id]);
    expect(row?.password_hash).toMatch(/^\$2b\$04\$/);
    const read = await backend.readUser(user.org, user.id, signal);
    expect(Math.floor(read.passwordChangedAt ?? 0)).toBe(Date.parse(details?.changeDate ?? ''));
  });

  it.each([
    ['', 'DOMAIN-HuJf6'],
    [`Aa1!${'x'.repeat(69)}`, 'password_too_many_bytes'],
    ['Aa1!aaaa\0', 'password_nul'],
  ])('refuses what bcrypt would cut: case %#', async (password, reason) => {
    const user = await addUser();
    const secret = Secret.fromString(password);
    const error = await errorOf(backend.setPassword(changeOf(user, 900n, { password: secret }), signal));
    expect(error).toMatchObject({ reason, code: 'invalid_argument', scope: 'user' });
    expect(await backend.prove(user.org, user.id, secret, signal)).toBe(false);
  });

  it("takes an organization's own policy from its row or from the option", async () => {
    await fixture.sql.query(
      `insert into "passferry_policies" ("organization", "min_length", "upper", "lower", "number", "symbol")
       values ('lenient', 3, false, false, false, false)`,
    );
    const [strict, lenient] = [await addUser(), await addUser({ org: 'lenient' })];
    const weak = () => ({ password: Secret.fromString('abc') });
    expect((await backend.setPassword(changeOf(lenient, 1_000n, weak()), signal)).result).toBe('set');
    expect((await errorOf(backend.setPassword(changeOf(strict, 1_001n, weak()), signal))).reason).toBe('DOMAIN-HuJf6');

    const policy = () => ({ minLength: 1, lower: false, upper: false, number: false, symbol: false });
    const configured = await createV1Postgres({ sql: fixture.sql, bcryptCost: cost, policy });
    expect((await configured.setPassword(changeOf(strict, 1_002n, weak()), signal)).result).toBe('set');
  });

  it('reads users and roles, of their own organization only', async () => {
    const named = { userName: 'r', email: 'r@example.org' };
    const user = { id: 'reader', org: 'org-1', ...named, roles: ['IAM_OWNER'] };
    expect(await backend.addUsers([user, { id: 'gone', org: 'org-1', state: 'deleted' }])).toBe(2);
    expect(await backend.addUsers([{ ...user, email: 'other@example.org' }])).toBe(0);
    const expected = { user: 'reader', org: 'org-1', state: 'active', changeRequired: false, ...named };
    expect(await backend.readUser('org-1', 'reader', signal)).toEqual(expected);
    expect(await backend.readRoles('org-1', 'reader', signal)).toEqual(['IAM_OWNER']);
    for (const where of ['org-2 reader', 'org-1 nobody', 'org-1 gone']) {
      const [org, id] = where.split(' ') as [string, string];
      expect((await errorOf(backend.readUser(org, id, signal))).reason).toBe('COMMAND-G8dh3');
      expect((await errorOf(backend.readRoles(org, id, signal))).reason).toBe('COMMAND-G8dh3');
    }
  });

  it('migrates an empty database once, by any number of processes at the same time', async () => {
    const url = await createDatabase(postgres.url);
    const clients = [1, 2, 3].map(() => pgClient({ connectionString: url, max: 1 }));
    const stores = await Promise.all(clients.map((sql) => createV1Postgres({ sql, bcryptCost: cost })));
    await Promise.all(stores.map((store) => store.migrate()));
    expect(await clients[0]?.query('select "version" from "passferry_schema"')).toEqual([
      { version: 1 },
      { version: 2 },
      { version: 3 },
    ]);
    expect(await stores[0]?.highestSequence(signal)).toBe(0n);
    await Promise.all(stores.map((store) => store.close()));
  });

  it('tells a refused login of our own apart from an outage', async () => {
    const url = new URL(postgres.url);
    url.username = 'nobody-knows-this-role';
    const sql = pgClient(url.href);
    expect(await errorOf(sql.query('select 1'))).toMatchObject({ reason: 'backend_unauthenticated', scope: 'backend' });
    await sql.close();
  });

  it('gives statements no name any more where a pooler forgets them', async () => {
    const sql = pgClient({ connectionString: postgres.url, max: 1 });
    const twice = (between: string) =>
      sql.transaction(async ({ query }) => {
        await query('select 1');
        await query(between);
        return query('select 1');
      });
    // As when the pooler gives the next statement to another of its connections.
    expect((await errorOf(twice('deallocate all'))).effect).toBe('none');
    expect(await twice('deallocate all')).toHaveLength(1);
    await sql.close();
  });

  it.each([3, 32, 10.5])('refuses the cost %d', async (bcryptCost) =>
    expect((await errorOf(createV1Postgres({ sql: fixture.sql, bcryptCost }))).reason).toBe('config_invalid'),
  );

  it('lets no text of the driver out', async () => {
    const secret = 'hash-like-value';
    const insert = `insert into "users" ("id", "organization", "state") values ('x', 'o', $1)`;
    const error = await errorOf(fixture.sql.query(insert, [secret]));
    expect(error).toMatchObject({ reason: 'backend_error', scope: 'backend', cause: { code: '23514' } });
    expect([inspect(error.cause), inspect(error), JSON.stringify(error), error.stack].join()).not.toContain(secret);
  });
});

describe('v1 when the network or the server fails', () => {
  const opened: Fixture[] = [];
  afterAll(() => Promise.all(opened.map((each) => each.close())));

  async function behindProxy(statementTimeoutMs = 10_000) {
    const url = new URL(await createDatabase(postgres.url));
    const user = { id: 'u', org: 'o' };
    const direct = await fixtureOn(pgClient(url.href));
    await direct.addUser(user);
    const proxy = await startProxy({ targetHost: url.hostname, targetPort: Number(url.port) });
    url.port = String(proxy.port);
    const sql = pgClient({ connectionString: url.href, max: 2, statementTimeoutMs, connectTimeoutMs: 2_000 });
    const backend = await createV1Postgres({ sql, bcryptCost: cost });
    opened.push(direct, { ...direct, backend, close: backend.close });
    await backend.ping(signal);
    return { proxy, sql, backend, user, effects: () => direct.effects(user.id) };
  }

  it.each([
    ['commit', 'unknown', 1],
    ['insert into "passferry_events"', 'none', 0],
  ])('knows the effect when the answer to %j is lost; a repeat settles it', async (statement, effect, made) => {
    const { proxy, backend, user, effects } = await behindProxy();
    const change = changeOf(user, 1n);
    proxy.dropReplies(1, statement);
    const error = await errorOf(backend.setPassword(change, signal));
    expect(error).toMatchObject({ reason: 'backend_down', scope: 'backend', effect });
    expect(await effects()).toBe(made);
    expect(await backend.setPassword(change, signal)).toMatchObject({ result: 'set', details: { sequence: '1' } });
    expect(await effects()).toBe(1);
  });

  it('survives a connection that the server ends between two statements', async () => {
    const { sql, backend } = await behindProxy();
    const cut = sql.transaction(async ({ query }) => {
      const [own] = await query('select pg_backend_pid() as "pid"');
      await sql.query('select pg_terminate_backend($1)', [own?.pid]);
      const gone = async () =>
        (await sql.query('select 1 from pg_stat_activity where pid = $1', [own?.pid])).length === 0;
      await waitFor(gone, { what: 'the session to end' });
      await query('select 1');
    });
    expect(await errorOf(cut)).toMatchObject({ reason: 'backend_down', effect: 'none' });
    await backend.ping(signal);
  });

  it('answers backend_down while nobody is there, and comes back by itself', async () => {
    const { proxy, backend } = await behindProxy();
    proxy.cut();
    expect(await errorOf(backend.ping(signal))).toMatchObject({ reason: 'backend_down', effect: 'none' });
    await proxy.restore();
    await backend.ping(signal);
  });

  it('answers backend_timeout when a statement takes too long or no byte moves', async () => {
    const { proxy, sql, backend } = await behindProxy(500);
    expect((await errorOf(sql.query('select pg_sleep(30)'))).reason).toBe('backend_timeout');
    await backend.ping(signal);
    proxy.blackhole();
    expect(await errorOf(backend.ping(signal))).toMatchObject({ reason: 'backend_timeout', effect: 'none' });
    await proxy.restore();
    await backend.ping(signal);
  });
});
