import { type Columns, misfits, readColumns } from './catalog.ts';
import { checkIds } from './check-ids.ts';
import { type Encoding, encodingSeen, lengthOf } from './encodings.ts';
import { type FindingCode, findings } from './findings.ts';
import type { IdMap } from './id-map.ts';
import { columnOf, type Mapping, namedColumns } from './mapping.ts';
import { schemaVersion, sideTables } from './schema.ts';
import { kindsSeen } from './seen.ts';
import type { SqlClient } from './sql.ts';
import { ident, run, sql } from './sql-text.ts';
import { createTable, type Table } from './table.ts';

export interface Finding {
  code: FindingCode;
  level: 'error' | 'warning' | 'info';
  /** Place in the mapping: `columns.email`. */
  at?: string;
  /** How many rows or ids; of ids `ids` names the first ten. */
  count?: number;
  ids?: string[];
  /** Kind of hash → how many. */
  kinds?: Record<string, number>;
}

export interface CheckReport {
  findings: Finding[];
  /** Nothing can be written as it stands. */
  readOnly: boolean;
  encoding?: Encoding;
  /** Users, without those whom conditions leave out; asked for with `everyone`. */
  rows?: number;
}

export interface CheckOptions {
  /** Also what takes a walk through all rows: how many there are, and ids without a partner. Default false. */
  everyone?: boolean;
  signal?: AbortSignal;
}

export type Find = (code: FindingCode, more?: Omit<Finding, 'code' | 'level'>) => void;

/** All that does not fit, in the order of {@link findings}. Reads only. Throws what the database client throws. */
export async function check(
  db: SqlClient,
  mapping: Mapping,
  idMap: IdMap | undefined,
  { everyone = false, signal }: CheckOptions = {},
): Promise<CheckReport> {
  const found: Finding[] = [];
  const find: Find = (code, more = {}) => found.push({ code, level: findings[code][0], ...more });
  const columns = await readColumns(db, mapping, signal);
  const report: CheckReport = { findings: found, readOnly: mapping.readOnly };
  const done = () => {
    const order = Object.keys(findings);
    found.sort((a, b) => order.indexOf(a.code) - order.indexOf(b.code));
    return { ...report, readOnly: mapping.readOnly || report.encoding === undefined };
  };
  if (!columns) find('table_missing');
  else for (const { code, at } of misfits(mapping, columns)) find(code, { at });
  if (!mapping.readOnly) await checkSideTables(db, mapping, find, signal);
  if (!columns || found.some(({ code }) => code === 'column_missing' || code === 'column_type')) return done();

  await checkRights(db, mapping, columns, find, signal);
  await checkIndexes(db, mapping, columns, find, signal);
  if (found.some(({ code }) => code === 'no_right_to_read')) return done();

  const table = createTable(mapping, columns.types, idMap);
  if (!(await checkRows(db, table, find, signal))) return done();
  const encoding = await checkEncoding(db, table, columns, find, signal);
  if (encoding) report.encoding = encoding;
  if (!mapping.columns.passwordChangedAt) find('changed_at_missing');
  if (!mapping.columns.changeRequired) find('change_required_missing');
  const rows = await checkIds(db, table, idMap, everyone, find, signal);
  if (rows !== undefined) report.rows = rows;
  return done();
}

async function checkSideTables(db: SqlClient, { sideSchema }: Mapping, find: Find, signal?: AbortSignal) {
  // By the catalogue, which everybody may read: the tables themselves, and even their schema, may be closed to our account.
  const rows = await run(
    db,
    sql`select c.relname as "name", has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT') as "reads",
          has_table_privilege(c.oid, 'INSERT') and has_table_privilege(c.oid, 'UPDATE') as "writes"
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relname like 'passferry\\_%' and c.relkind in ('r', 'p', 'v', 'f')
          and ${sideSchema === undefined ? sql`pg_table_is_visible(c.oid)` : sql`n.nspname = ${sideSchema}`}`,
    signal,
  );
  const seen = new Map(rows.map((row) => [row.name, row]));
  if (['passferry_schema', ...sideTables].some((name) => !seen.has(name))) return find('side_tables_missing');
  const closed =
    seen.get('passferry_schema')?.reads !== true ||
    sideTables.some((name) => {
      const row = seen.get(name);
      // What an organization asks of passwords is only read.
      return row?.reads !== true || (name !== 'passferry_policies' && row.writes !== true);
    });
  if (closed) return find('no_right_to_side_tables');
  const schema = sideSchema === undefined ? ident('passferry_schema') : ident(sideSchema, 'passferry_schema');
  const [row] = await run(db, sql`select coalesce(max("version"), 0)::integer as "version" from ${schema}`, signal);
  if (Number(row?.version) < schemaVersion) find('side_tables_missing');
}

