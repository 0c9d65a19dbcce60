import type { Find } from './check.ts';
import type { IdMap } from './id-map.ts';
import type { SqlClient } from './sql.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';

const told = 10;
const page = 5_000;

/** Ids with several partners, and with none. @returns how many rows there are, when `everyone` was looked at. */
export async function checkIds(
  db: SqlClient,
  table: Table,
  idMap: IdMap | undefined,
  everyone: boolean,
  find: Find,
  signal?: AbortSignal,
): Promise<number | undefined> {
  const { v2Column } = table;
  if (idMap) {
    const ids = [...idMap.twice.v1, ...idMap.twice.v2];
    if (ids.length > 0) find('id_map_twice', { at: 'ids', count: ids.length, ids: ids.slice(0, told) });
  }
  if (!everyone) return undefined;
  if (v2Column) {
    const twice = await run(
      db,
      sql`select ${v2Column}::text as "id" from ${table.from} u where ${table.only} and ${v2Column} is not null
          group by 1 having count(*) > 1 order by 1`,
      signal,
    );
    const ids = twice.slice(0, told).map(({ id }) => String(id));
    if (twice.length > 0) find('id_map_twice', { at: 'ids', count: twice.length, ids });
  }
  return walk(db, table, idMap, find, signal);
}

async function walk(db: SqlClient, table: Table, idMap: IdMap | undefined, find: Find, signal?: AbortSignal) {
  const missing: string[] = [];
  const seen = new Set<string>();
  let [rows, unmapped, after] = [0, 0, undefined as string | undefined];
  const column = sql`u.${table.idName}`;
  for (;;) {
    const from = after === undefined ? sql`` : sql`and ${column} > ${table.idValue(after)}`;
    const some = await run(
      db,
      sql`select ${table.id} as "id", ${table.v2Column ? sql`${table.v2Column}::text` : null} as "v2"
          from ${table.from} u where ${table.only} ${from} order by ${column} limit ${page}`,
      signal,
    );
    for (const { id, v2 } of some) {
      rows += 1;
      if (idMap?.toV2.has(String(id))) seen.add(String(id));
      const user = table.userOf(String(id), v2);
      if (user !== undefined) continue;
      unmapped += 1;
      if (missing.length < told) missing.push(String(id));
    }
    if (some.length < page) break;
    after = String(some.at(-1)?.id);
  }
  if (unmapped > 0) find('id_map_missing', { at: 'ids', count: unmapped, ids: missing });
  if (idMap && seen.size < idMap.toV2.size) {
    const unknown: string[] = [];
    for (const id of idMap.toV2.keys()) {
      if (unknown.length >= told) break;
      if (!seen.has(id)) unknown.push(id);
    }
    find('id_map_unknown', { at: 'ids', count: idMap.toV2.size - seen.size, ids: unknown });
  }
  return rows;
}
