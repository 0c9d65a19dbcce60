import { isAscii } from 'node:buffer';
import { fileError } from '../reasons.ts';
import { cutSql, type SqlCut } from '../sql/cut.ts';
import type { SqlTable } from '../sql/head.ts';
import { copyValue, expression, insertValue, undecodable } from '../sql/value.ts';
import type { ContainerReader, FieldsRecord } from './container.ts';
import { type Fields, plainName } from './source.ts';

/** What stands in place of a value that only running the dump would tell, or whose bytes are no text: an object, so no text. */
export const noText = Object.freeze({});

/** A dump of MySQL, PostgreSQL or SQLite → the rows of each table that has a column of passwords. */
export const sqlFields: ContainerReader = {
  name: 'sql',
  begins: (head) => statement.test(head.replace(comments, '')),
  async *read(source, input) {
    let unknown = false;
    const wanted = ({ columns }: SqlTable) => {
      if (columns === undefined) unknown = true;
      return columns !== undefined && columns.length <= 256 && columns.some(isPassword);
    };
    const cutter = cutSql(input.place, wanted);
    let found = false;
    function* records(cuts: Iterable<SqlCut>): Generator<FieldsRecord> {
      let checked: Buffer | undefined;
      let ascii = false;
      for (const cut of cuts) {
        if (cut.buffer !== checked) {
          checked = cut.buffer;
          ascii = isAscii(checked);
        }
        found = true;
        yield toRecord(cut, ascii);
      }
    }
    try {
      for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
        yield records(cutter.take(chunk, false));
      }
      yield records(cutter.take(Buffer.alloc(0), true));
    } finally {
      cutter.close();
    }
    if (!found && unknown) throw fileError('sql_columns_unknown');
  },
};

const comments = /^(?:\s+|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/;?|\\(?:un)?restrict [^\n]*\n)+/;
const statement =
  /^(?:(?:INSERT|REPLACE)\s+(?:IGNORE\s+|OR\s+\w+\s+)?INTO\b|CREATE\s+(?:TABLE|SCHEMA|DATABASE|TYPE|EXTENSION|SEQUENCE|UNLOGGED|FUNCTION|OR)\b|DROP\s+(?:TABLE|SCHEMA|DATABASE)\b|COPY\s+["\w.]+\s*\(|SET\s+[@\w]|PRAGMA\s|BEGIN(?:\s+TRANSACTION)?\s*;|START\s+TRANSACTION\b|LOCK\s+TABLES\b|USE\s+[`\w]+\s*;|ALTER\s+TABLE\b|SELECT\s+pg_catalog)/i;

/** Tables without one are no users; of those with one the source knows its own. */
const isPassword = (column: string) =>
  /^(?:(?:user|member|customer|account|encrypted|hashed|crypted|import|login|admin)*(?:pass|password|passwd|pwd|passhash|passwordhash|passworddigest|pwhash)|hash)$/.test(
    plainName(column),
  );

function toRecord(cut: SqlCut, ascii: boolean): FieldsRecord {
  const { line, byte, table, buffer, start, bounds } = cut;
  if (cut.reason !== undefined) return { line, byte, reason: cut.reason };
  const columns = table.columns as string[];
  if (cut.fields !== columns.length) return { line, byte, reason: 'row_columns' };
  // Without a prototype: a column may be called __proto__.
  const fields: Fields = Object.create(null);
  for (let i = 0; i < cut.fields; i++) {
    const bytes = buffer.subarray(start + (bounds[i * 3] as number), start + (bounds[i * 3 + 1] as number));
    const value = cut.copied ? copyValue(bytes, ascii) : insertValue(bytes, bounds[i * 3 + 2] as number, ascii);
    fields[columns[i] as string] = value === expression || value === undecodable ? noText : value;
  }
  return { line, byte, fields, of: table.path };
}
