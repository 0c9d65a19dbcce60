import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hash } from '@node-rs/bcrypt';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { encodings } from '../../src/adapters/v1-postgres/encodings.ts';
import { findings } from '../../src/adapters/v1-postgres/findings.ts';
import { parseIdMap } from '../../src/adapters/v1-postgres/id-map.ts';
import type { LoadedMapping, SqlClient } from '../../src/adapters/v1-postgres/index.ts';
import {
  createV1Postgres,
  loadMapping,
  parseMapping,
  pgClient,
  requireFit,
} from '../../src/adapters/v1-postgres/index.ts';
import { mappingProblems } from '../../src/adapters/v1-postgres/mapping-file.ts';
import type { PassferryError } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { changeOf, errorOf, newPassword } from '../kit/conformance.ts';
import { tempDir } from '../kit/files.ts';
import type { TestPostgres } from '../kit/postgres.ts';
import { createDatabase, startPostgres } from '../kit/postgres.ts';
import type { TableFixture, TableKind } from '../kit/v1-tables.ts';
import { django, homeMade, laravel, tableFixture } from '../kit/v1-tables.ts';

const signal = new AbortController().signal;
let seq = 1n;

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres.stop());
const emptyDatabase = async () => pgClient({ connectionString: await createDatabase(postgres.url), max: 3 });

function thrownBy(act: () => unknown): PassferryError {
  try {
    act();
  } catch (error) {
    return error as PassferryError;
  }
  throw new Error('nothing was thrown');
}

describe('a mapping that is wrong', () => {
  const least = {
    table: 'people',
    organization: { constant: 'acme' },
    columns: { id: 'id', password: 'password' },
  };

  it('is told with every problem at once, and without a value of it', () => {
    const secret = 'hunter22';
    const error = thrownBy(() =>
      parseMapping({
        columns: { id: 'x'.repeat(64), password: 'p', mail: secret },
        organization: { constant: 'acme' },
        encoding: secret,
        where: [{ column: 'a', op: secret, value: 1 }],
        sql: 'drop table users',
      }),
    );
    expect(error).toMatchObject({ reason: 'config_invalid' });
    const told = error.fields.map(({ field, reason }) => `${field} ${reason}`);
    expect(told.sort()).toEqual([
      'columns field_unknown',
      'columns.id field_invalid',
      'encoding field_invalid',
      'table field_missing',
      'the file field_unknown',
      'where.0 field_invalid',
    ]);
    for (const { reason } of error.fields) expect(error.message).toContain(`(${reason})`);
    expect(error.message).not.toContain(secret);
  });

  it.each([
    ['column_twice', { set: [{ column: 'password', value: 'x' }] }],
    ['column_fixed', { set: [{ column: 'id', value: 'x' }] }],
    ['column_fixed', { ids: { column: 'v2' }, set: [{ column: 'v2', value: null }] }],
    ['field_invalid', { where: [{ column: 'a', op: '= 1 or', value: 1 }] }],
    ['field_unknown', { where: [{ column: 'a', op: '=', value: 1, sql: 'true' }] }],
    ['field_invalid', { timeZone: "UTC'; drop table users --" }],
    ['field_invalid', { organization: {} }],
  ])('%s: case %#', (code, more) => {
    expect(thrownBy(() => parseMapping({ ...least, ...more })).fields.map(({ reason }) => reason)).toContain(code);
  });

  it('is told when its file, or the file of ids, cannot be used', () => {
    const dir = tempDir();
    const path = join(dir, 'v1.json');
    const codes = () =>
      thrownBy(() => loadMapping(path)).fields.map(({ field, reason }) => `${reason} ${field}`.trim());
    expect(codes()).toEqual(['file_unreadable']);
    writeFileSync(path, '{"table":');
    expect(codes()).toEqual(['file_not_json']);
    writeFileSync(path, JSON.stringify({ ...least, ids: { file: 'ids.csv' } }));
    expect(codes()).toEqual(['id_map_unreadable']);
    writeFileSync(join(dir, 'ids.csv'), 'old,new\n1,2\n');
    expect(codes()).toEqual(['id_map_header line 1']);
    writeFileSync(join(dir, 'ids.csv'), 'v1,v2\n1,2,3\n4,5\n6\n,7\n');
    expect(codes()).toEqual(['id_map_line line 2', 'id_map_line line 4', 'id_map_line line 5']);
    writeFileSync(join(dir, 'ids.csv'), '\ufeffv1,v2\r\n"a,""b",2\r\n\r\n3,4');
    expect(loadMapping(path).idMap?.toV2).toEqual(
      new Map([
        ['a,"b', '2'],
        ['3', '4'],
      ]),
    );
  });
});

