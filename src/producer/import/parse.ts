import type { Readable } from 'node:stream';
import type { Encoding } from './encoding.ts';
import { peekable } from './peekable.ts';
import type { Detected, ImportFormat, ReaderOptions } from './reader.ts';
import { readers } from './readers.ts';
import { fileError } from './reasons.ts';
import type { ParsedRow, RejectedRow } from './row.ts';
import { toRow } from './row.ts';
import type { WarningKind } from './suspicious.ts';
import { type Unpacked, unpack } from './unpack.ts';

export { importAdvice } from './advice.ts';
export type { ColumnMap, ColumnName } from './columns.ts';
export type { Detected, ImportFormat } from './reader.ts';
export { rowReasonFacts } from './reasons.ts';
export type { ParsedRow, RejectedRow } from './row.ts';
export { isRejected } from './row.ts';

export interface ParseOptions extends ReaderOptions {
  /** Default: by the first character: `[` a JSON list, `{` NDJSON, else CSV. One of the JSON formats stands for both. */
  format?: ImportFormat;
  /** Default: UTF-8, or what a byte order mark says. */
  encoding?: Encoding;
  /** The largest file that is taken, in bytes when unpacked. Default: any. */
  maxBytes?: number;
  /** For rows that say nothing about it. */
  noChangeRequired?: boolean;
  /** Told what the file is, before its first row. What it throws ends the reading. */
  onDetected?(detected: Detected): void | Promise<void>;
}

/**
 * An import file → its rows, in file order, while it arrives; never more than a chunk and a record in memory. What files may
 * be: docs/import.md. A bad row is yielded as rejected and the rest goes on. The chunks are zeroed once they are read.
 * `byte` of a row counts bytes of the unpacked file in its own encoding, its byte order mark too.
 * @throws PassferryError for a file that cannot be taken at all, or that turns out to be cut; whatever the stream throws.
 */
export async function* parseRows(
  stream: AsyncIterable<Buffer> | Readable,
  options: ParseOptions = {},
): AsyncGenerator<ParsedRow | RejectedRow> {
  const raw = peekable((stream as AsyncIterable<Buffer>)[Symbol.asyncIterator]());
  let unpacked: Unpacked | undefined;
  try {
    unpacked = await unpack(raw, options);
    yield* textRows(unpacked, options);
  } finally {
    await (unpacked?.source ?? raw).close();
  }
}

async function* textRows(
  { source, compression, encoding, mark, width }: Unpacked,
  options: ParseOptions,
): AsyncGenerator<ParsedRow | RejectedRow> {
  const format = await formatOf(source, options.format);
  const warnings: Detected['warnings'] = {};
  const warn = (kind: WarningKind) => {
    warnings[kind] = (warnings[kind] ?? 0) + 1;
  };
  let found: Detected | undefined;
  let told = false;
  const batches = readers[format](source, {
    options,
    place: { line: 1, byte: mark, width },
    detected: (more) => {
      found = { format, compression, encoding, comments: 0, warnings, ...more };
    },
  });
  const rowOptions = { noChangeRequired: options.noChangeRequired, allowSuspicious: options.allowSuspicious, warn };
  let row = 0;
  for await (const batch of batches) {
    for (const { line, byte, values, columns, reason, field } of batch) {
      if (!told && found) {
        told = true;
        await options.onDetected?.(found);
      }
      row++;
      if (values) yield toRow({ row, line, byte }, values, columns, rowOptions);
      else yield { row, line, byte, reason: reason ?? 'row_columns', ...(field && { field }) };
    }
  }
  if (row === 0) throw fileError(format === 'csv' ? 'file_no_rows' : 'file_empty');
}

/** Looks at the first character that is no space. */
async function formatOf(source: Unpacked['source'], named: ImportFormat | undefined): Promise<ImportFormat> {
  const isSpace = (byte: number) => byte === 32 || (byte >= 9 && byte <= 13);
  let first: number | undefined;
  for (let wanted = 1; first === undefined; ) {
    const head = await source.peek(wanted);
    first = head.find((byte) => !isSpace(byte));
    if (first === undefined && (head.length < wanted || head.length > 64 * 1024)) throw fileError('file_empty');
    wanted = head.length + 1;
  }
  if (named === 'csv') return 'csv';
  if (first === 0x5b) return 'json';
  return first === 0x7b || named !== undefined ? 'ndjson' : 'csv';
}