async function checkRights(db: SqlClient, mapping: Mapping, { oid }: Columns, find: Find, signal?: AbortSignal) {
  const { columns } = mapping;
  const written = new Set([
    'columns.password',
    'columns.passwordChangedAt',
    'columns.changeRequired',
    ...mapping.set.map((_, n) => `set.${n}`),
  ]);
  for (const { column, at } of namedColumns({ ...mapping, columns })) {
    const [row] = await run(
      db,
      sql`select has_column_privilege(${oid}::oid, ${column}, 'SELECT') as "reads",
            has_column_privilege(${oid}::oid, ${column}, 'UPDATE') as "writes"`,
      signal,
    );
    if (row?.reads !== true) find('no_right_to_read', { at });
    if (row?.writes !== true && written.has(at) && !mapping.readOnly) find('no_right_to_write', { at });
  }
}

async function checkIndexes(db: SqlClient, mapping: Mapping, { oid }: Columns, find: Find, signal?: AbortSignal) {
  const indexes = await run(
    db,
    sql`select a.attname as "first", i.indisunique and i.indnkeyatts = 1 and i.indpred is null as "isUnique"
        from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = ${oid}::oid and i.indisvalid`,
    signal,
  );
  const { ids, columns } = mapping;
  if (!indexes.some(({ first, isUnique }) => first === columns.id && isUnique === true)) {
    find('id_not_unique', { at: 'columns.id' });
  }
  if (ids && 'column' in ids && !indexes.some(({ first }) => first === ids.column)) {
    find('v2_id_not_indexed', { at: 'ids' });
  }
}

/** False: nothing can be read with these conditions. */
async function checkRows(db: SqlClient, table: Table, find: Find, signal?: AbortSignal): Promise<boolean> {
  const [any] = await run(db, sql`select 1 from ${table.from} u limit 1`, signal);
  if (any === undefined) find('table_empty');
  let selected: unknown;
  try {
    [selected] = await run(
      db,
      sql`select ${table.state}, ${table.emailVerified}, ${table.isMachine}, ${table.isAdmin}, ${table.changedAt ?? null}
          from ${table.from} u where ${table.only} and ${table.org} is not null limit 1`,
      signal,
    );
  } catch (thrown) {
    // Class 22 and 42: a value that is none of its column's type. Anything else is no matter of the mapping.
    const { code } = ((thrown as { cause?: unknown }).cause ?? {}) as { code?: string };
    if (!/^(22|42)/.test(code ?? '')) throw thrown;
    find('condition_fails', { at: 'where' });
    return false;
  }
  if (any !== undefined && selected === undefined) find('where_selects_nothing', { at: 'where' });
  const { state } = table.mapping.columns;
  if (state) {
    const [row] = await run(
      db,
      sql`select count(*)::float8 as "count" from (
            select ${table.state} as "state" from ${table.from} u where ${table.only} limit 10000) as "some"
          where "state" = 'unknown'`,
      signal,
    );
    if (Number(row?.count) > 0) find('state_unknown', { at: 'columns.state', count: Number(row?.count) });
  }
  return true;
}

async function checkEncoding(
  db: SqlClient,
  table: Table,
  { widths }: Columns,
  find: Find,
  signal?: AbortSignal,
): Promise<Encoding | undefined> {
  const { encoding: named, readOnly, columns } = table.mapping;
  const kinds = await kindsSeen(db, table, signal);
  if (Object.keys(kinds).length > 0) find('hash_kinds', { kinds });
  const encoding = named ?? encodingSeen(kinds);
  if (readOnly) return encoding;
  if (encoding === undefined) find('encoding_unknown', { at: 'encoding', kinds });
  else if (kinds[encoding] === undefined) find('encoding_not_seen', { at: 'encoding', kinds });
  const width = widths[columnOf(columns.password)];
  if (encoding !== undefined && width !== undefined && width < lengthOf(encoding)) {
    find('password_too_narrow', { at: 'columns.password' });
  }
  return encoding;
}