describe('a mapped table', () => {
  const opened: TableFixture[] = [];
  afterEach(() => Promise.all(opened.splice(0).map((each) => each.close())));

  async function open(kind: TableKind, change: (mapping: Record<string, unknown>) => void = () => {}) {
    const fixture = await tableFixture(kind, await emptyDatabase(), change);
    opened.push(fixture);
    return fixture;
  }
  const without = (name: string) => (mapping: Record<string, unknown>) => {
    delete mapping[name];
  };
  const codesOf = async ({ backend }: TableFixture, everyone = false) =>
    (await backend.check({ everyone })).findings.map(({ code, at }) => (at ? `${code} ${at}` : code));

  const argon2 = '$argon2id$v=19$m=65536,t=4,p=1$c29tZXNhbHRzb21lc2FsdA$Wn7Xn2xQb0tKZ0dGVGtqRk1wQ3hYdz09aGFzaGhh';
  const pbkdf2 = 'pbkdf2_sha256$1000000$Q2hhcmxpZQ$N0XhQe3rBvDrjC9vPfWyqnMzSpEJ0yvDCoS6mM5nC4k=';

  it.each([
    ['argon2 in Laravel', laravel, [argon2], { argon2id: 1 }],
    ['two kinds in Laravel', laravel, ['$2y$', argon2], { 'bcrypt-2y': 1, argon2id: 1 }],
    ['pbkdf2 in Django', django, [pbkdf2, pbkdf2], { 'pbkdf2-sha256': 2 }],
    ['nobody yet', laravel, [], {}],
  ])('is only read while its encoding is not known: %s', async (_, kind, hashes, kinds) => {
    const fixture = await open(kind, without('encoding'));
    const { sql, backend } = fixture;
    const users: { id: string; org: string }[] = [];
    const bcrypted = await hash('Aa1!aaaa', 4);
    for (const [n, stored] of hashes.entries()) {
      const user = { id: `user-${n}`, org: 'org-1' };
      await fixture.addUser(user);
      await kind.change(sql, fixture.v1Of(user.id), stored === '$2y$' ? `$2y$${bcrypted.slice(4)}` : stored);
      users.push(user);
    }
    const user = users[0] ?? { id: 'user-x', org: 'org-1' };
    const { password: __, ...order } = changeOf(user, ++seq);
    const hashed = { ...order, hash: Secret.fromString(bcrypted) };
    for (const act of [
      () => backend.setPassword(changeOf(user, ++seq), signal),
      () => backend.setHash(hashed, signal),
      () => backend.rehearse(changeOf(user, ++seq), signal),
      () => backend.makeHash(Secret.fromString('Aa1!aaaa'), signal),
    ]) {
      expect(await errorOf(act())).toMatchObject({ reason: 'hash_encoding_unknown', scope: 'backend', effect: 'none' });
    }
    const report = await backend.check();
    expect(report.readOnly).toBe(true);
    expect(report.findings.find(({ code }) => code === 'encoding_unknown')).toMatchObject({ level: 'warning', kinds });
    if (users.length === 0) return;
    expect((await backend.readHash(user.org, user.id, signal)).hash?.reveal()).toMatch(/\$/);
    expect((await backend.users(undefined, 10, signal)).users).toHaveLength(users.length);
  });

  it('is written again as soon as its rows show one encoding, or it is named', async () => {
    const fixture = await open(laravel, without('encoding'));
    const user = { id: 'user-1', org: 'org-1' };
    await fixture.addUser(user);
    await fixture.sql.query('update "users" set "password" = $1', [argon2]);
    expect((await errorOf(fixture.backend.setPassword(changeOf(user, ++seq), signal))).reason).toBe(
      'hash_encoding_unknown',
    );
    await fixture.foreignChange(user.org, user.id, 'Aa1!aaaa');
    expect((await fixture.backend.setPassword(changeOf(user, ++seq), signal)).result).toBe('set');
    const [row] = await fixture.sql.query('select "password" from "users"');
    expect(row?.password).toMatch(/^\$2y\$04\$/);

    await fixture.sql.query('update "users" set "password" = $1', [argon2]);
    const named = await createV1Postgres({
      sql: fixture.sql,
      bcryptCost: 4,
      mapped: parseMapping(laravel.mapping),
    });
    expect((await named.setPassword(changeOf(user, ++seq), signal)).result).toBe('set');
    await fixture.sql.query('update "users" set "password" = $1', [argon2]);
    expect((await named.check()).findings.map(({ code }) => code)).toContain('encoding_not_seen');
  });

  it.each(encodings)('writes %s as its application reads it', async (encoding) => {
    const fixture = await open(laravel, (mapping) => {
      mapping.encoding = encoding;
    });
    const user = { id: 'user-1', org: 'org-1' };
    await fixture.addUser(user);
    const change = changeOf(user, ++seq);
    await fixture.backend.setPassword(change, signal);
    const [row] = await fixture.sql.query('select "password" from "users"');
    const heads = { 'bcrypt-2b': '$2b$', 'bcrypt-2y': '$2y$', 'bcrypt-2a': '$2a$' } as Record<string, string>;
    const head = heads[encoding] ?? `${encoding.replace(/^django-/, '').replace('-', '_')}$$2b$`;
    expect(String(row?.password).startsWith(`${head}04$`)).toBe(true);
    expect(await fixture.backend.prove(user.org, user.id, change.password, signal)).toBe(true);
    const { password, ...order } = changeOf(user, ++seq);
    const made = await fixture.backend.makeHash(password, signal);
    expect((await fixture.backend.setHash({ ...order, hash: made }, signal)).result).toBe('set');
    expect(await fixture.backend.prove(user.org, user.id, password, signal)).toBe(true);
    expect((await fixture.backend.readHash(user.org, user.id, signal)).hash?.reveal()).toBe(made.reveal());
  });

  it('takes no plain bcrypt where the application hashes a digest of the password', async () => {
    const fixture = await open(django, (mapping) => {
      mapping.encoding = 'django-bcrypt-sha256';
    });
    const user = { id: 'user-1', org: 'org-1' };
    await fixture.addUser(user);
    const { password: _, ...order } = changeOf(user, ++seq);
    const plain = { ...order, hash: Secret.fromString(await hash('Aa1!aaaa', 4)) };
    expect((await errorOf(fixture.backend.setHash(plain, signal))).reason).toBe('hash_refused');
    expect(fixture.backend.verifiers).toEqual([]);
  });

  it('sets what else the mapping says in the same statement, and nothing of another row', async () => {
    const fixture = await open(laravel);
    const [user, other] = [
      { id: 'user-1', org: 'org-1' },
      { id: 'user-2', org: 'org-1' },
    ];
    await fixture.addUser(user);
    await fixture.addUser(other);
    await fixture.backend.setPassword(changeOf(user, ++seq), signal);
    const rows = await fixture.sql.query(
      `select "remember_token", "updated_at" = "password_changed_at" as "now", "password" is not null as "has" from "users" order by "id"`,
    );
    expect(rows).toEqual([
      { remember_token: null, now: true, has: true },
      { remember_token: 'remember', now: null, has: false },
    ]);
  });

  it('reaches nobody whom its conditions leave out', async () => {
    const fixture = await open(homeMade);
    const hidden = { id: '6f0b1a52-1b7c-4c2e-9d5e-0c1de6f3a901', org: "o'brien" };
    const shown = { id: '6f0b1a52-1b7c-4c2e-9d5e-0c1de6f3a902', org: 'org-1' };
    await fixture.addUser(hidden);
    await fixture.addUser(shown);
    expect((await errorOf(fixture.backend.setPassword(changeOf(hidden, ++seq), signal))).reason).toBe('COMMAND-G8dh3');
    expect((await errorOf(fixture.backend.readHash(hidden.org, hidden.id, signal))).reason).toBe('COMMAND-G8dh3');
    const { users } = await fixture.backend.users(undefined, 10, signal);
    expect(users.map(({ user }) => user)).toEqual([shown.id]);
  });

  it.each([
    ['another way to write it', (id: string) => id.toUpperCase()],
    ['braces', (id: string) => `{${id}}`],
    ['no UUID', () => "x' or '1'='1"],
  ])('knows a user by one id only: %s', async (_, write) => {
    const fixture = await open(homeMade);
    const user = { id: '6f0b1a52-1b7c-4c2e-9d5e-0c1de6f3a9ff', org: 'org-1' };
    await fixture.addUser(user);
    const error = await errorOf(fixture.backend.setPassword(changeOf({ ...user, id: write(user.id) }, ++seq), signal));
    expect(error).toMatchObject({ reason: 'COMMAND-G8dh3', scope: 'user' });
  });

  it('joins ids by a column: unique or refused, both ways', async () => {
    const fixture = await open(laravel);
    const { backend, sql } = fixture;
    await sql.query('alter table "users" drop constraint "users_zitadel_id_key"');
    const one = { id: 'v2-1', org: 'org-1' };
    await fixture.addUser(one);
    await fixture.addUser({ ...one });
    await sql.query(`insert into "users" ("name", "email") values ('nobody', 'nobody@example.org')`);
    await fixture.addUser({ id: 'v2-2', org: 'org-1' });
    for (const act of [
      () => backend.setPassword(changeOf(one, ++seq), signal),
      () => backend.readHash(one.org, one.id, signal),
      () => backend.readUser(one.org, one.id, signal),
    ]) {
      expect(await errorOf(act())).toMatchObject({ reason: 'user_mapped_twice', scope: 'user' });
    }
    expect(await fixture.effects(one.id)).toBe(0);
    // Also where the other row is on another page.
    const first = await backend.users(undefined, 1, signal);
    expect(first).toEqual({ users: [], leftOut: [{ id: '1', org: 'org-1', why: 'mapped_twice' }], next: '1' });
    expect(await backend.users('1', 10, signal)).toEqual({
      users: [
        {
          user: 'v2-2',
          id: '4',
          org: 'org-1',
          profile: { userName: expect.any(String), email: expect.any(String), emailVerified: true },
        },
      ],
      leftOut: [
        { id: '2', org: 'org-1', why: 'mapped_twice' },
        { id: '3', org: 'org-1', why: 'unmapped' },
      ],
    });
    const { findings: found, rows } = await backend.check({ everyone: true });
    expect(rows).toBe(4);
    const told = found.filter(({ at }) => at === 'ids').map(({ code, count, ids }) => [code, count, ids]);
    expect(told).toEqual([
      ['v2_id_not_indexed', undefined, undefined],
      ['id_map_twice', 1, ['v2-1']],
      ['id_map_missing', 1, ['3']],
    ]);
  });

  it('joins ids by a file: unique or refused, and names who is left', async () => {
    const fixture = await open(django);
    const { sql, mapped } = fixture;
    for (const n of [1, 2, 3, 4, 5]) await fixture.addUser({ id: `own-${n}`, org: 'org-1' });
    const read = parseIdMap('v1,v2\n1,a\n2,b\n2,c\n3,d\n4,d\n99,z\n');
    if ('problems' in read) throw new Error('the file is fine');
    const backend = await createV1Postgres({ sql, bcryptCost: 4, mapped: { ...mapped, idMap: read } });
    expect((await backend.setPassword(changeOf({ id: 'a', org: 'org-1' }, ++seq), signal)).result).toBe('set');
    for (const id of ['b', 'c', 'd']) {
      const error = await errorOf(backend.setPassword(changeOf({ id, org: 'org-1' }, ++seq), signal));
      expect(error, id).toMatchObject({ reason: 'user_mapped_twice', scope: 'user' });
    }
    for (const id of ['1', 'z', 'nobody']) {
      const error = await errorOf(backend.readUser('org-1', id, signal));
      expect(error, id).toMatchObject({ reason: 'COMMAND-G8dh3', scope: 'user' });
    }
    const { users, leftOut } = await backend.users(undefined, 10, signal);
    expect(users.map(({ user, id }) => [user, id])).toEqual([['a', '1']]);
    expect(leftOut).toEqual([
      { id: '2', org: 'org-1', why: 'mapped_twice' },
      { id: '3', org: 'org-1', why: 'mapped_twice' },
      { id: '4', org: 'org-1', why: 'mapped_twice' },
      { id: '5', org: 'org-1', why: 'unmapped' },
    ]);
    const { findings: found } = await backend.check({ everyone: true });
    expect(found.filter(({ at }) => at === 'ids').map(({ code, ids }) => [code, ids])).toEqual([
      ['id_map_twice', ['2', 'd']],
      ['id_map_missing', ['5']],
      ['id_map_unknown', ['99']],
    ]);
  });

  it('tells names, addresses and whether these are confirmed', async () => {
    const fixture = await open(django);
    await fixture.addUser({ id: 'v2-1', org: 'org-1' });
    const { users } = await fixture.backend.users(undefined, 10, signal);
    expect(users[0]).toMatchObject({
      user: 'v2-1',
      profile: {
        userName: expect.stringMatching(/^mina/),
        givenName: 'Mina',
        familyName: 'Osei',
        email: 'mina@example.org',
      },
    });
  });

  it('protects whom the table calls an administrator', async () => {
    const fixture = await open(django);
    await fixture.addUser({ id: 'v2-1', org: 'org-1' });
    expect(await fixture.backend.readRoles('org-1', 'v2-1', signal)).toEqual([]);
    await fixture.sql.query('update "auth_user" set "is_superuser" = true');
    expect(await fixture.backend.readRoles('org-1', 'v2-1', signal)).toEqual(['ADMIN']);
  });

  describe('that is only to be read', () => {
    it('needs nothing of ours beside it, and takes no change', async () => {
      const sql = await emptyDatabase();
      for (const statement of laravel.create) await sql.query(statement);
      const mapped = parseMapping({ ...laravel.mapping, readOnly: true });
      const backend = await createV1Postgres({ sql, bcryptCost: 4, mapped });
      await backend.migrate();
      await laravel.insert(sql, { id: 'v2-1', org: 'org-1' }, await hash('Aa1!aaaa', 4));
      expect(await sql.query(`select 1 from pg_tables where "tablename" like 'passferry%'`)).toEqual([]);
      const read = await backend.readHash('org-1', 'v2-1', signal);
      expect(read).not.toHaveProperty('appliedSeq');
      expect(read.hash?.reveal()).toMatch(/^\$2b\$/);
      expect(read.user).not.toHaveProperty('changeRequired');
      expect((await backend.users(undefined, 10, signal)).users).toHaveLength(1);
      expect(await errorOf(backend.setPassword(changeOf({ id: 'v2-1', org: 'org-1' }, ++seq), signal))).toMatchObject({
        reason: 'v1_read_only',
        scope: 'backend',
      });
      expect(backend).not.toHaveProperty('epoch');
      expect(backend).not.toHaveProperty('highestSequence');
      expect((await backend.check()).findings.filter(({ level }) => level === 'error')).toEqual([]);
      await backend.close();
    });
  });

  describe('is looked at before anything changes', () => {
    const columns = (mapping: Record<string, unknown>) => mapping.columns as Record<string, unknown>;

    it.each([
      [
        'table_missing',
        laravel,
        (m) => {
          m.table = 'nobody';
        },
      ],
      [
        'table_missing',
        laravel,
        (m) => {
          m.schema = 'nowhere';
        },
      ],
      [
        'column_missing columns.email',
        laravel,
        (m) => {
          columns(m).email = 'mail';
        },
      ],
      [
        'column_missing where.0',
        laravel,
        (m) => {
          m.where = [{ column: 'nope', op: 'is null' }];
        },
      ],
      [
        'column_missing set.0',
        laravel,
        (m) => {
          m.set = [{ column: 'nope', value: 1 }];
        },
      ],
      [
        'column_type columns.id',
        laravel,
        (m) => {
          columns(m).id = 'created_at';
        },
      ],
      [
        'column_type columns.passwordChangedAt',
        laravel,
        (m) => {
          columns(m).passwordChangedAt = 'name';
        },
      ],
      [
        'column_type columns.changeRequired',
        laravel,
        (m) => {
          columns(m).changeRequired = 'name';
        },
      ],
      [
        'id_not_unique columns.id',
        laravel,
        (m) => {
          columns(m).id = 'name';
        },
      ],
      [
        'condition_fails where',
        laravel,
        (m) => {
          m.where = [{ column: 'id', op: '=', value: 'seven' }];
        },
      ],
      [
        'where_selects_nothing where',
        laravel,
        (m) => {
          m.where = [{ column: 'id', op: '<', value: 0 }];
        },
      ],
      [
        'side_tables_missing',
        laravel,
        (m) => {
          m.sideSchema = 'elsewhere';
        },
      ],
      [
        'password_too_narrow columns.password',
        homeMade,
        (m) => {
          m.encoding = 'django-bcrypt';
        },
      ],
      ['changed_at_missing', django, () => {}],
      ['change_required_missing', django, () => {}],
      [
        'encoding_not_seen encoding',
        laravel,
        (m) => {
          m.encoding = 'bcrypt-2a';
        },
      ],
    ] as [string, TableKind, (mapping: Record<string, unknown>) => void][])(
      '%s: case %#',
      async (code, kind, spoil) => {
        const fixture = await open(kind);
        await fixture.addUser({ id: '6f0b1a52-1b7c-4c2e-9d5e-0c1de6f3a9ff', org: 'org-1', password: newPassword() });
        expect(await codesOf(fixture)).not.toContain(code.startsWith('change') ? '' : code);
        const mapping = structuredClone(kind.mapping) as Record<string, unknown>;
        spoil(mapping);
        const spoilt = { ...fixture.mapped, ...parseMapping(mapping) };
        const backend = await createV1Postgres({ sql: fixture.sql, bcryptCost: 4, mapped: spoilt });
        const { findings: found } = await backend.check();
        expect(found.map(({ code: each, at }) => (at ? `${each} ${at}` : each))).toContain(code);
        const level = findings[code.split(' ')[0] as keyof typeof findings][0];
        if (level !== 'error') return void (await requireFit(backend));
        const error = await errorOf(requireFit(backend));
        expect(error).toMatchObject({ reason: 'config_invalid' });
        expect(error.message).toContain(`(${code.split(' ')[0]})`);
      },
    );

    it('asks for our own tables to be of this version', async () => {
      const fixture = await open(laravel);
      expect(await codesOf(fixture)).not.toContain('side_tables_missing');
      await fixture.sql.query('delete from "passferry_schema" where "version" > 1');
      expect(await codesOf(fixture)).toContain('side_tables_missing');
    });

    it('tells kinds, states it does not know, and that a table is empty', async () => {
      const fixture = await open(homeMade);
      expect(await codesOf(fixture)).toContain('table_empty');
      await fixture.addUser({ id: '6f0b1a52-1b7c-4c2e-9d5e-0c1de6f3a9ff', org: 'org-1', password: newPassword() });
      await fixture.sql.query(`update "Kunden Daten"."Be""nutzer" set "Status" = 'Q'`);
      const { findings: found } = await fixture.backend.check();
      expect(found).toContainEqual({ code: 'state_unknown', level: 'warning', at: 'columns.state', count: 1 });
      expect(found).toContainEqual({ code: 'hash_kinds', level: 'info', kinds: { 'bcrypt-2b': 1 } });
    });

    it('ends what is asked anyway without touching anything', async () => {
      const fixture = await open(laravel);
      const mapped = parseMapping({ ...laravel.mapping, table: 'nobody' });
      const backend = await createV1Postgres({ sql: fixture.sql, bcryptCost: 4, mapped });
      const error = await errorOf(backend.setPassword(changeOf({ id: 'x', org: 'org-1' }, ++seq), signal));
      expect(error).toMatchObject({ reason: 'v1_mapping_wrong', scope: 'backend', effect: 'none' });
    });
  });
});

