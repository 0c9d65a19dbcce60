import { afterAll, beforeAll } from 'vitest';
import { pgClient, pgliteClient } from '../../src/adapters/v1-postgres/index.ts';
import { testBackend } from '../kit/conformance.ts';
import type { TestPostgres } from '../kit/postgres.ts';
import { createDatabase, startPostgres } from '../kit/postgres.ts';
import { tableFixture, tableKinds } from '../kit/v1-tables.ts';

/** Tables of others keep every promise that our own keeps. */

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres.stop());

for (const kind of tableKinds) {
  testBackend(`${kind.name} on PGlite`, async () => tableFixture(kind, await pgliteClient()), kind.flags);
  testBackend(
    `${kind.name} on PostgreSQL`,
    async () => tableFixture(kind, pgClient(await createDatabase(postgres.url))),
    kind.flags,
  );
}
