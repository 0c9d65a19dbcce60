import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verify } from '@node-rs/bcrypt';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { pgClient, type SqlClient } from '../src/adapters/v1-postgres/index.ts';
import { createProducer } from '../src/index.ts';
import { tempDir } from './kit/files.ts';
import { createDatabase } from './kit/postgres.ts';
import { type ProcessWorld, startProcessWorld } from './kit/process-world.ts';
import { spawnNode } from './kit/processes.ts';
import { laravel } from './kit/v1-tables.ts';

/** `passferry work` with a table of somebody else. */

let world: ProcessWorld;
let sql: SqlClient;
let env: Record<string, string>;

beforeAll(async () => {
  world = await startProcessWorld();
  const url = await createDatabase(world.postgresUrl);
  sql = pgClient(url);
  for (const statement of laravel.create) await sql.query(statement);
  const path = join(tempDir(), 'v1.json');
  const organization = { constant: 'acme' };
  writeFileSync(path, JSON.stringify({ ...laravel.mapping, organization }));
  env = { PASSFERRY_V1_URL: url, PASSFERRY_V1_MAPPING: path, PASSFERRY_V1_MIGRATE: 'true' };
});
afterAll(async () => {
  await sql?.close();
  await world?.close();
});

it('sets the password of a Laravel user, as Laravel reads it', async () => {
  const v1 = await laravel.insert(sql, { id: '289345671234567890', org: 'acme' }, undefined);
  await laravel.insert(sql, { id: '289345671234567891', org: 'acme' }, undefined);
  const namespace = 'laravel';
  const installation = await world.installation(namespace);
  await installation.work(env);
  const producer = await createProducer({ redisUrl: world.redis.url, keysDir: world.keysDir, namespace });
  const password = 'Correct-horse-7';
  const { wait } = await producer.setPassword({ org: 'acme', user: '289345671234567890', password });
  expect(await wait(60_000)).toMatchObject({ result: 'set' });
  const rows = await sql.query(
    `select "id"::text as "id", "password", "remember_token" as "token", "updated_at" is not null as "updated" from "users" order by 1`,
  );
  expect(rows).toEqual([
    { id: v1, password: expect.stringMatching(/^\$2y\$04\$.{53}$/), token: null, updated: true },
    { id: expect.any(String), password: null, token: 'remember', updated: false },
  ]);
  expect(await verify(password, String(rows[0]?.password))).toBe(true);

  const unknown = await producer.setPassword({ org: 'acme', user: v1, password });
  expect(await unknown.wait(60_000)).toMatchObject({ code: 'failed_precondition', reason: 'COMMAND-G8dh3' });
  await producer.close();
});

it('does not start on a table that does not fit, and says everything that is wrong', async () => {
  const path = join(tempDir(), 'v1.json');
  const columns = { ...(laravel.mapping as { columns: object }).columns, email: 'mail', givenName: 'first' };
  writeFileSync(path, JSON.stringify({ ...laravel.mapping, columns }));
  const child = spawnNode(['src/cli/main.ts', 'work'], {
    UV_THREADPOOL_SIZE: '4',
    PASSFERRY_REDIS_URL: world.redis.url,
    PASSFERRY_KEYS_DIR: world.keysDir,
    ...env,
    PASSFERRY_V1_MAPPING: path,
  });
  await child.waitForLine(/columns\.email: .*\(column_missing\)/);
  await child.waitForLine(/columns\.givenName: .*\(column_missing\)/);
  expect((await child.exited).code).toBe(3);
});