describe('names and values of a mapping', () => {
  let sql: SqlClient;
  beforeEach(async () => {
    sql = await emptyDatabase();
  });

  const nasty = [
    'users"; drop table "precious"; --',
    `a" = 'x' or 'a' = 'a`,
    "it's",
    'null',
    'select',
    '$1',
    '"',
    'a.b',
    "\\'; drop table precious; --",
    'Ω ’',
  ];

  it.each(nasty)('stay what they are: %j', async (name) => {
    const quoted = `"${name.replaceAll('"', '""')}"`;
    await sql.query('create table "precious" ("x" text)');
    await sql.query(`create table ${quoted} ("id" text primary key, ${quoted} text, "password" text)`);
    await sql.query(`insert into ${quoted} values ('one', $1, null), ('two', 'other', null)`, [name]);
    const mapped = parseMapping({
      table: name,
      encoding: 'bcrypt-2b',
      organization: { constant: name },
      columns: {
        id: 'id',
        password: 'password',
        userName: name,
        state: { column: name, values: { [name]: 'locked' } },
      },
      where: [
        { column: name, op: '=', value: name },
        { column: name, op: 'in', value: [name, 'x'] },
      ],
    });
    const backend = await createV1Postgres({ sql, bcryptCost: 4, mapped });
    await backend.migrate();
    const user = { id: 'one', org: name };
    expect((await backend.setPassword(changeOf(user, ++seq), signal)).result).toBe('set');
    expect(await backend.readUser(name, 'one', signal)).toMatchObject({ state: 'locked', userName: name });
    const other = changeOf({ id: 'two', org: name }, ++seq);
    expect((await errorOf(backend.setPassword(other, signal))).reason).toBe('COMMAND-G8dh3');
    expect((await backend.users(undefined, 10, signal)).users).toHaveLength(1);
    expect(await sql.query('select * from "precious"')).toEqual([]);
    expect((await backend.check()).findings.filter(({ level }) => level === 'error')).toEqual([]);
    await backend.close();
  });

  it.each(nasty)('reach no other table or column when there is none so named: %j', async (name) => {
    await sql.query('create table "precious" ("id" text primary key, "password" text)');
    await sql.query(`insert into "precious" values ('one', 'kept')`);
    const base = { organization: { constant: 'acme' }, encoding: 'bcrypt-2b' };
    const mappings: LoadedMapping[] = [
      parseMapping({ ...base, table: name, columns: { id: 'id', password: 'password' } }),
      parseMapping({ ...base, table: 'precious', columns: { id: 'id', password: name } }),
      parseMapping({ ...base, schema: name, table: 'precious', columns: { id: 'id', password: 'password' } }),
    ];
    for (const mapped of mappings) {
      const backend = await createV1Postgres({ sql, bcryptCost: 4, mapped });
      const error = await errorOf(backend.setPassword(changeOf({ id: 'one', org: 'acme' }, ++seq), signal));
      expect(error).toMatchObject({ reason: 'v1_mapping_wrong', scope: 'backend' });
    }
    expect(await sql.query('select * from "precious"')).toEqual([{ id: 'one', password: 'kept' }]);
    await sql.close();
  });
});

