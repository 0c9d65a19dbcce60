import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hash, verify } from '@node-rs/bcrypt';
import { expect, it, onTestFinished } from 'vitest';
import { pgClient, type SqlClient } from '../src/adapters/v1-postgres/index.ts';
import { tempDir } from './kit/files.ts';
import { createDatabase, startPostgres, type TestPostgres } from './kit/postgres.ts';
import { spawnNode } from './kit/processes.ts';
import { homeMade, laravel, type TableKind } from './kit/v1-tables.ts';

/** `passferry up` on a table of somebody else, and what it says when it cannot. */

const people = ['5b0bc8b2-1f5c-4a63-9a6e-0c7c5f3d1a01', '5b0bc8b2-1f5c-4a63-9a6e-0c7c5f3d1a02'] as const;

let postgres: Promise<TestPostgres> | undefined;

async function table(kind: TableKind, change: object = {}) {
  postgres ??= startPostgres();
  const url = await createDatabase((await postgres).url);
  const sql = pgClient(url);
  onTestFinished(() => sql.close());
  for (const statement of kind.create) await sql.query(statement);
  const old = kind.stored(await hash('Old-password-1', 10));
  for (const id of people) await kind.insert(sql, { id, org: 'initech' }, old);
  const mapping = join(tempDir(), 'v1.json');
  writeFileSync(mapping, JSON.stringify({ ...kind.mapping, ...change }));
  return { sql, env: { PASSFERRY_V1_URL: url, PASSFERRY_V1_MAPPING: mapping } };
}

function start(data: string, env: Record<string, string>) {
  const args = ['src/cli/main.ts', 'up', '--data', data, '--listen', '127.0.0.1:0'];
  return spawnNode(args, { UV_THREADPOOL_SIZE: '4', ...env });
}

/** As whoever `up` has made a token for. */
async function setPassword(data: string, user: string, password: string): Promise<void> {
  const { url, tokenFile } = JSON.parse(readFileSync(join(data, 'client.json'), 'utf8'));
  const reply = await fetch(`${url}/users/${user}/password`, {
    method: 'POST',
    headers: { authorization: `Bearer ${readFileSync(tokenFile, 'utf8').trim()}` },
    body: JSON.stringify({ password }),
  });
  expect(reply.status, await reply.text()).toBe(200);
}

async function cli(data: string, ...args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawnNode(['src/cli/main.ts', ...args], { PASSFERRY_DATA: data });
  const { code } = await child.exited;
  return { code, text: child.lines().join('\n') };
}

const storedIn = async (sql: SqlClient, column: string, from: string, where: string): Promise<string> =>
  String(
    (await sql.query(`select "${column}" as "hash" from ${from} where "${where}"::text = $1`, [people[0]]))[0]?.hash,
  );

it('sets passwords in the table, plans from it, and keeps our own people out of it', async () => {
  const { sql, env } = await table(laravel, { organization: { constant: 'initech' } });
  const data = join(tempDir(), 'data');
  const up = start(data, { ...env, PASSFERRY_V1_MIGRATE: 'true' });
  expect(await up.waitForLine(/^ {2}v1 {2}/)).toContain(
    'table "users" by PASSFERRY_V1_MAPPING, organizations ["initech"]',
  );
  await up.waitForLine(/Ctrl-C/);
  await setPassword(data, people[0], 'New-password-1');
  const stored = await storedIn(sql, 'password', '"users"', 'zitadel_id');
  expect(stored).toMatch(/^\$2y\$12\$/);
  expect(await verify('New-password-1', stored)).toBe(true);
  expect(await sql.query('select count(*)::int as "n" from "users"')).toEqual([{ n: 2 }]);

  const plan = await cli(data, 'migrate', '--org', 'initech', '--create', '--quiet');
  expect(plan.code, plan.text).toBe(0);
  expect(plan.text).toMatch(/^ +2 {2}would_create: /m);
});

it('finds the organizations in their column', async () => {
  const { sql, env } = await table(homeMade);
  const data = join(tempDir(), 'data');
  const up = start(data, { ...env, PASSFERRY_V1_MIGRATE: 'true' });
  expect(await up.waitForLine(/^ {2}v1 {2}/)).toContain('organizations ["initech"]');
  await up.waitForLine(/Ctrl-C/);
  const { callers } = JSON.parse(readFileSync(join(data, 'callers.json'), 'utf8'));
  expect(callers[0]).toMatchObject({ home: 'initech', grants: { initech: expect.any(Array) } });
  await setPassword(data, people[0], 'New-password-1');
  const stored = await storedIn(sql, 'Passwort Hash', '"Kunden Daten"."Be""nutzer"', 'Nutzer-ID');
  expect(await verify('New-password-1', stored)).toBe(true);
});

it('does not start with a mapping alone, and has made nothing then', async () => {
  const { env } = await table(laravel);
  const data = join(tempDir(), 'data');
  const up = start(data, { PASSFERRY_V1_MAPPING: env.PASSFERRY_V1_MAPPING });
  await up.waitForLine(/PASSFERRY_V1_MAPPING goes with a PostgreSQL in PASSFERRY_V1_URL.*\(config_invalid\)/);
  expect((await up.exited).code).toBe(3);
  expect(existsSync(data)).toBe(false);
});

it('does not start on a table that does not fit, and says why', async () => {
  const { env } = await table(laravel, { table: 'people' });
  const up = start(join(tempDir(), 'data'), env);
  await up.waitForLine(/\(table_missing\)/);
  expect((await up.exited).code).toBe(3);
});
