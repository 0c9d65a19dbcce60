import { PassferryError } from '../../errors.ts';
import type { Encoding } from './encodings.ts';
import { encodingSeen, kindOf } from './encodings.ts';
import type { Mapping } from './mapping.ts';
import type { SqlClient } from './sql.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';

/** As many rows tell how an application writes a hash. */
const looked = 1_000;

/** Kind → how many of the newest rows have it. */
export async function kindsSeen(db: SqlClient, table: Table, signal?: AbortSignal): Promise<Record<string, number>> {
  const rows = await run(
    db,
    sql`select ${table.hash} as "hash" from ${table.from} u where ${table.only} and ${table.hash} is not null
        order by u.${table.idName} desc limit ${looked}`,
    signal,
  );
  const kinds: Record<string, number> = {};
  for (const { hash } of rows) {
    const kind = kindOf(String(hash));
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  return kinds;
}

/**
 * How a password is written: as the mapping says, else as the application does. It is looked at again until it can be told, since the
 * first users may still come.
 *
 * @throws PassferryError of scope `backend`: `v1_read_only`, or `hash_encoding_unknown`, for a guess could lock people out.
 */
export function createEncodingSource(
  db: SqlClient,
  { encoding, readOnly }: Mapping,
  table: (signal?: AbortSignal) => Promise<Table>,
): (signal?: AbortSignal) => Promise<Encoding> {
  let known = encoding;
  return async (signal) => {
    if (readOnly) throw new PassferryError('v1_read_only', { scope: 'backend' });
    known ??= encodingSeen(await kindsSeen(db, await table(signal), signal));
    if (known === undefined) throw new PassferryError('hash_encoding_unknown', { scope: 'backend' });
    return known;
  };
}