describe('rights in PostgreSQL', () => {
  test('that our account lacks are told before anything changes', async () => {
    const url = new URL(await createDatabase(postgres.url));
    const owner = pgClient(url.href);
    const fixture = await tableFixture(laravel, owner);
    await owner.query('create role "reader" login');
    await owner.query('grant select ("id", "zitadel_id", "password", "deleted_at", "email") on "users" to "reader"');
    url.username = 'reader';
    const sql = pgClient(url.href);
    const backend = await createV1Postgres({ sql, bcryptCost: 4, mapped: fixture.mapped });
    const { findings: found } = await backend.check();
    const told = found.map(({ code, at }) => `${code} ${at}`);
    expect(told).toContain('no_right_to_read columns.emailVerified');
    expect(told).toContain('no_right_to_write columns.password');
    expect(told).toContain('no_right_to_write set.1');
    expect(found.map(({ code }) => code)).toContain('no_right_to_side_tables');
    expect(told).not.toContain('no_right_to_read columns.email');
    await backend.close();
    await fixture.close();
  });

  test('a database that is not there stops no worker', async () => {
    const sql = pgClient('postgres://127.0.0.1:1/nowhere');
    const backend = await createV1Postgres({ sql, bcryptCost: 4, mapped: parseMapping(laravel.mapping) });
    expect(await requireFit(backend)).toBeUndefined();
    await backend.close();
  });
});

describe('docs/v1-tables.md', () => {
  const text = readFileSync(new URL('../../docs/v1-tables.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| `([a-z0-9_]+)` \| (?:`(error|warning|info)` \| )?(.+) \|$/gm)].map((row) =>
    row.slice(1),
  );

  test('has every code with its level and text, and no other', () => {
    const known = [
      ...Object.entries(findings).map(([code, [level, meaning]]) => [code, level, meaning]),
      ...Object.entries(mappingProblems).map(([code, meaning]) => [code, undefined, meaning]),
    ];
    const fields = ['sideSchema', 'organization', 'where', 'set', 'encoding', 'ids'];
    expect(rows.filter(([code]) => !fields.includes(String(code)))).toEqual(known);
  });

  test('has every encoding, and an example that is a mapping', () => {
    for (const encoding of encodings) expect(text).toContain(`| \`${encoding}\` |`);
    const dir = tempDir();
    writeFileSync(join(dir, 'ids.csv'), 'v1,v2\n1,2\n');
    const example = JSON.parse(/```json\n([\s\S]*?)```/.exec(text)?.[1] ?? '');
    expect(parseMapping(example, dir).mapping.set).toHaveLength(2);
  });
});
