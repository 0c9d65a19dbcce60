import { bcryptOf, chance, pick, type Random } from './maker.ts';

/** A table and its rows; numbers stand without quotes. */
export interface Table {
  schema?: string;
  name: string;
  columns: readonly string[];
  rows: readonly (readonly (string | number | null)[])[];
}

type Value = string | number | null;

const mysqlEscapes: Record<string, string> = {
  '\0': '\\0',
  '\n': '\\n',
  '\r': '\\r',
  '\\': '\\\\',
  "'": "\\'",
  '"': '\\"',
};
const copyEscapes: Record<string, string> = { '\t': '\\t', '\n': '\\n', '\r': '\\r', '\\': '\\\\' };

/** As mysqldump and phpMyAdmin write it: `complete` with the names of the columns. */
export function mysqlDump(
  tables: readonly Table[],
  { complete = false, header = '-- MySQL dump 10.13  Distrib 8.0.36' } = {},
): string {
  const literal = (value: Value) =>
    typeof value === 'string'
      ? `'${value.replaceAll(/[\0\n\r\\'"]/g, (found) => mysqlEscapes[found] as string)}'`
      : String(value ?? 'NULL');
  const one = ({ name, columns, rows }: Table) => {
    const names = complete ? ` (${columns.map((each) => `\`${each}\``).join(', ')})` : '';
    const values = rows.map((row) => `(${row.map(literal).join(',')})`).join(',');
    return [
      `DROP TABLE IF EXISTS \`${name}\`;`,
      `CREATE TABLE \`${name}\` (`,
      columns.map((each) => `  \`${each}\` varchar(255) DEFAULT NULL COMMENT 'a; b, c'`).join(',\n'),
      `, PRIMARY KEY (\`${columns[0]}\`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;`,
      `LOCK TABLES \`${name}\` WRITE;`,
      `/*!40000 ALTER TABLE \`${name}\` DISABLE KEYS */;`,
      ...(rows.length > 0 ? [`INSERT INTO \`${name}\`${names} VALUES ${values};`] : []),
      'UNLOCK TABLES;',
    ].join('\n');
  };
  return `${header}\n/*!40101 SET NAMES utf8mb4 */;\n${tables.map(one).join('\n\n')}\n-- Dump completed\n`;
}

const pathOf = ({ schema, name }: Table) => `${schema ?? 'public'}.${name}`;

/** As pg_dump writes it; `inserts`: with --column-inserts. */
export function postgresDump(tables: readonly Table[], { inserts = false } = {}): string {
  const literal = (value: Value) =>
    typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(value ?? 'NULL');
  const field = (value: Value) =>
    value === null ? '\\N' : String(value).replaceAll(/[\t\n\r\\]/g, (found) => copyEscapes[found] as string);
  const create = (table: Table) =>
    `CREATE TABLE ${pathOf(table)} (\n${table.columns.map((each) => `    "${each}" character varying(255)`).join(',\n')}\n);`;
  const data = (table: Table) => {
    const names = table.columns.map((each) => (/^[a-z_]+$/.test(each) ? each : `"${each}"`)).join(', ');
    if (inserts) {
      return table.rows
        .map((row) => `INSERT INTO ${pathOf(table)} (${names}) VALUES (${row.map(literal).join(', ')});`)
        .join('\n');
    }
    const lines = table.rows.map((row) => `${row.map(field).join('\t')}\n`).join('');
    return `COPY ${pathOf(table)} (${names}) FROM stdin;\n${lines}\\.\n`;
  };
  return [
    '--\n-- PostgreSQL database dump\n--\n\n\\restrict Abcdef0123\n',
    "SET standard_conforming_strings = on;\nSELECT pg_catalog.set_config('search_path', '', false);\n",
    ...tables.map(create),
    ...tables.map(data),
    '\n--\n-- PostgreSQL database dump complete\n--\n',
  ].join('\n');
}

/** As the shell of SQLite writes it. */
export function sqliteDump(tables: readonly Table[]): string {
  const literal = (value: Value) =>
    typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(value ?? 'NULL');
  const one = (table: Table) =>
    `CREATE TABLE IF NOT EXISTS "${table.name}" (${table.columns.map((each) => `"${each}" varchar(255)`).join(', ')});\n${table.rows
      .map((row) => `INSERT INTO ${table.name} VALUES(${row.map(literal).join(',')});\n`)
      .join('')}`;
  return `PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n${tables.map(one).join('')}COMMIT;\n`;
}

/** Tables that have no users, whatever stands in them. */
function otherTables(random: Random): Table[] {
  const text = `it's; INSERT INTO users VALUES (1,'${bcryptOf('b')}'); \\' -- "x" /* y`;
  return [
    {
      name: 'articles',
      columns: ['id', 'body'],
      rows: [
        [1, text],
        [2, null],
      ],
    },
    { name: 'password_resets', columns: ['email', 'token', 'created_at'], rows: [['x@example.com', 'abc', null]] },
  ].slice(chance(random, 0.3) ? 2 : chance(random, 0.3) ? 1 : 0);
}

/** A dump in any of the ways, other tables around it. */
export function dumpOf(random: Random, table: Table, ways: readonly ('mysql' | 'postgres' | 'sqlite')[]): string {
  const others = otherTables(random);
  const tables = chance(random, 0.5) ? [...others, table] : [table, ...others];
  const way = pick(random, ways);
  if (way === 'mysql') {
    const header = pick(random, [
      '-- MySQL dump 10.13  Distrib 8.0.36',
      '-- phpMyAdmin SQL Dump',
      '-- MariaDB dump 10.19',
    ]);
    return mysqlDump(tables, { complete: chance(random, 0.5), header });
  }
  return way === 'postgres' ? postgresDump(tables, { inserts: chance(random, 0.5) }) : sqliteDump(tables);
}
