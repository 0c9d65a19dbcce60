import { parse } from 'csv-parse/sync';
import { PassferryError } from '../../errors.ts';
import { frames } from './lines.ts';
import type { ImportReason } from './reasons.ts';
import { fileError } from './reasons.ts';

/** One CSV record as bytes, so that nothing is replaced when it is not UTF-8; or why it cannot be read. */
export type CsvRecord = { line: number; fields: Buffer[] } | { line: number; reason: ImportReason };

/** The columns an import knows, under the names that reports use. */
export const columnNames = ['userId', 'password', 'orgId', 'noChangeRequired'] as const;
export type ColumnName = (typeof columnNames)[number];

const known = new Map<string, ColumnName>(columnNames.map((name) => [name.toLowerCase(), name]));

/** Any spelling of a column (`user_id`, `USERID`) → the name we use; undefined: not one of ours. */
export function columnName(header: string): ColumnName | undefined {
  return known.get(header.trim().replaceAll('_', '').toLowerCase());
}

/** CSV bytes (no BOM) → records in file order, the header first. Holds one chunk and one record. */
export async function* csvRecords(stream: AsyncIterable<Buffer>): AsyncGenerator<CsvRecord> {
  for await (const batch of frames(stream, true)) {
    const readable = batch.flatMap((frame) => ('bytes' in frame ? [frame.bytes, lineEnd] : []));
    const joined = Buffer.concat(readable);
    const records = parseFields(joined);
    joined.fill(0);
    // Records correspond to frames one to one, or a password would go to another user.
    if (records.length * 2 !== readable.length) throw new PassferryError('internal');
    let next = 0;
    for (const frame of batch) {
      if ('reason' in frame) {
        yield frame;
        continue;
      }
      const fields = records[next++] as Buffer[];
      yield { line: frame.line, fields };
      for (const field of fields) field.fill(0);
    }
  }
}

const lineEnd = Buffer.from('\n');

function parseFields(bytes: Buffer): Buffer[][] {
  try {
    return parse(bytes, {
      encoding: null,
      record_delimiter: '\n',
      relax_column_count: true,
    }) as unknown as Buffer[][];
  } catch {
    // No cause: errors of csv-parse carry the record, passwords and all.
    throw new PassferryError('internal');
  }
}

/**
 * Fields of the header → column names as written and where ours stand.
 * @throws PassferryError for the whole file: unreadable, a column missing (named in `fields`) or there twice.
 */
export function parseHeader(record: CsvRecord): { names: string[]; at: Partial<Record<ColumnName, number>> } {
  if ('reason' in record) throw fileError('header_unreadable');
  const names = record.fields.map((field) => {
    const name = decodeUtf8(field);
    if (name === undefined || name.includes('\0')) throw fileError('file_not_text');
    return name;
  });
  const at: Partial<Record<ColumnName, number>> = {};
  for (const [index, name] of names.entries()) {
    const column = columnName(name);
    if (!column) continue;
    if (at[column] !== undefined) throw fileError('header_column_repeated');
    at[column] = index;
  }
  const missing = [
    ...(at.userId === undefined ? [{ field: 'userId', reason: 'user_id_missing' as const }] : []),
    ...(at.password === undefined ? [{ field: 'password', reason: 'password_missing' as const }] : []),
  ];
  if (missing.length > 0) throw fileError('header_column_missing', { fields: missing });
  return { names, at };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes → text; undefined when they are not UTF-8 (never U+FFFD in their place). */
export function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Drops a UTF-8 BOM. */
export async function* withoutBom(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let first = true;
  for await (const chunk of stream) {
    yield first && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf ? chunk.subarray(3) : chunk;
    first = false;
  }
}
