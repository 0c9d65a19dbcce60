import type { Readable } from 'node:stream';
import type { ColumnName } from './csv.ts';
import { columnName, columnNames, csvRecords, decodeUtf8, parseHeader } from './csv.ts';
import { frames } from './lines.ts';
import type { RowReason } from './reasons.ts';
import { fileError } from './reasons.ts';
import type { ParsedRow, RejectedRow, RowValues } from './row.ts';
import { toRow } from './row.ts';

export { rowReasonFacts } from './reasons.ts';
export type { ParsedRow, RejectedRow } from './row.ts';
export { isRejected } from './row.ts';

export type ImportFormat = 'csv' | 'ndjson';

export interface ParseOptions {
  /** Default: NDJSON when the first character is `{`, else CSV. */
  format?: ImportFormat;
  /** For rows that say nothing about it. */
  noChangeRequired?: boolean;
}

/**
 * An import file → its rows, in file order, while it arrives; never more than a chunk and a record in memory.
 * CSV has a header (`userId,password[,orgId][,noChangeRequired]`, other columns are ignored); NDJSON the same keys.
 * A bad row is yielded as rejected and the rest goes on. The chunks are zeroed once they are read.
 * @throws PassferryError for a file that cannot be taken at all; whatever the stream throws.
 */
export async function* parseRows(
  stream: AsyncIterable<Buffer> | Readable,
  options: ParseOptions = {},
): AsyncGenerator<ParsedRow | RejectedRow> {
  const iterator = (stream as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  try {
    const head = stripBom(await readHead(iterator));
    const first = firstCharacter(head);
    if (first === undefined) throw fileError('file_empty');
    const format = options.format ?? (first === '{' || first === '[' ? 'ndjson' : 'csv');
    if (format === 'ndjson' && first === '[') throw fileError('file_json_array');
    const all = startingWith(head, iterator);
    yield* format === 'csv' ? csvRows(all, options) : ndjsonRows(all, options);
  } finally {
    await iterator.return?.();
  }
}

async function* csvRows(stream: AsyncIterable<Buffer>, options: ParseOptions): AsyncGenerator<ParsedRow | RejectedRow> {
  let header: ReturnType<typeof parseHeader> | undefined;
  let row = 0;
  for await (const record of csvRecords(stream)) {
    if (!header) {
      header = parseHeader(record);
      continue;
    }
    const place = { row: ++row, line: record.line };
    if ('reason' in record) yield { ...place, reason: record.reason };
    // No user id here: the columns have shifted, so it may be part of a password.
    else if (record.fields.length !== header.names.length) yield { ...place, reason: 'row_columns' };
    else yield csvRow(place, record.fields, header.at, options);
  }
  if (row === 0) throw fileError('file_no_rows');
}

function csvRow(
  place: { row: number; line: number },
  fields: Buffer[],
  at: Partial<Record<ColumnName, number>>,
  options: ParseOptions,
): ParsedRow | RejectedRow {
  const values: RowValues = {};
  for (const name of columnNames) {
    const index = at[name];
    if (index === undefined) continue;
    const text = decodeUtf8(fields[index] as Buffer);
    if (text === undefined) return { ...place, reason: 'row_not_utf8', field: name };
    values[name] = text;
  }
  return toRow(place, values, options.noChangeRequired);
}

async function* ndjsonRows(
  stream: AsyncIterable<Buffer>,
  options: ParseOptions,
): AsyncGenerator<ParsedRow | RejectedRow> {
  let row = 0;
  for await (const batch of frames(stream, false)) {
    for (const frame of batch) {
      if ('bytes' in frame && isBlank(frame.bytes)) continue;
      const place = { row: ++row, line: frame.line };
      if ('reason' in frame) {
        yield { ...place, reason: frame.reason };
        continue;
      }
      if (row === 1 && frame.bytes.includes(0)) throw fileError('file_not_text');
      const values = parseJsonRow(frame.bytes);
      yield typeof values === 'string' ? { ...place, reason: values } : toRow(place, values, options.noChangeRequired);
    }
  }
  if (row === 0) throw fileError('file_empty');
}

function parseJsonRow(bytes: Buffer): RowValues | RowReason {
  const text = decodeUtf8(bytes);
  if (text === undefined) return 'row_not_utf8';
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return 'row_not_json';
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'row_not_object';
  const values: RowValues = {};
  for (const [key, value] of Object.entries(parsed)) {
    const name = columnName(key);
    if (!name) continue;
    if (Object.hasOwn(values, name)) return 'field_repeated';
    values[name] = value;
  }
  return values;
}

/** Enough of the beginning to tell what the file is. */
async function readHead(iterator: AsyncIterator<Buffer>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < 4 || (firstCharacter(stripBom(head)) === undefined && head.length < 64 * 1024)) {
    const next = await iterator.next();
    if (next.done) break;
    const parts = [head, next.value];
    head = Buffer.concat(parts);
    for (const part of parts) part.fill(0);
  }
  return head;
}

function stripBom(head: Buffer): Buffer {
  const magic = head.toString('latin1', 0, 4);
  if (magic.startsWith('\xff\xfe') || magic.startsWith('\xfe\xff')) throw fileError('file_utf16');
  const compressed = ['\x1f\x8b', 'PK\x03\x04', 'BZh', '\xfd7zX', '\x28\xb5\x2f\xfd'];
  if (compressed.some((start) => magic.startsWith(start))) throw fileError('file_compressed');
  return magic.startsWith('\xef\xbb\xbf') ? head.subarray(3) : head;
}

function firstCharacter(head: Buffer): string | undefined {
  const byte = head.find((b) => !isSpace(b));
  return byte === undefined ? undefined : String.fromCharCode(byte);
}

const isSpace = (byte: number) => byte === 32 || (byte >= 9 && byte <= 13);
const isBlank = (bytes: Buffer) => bytes.every(isSpace);

async function* startingWith(head: Buffer, iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield head;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
}
