import { PassferryError } from '../../errors.ts';
import type { IdMap } from './id-map.ts';
import { idTypeOf } from './id-type.ts';
import { builtIn, builtInTypes, type Mapping, namedColumns } from './mapping.ts';
import type { SqlClient } from './sql.ts';
import { run, sql } from './sql-text.ts';
import { createTable, type Table } from './table.ts';

/** What a mapped table looks like. */
export interface Columns {
  /** Of the database, by number: what names lead to, once. */
  oid: string;
  /** Column → type, without what bounds it. */
  types: Record<string, string>;
  /** Columns that hold at most so many characters. */
  widths: Record<string, number>;
}

/** Undefined: there is no such table or view. Only names go to the database, as values. */
export async function readColumns(db: SqlClient, mapping: Mapping, signal?: AbortSignal): Promise<Columns | undefined> {
  const rows = await run(
    db,
    sql`select c.oid::text as "oid", a.attname as "name", a.atttypmod as "bound", case
          when b.typname in ('varchar', 'text') then 'text' when b.typname = 'bpchar' then 'bpchar'
          else format_type(t.oid, null) end as "type", b.typname in ('varchar', 'bpchar') as "isBounded"
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          join pg_type t on t.oid = a.atttypid join pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
        where c.relname = ${mapping.table} and c.relkind in ('r', 'p', 'v', 'f')
          and ${mapping.schema === undefined ? sql`pg_table_is_visible(c.oid)` : sql`n.nspname = ${mapping.schema}`}`,
    signal,
  );
  if (rows.length === 0) return undefined;
  const widths = rows
    .filter(({ isBounded, bound }) => isBounded === true && Number(bound) > 4)
    .map(({ name, bound }) => [String(name), Number(bound) - 4]);
  return {
    oid: String(rows[0]?.oid),
    types: Object.fromEntries(rows.map(({ name, type }) => [String(name), String(type)])),
    widths: Object.fromEntries(widths),
  };
}

/** Types that a place of a mapping takes; another one would be read or written wrongly. */
const taken: Record<string, RegExp> = {
  'columns.password': /^(text|bpchar)$/,
  'columns.passwordChangedAt': /^timestamp with(out)? time zone$/,
};

/** What does not fit: code and place. */
export function misfits(
  mapping: Mapping,
  { types }: Columns,
): { code: 'column_missing' | 'column_type'; at: string }[] {
  return namedColumns(mapping).flatMap(({ column, at }): { code: 'column_missing' | 'column_type'; at: string }[] => {
    const type = Object.hasOwn(types, column) ? types[column] : undefined;
    if (type === undefined) return [{ code: 'column_missing', at }];
    const isId = at === 'columns.id' || at === 'ids';
    const isFlag = at === 'columns.changeRequired' && typeof mapping.columns.changeRequired === 'string';
    const wrong = (isId && idTypeOf(type) === undefined) || (isFlag && type !== 'boolean');
    return wrong || taken[at]?.test(type) === false ? [{ code: 'column_type', at }] : [];
  });
}

/**
 * The table as it is asked. Its columns are looked up on the first use and kept; the one that we make ourselves is known.
 *
 * @throws PassferryError `v1_mapping_wrong`, scope `backend`: the table has not what the mapping says.
 */
export function createTableSource(
  db: SqlClient,
  mapping: Mapping,
  idMap?: IdMap,
): (signal?: AbortSignal) => Promise<Table> {
  let known = mapping === builtIn ? createTable(mapping, builtInTypes) : undefined;
  return async (signal) => {
    if (known) return known;
    const columns = await readColumns(db, mapping, signal);
    if (!columns || misfits(mapping, columns).length > 0) {
      throw new PassferryError('v1_mapping_wrong', { scope: 'backend' });
    }
    known = createTable(mapping, columns.types, idMap);
    return known;
  };
}
