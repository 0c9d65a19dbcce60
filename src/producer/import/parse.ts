import type { Readable } from 'node:stream';
import type { Encoding } from './encoding.ts';
import { peekable } from './peekable.ts';
import type { Detected, ImportFormat, ReaderOptions, SourceRecord } from './reader.ts';
import { readers } from './readers.ts';
import { fileError } from './reasons.ts';
import type { ParsedRow, RejectedRow } from './row.ts';
import { toRow } from './row.ts';
import { indexUsers, type UserIndex } from './sources/join.ts';
import { readForeign } from './sources/read.ts';
import { type Foreign, recogniseSource } from './sources/recognise.ts';
import type { Fields, Identity, Source, SourceParams } from './sources/source.ts';
import type { WarningKind } from './suspicious.ts';
import { type Unpacked, unpack } from './unpack.ts';

export type { ColumnMap } from './columns.ts';
export type { Detected, ImportFormat } from './reader.ts';
export { duplicatesOf } from './reader.ts';
export { rowReasonFacts } from './reasons.ts';
export type { ParsedRow, RejectedRow } from './row.ts';
export { isRejected } from './row.ts';

export interface ParseOptions extends ReaderOptions {
  /** Default: by the first character: `[` a JSON list, `{` NDJSON, else CSV. One of the JSON formats stands for both. */
  format?: ImportFormat;
  /** Whose file it is: `auto` (default), `own`, or the name of a source (docs/import.md). */
  from?: string;
  /** What names its users, where it is of another product; default: what that source says first. */
  by?: Identity;
  /** The source adds a secret to every password before it hashes it. Default false. */
  peppered?: boolean;
  /** How the source hashes, where the file does not say it. */
  hashParams?: Fields;
  /** The file of the users, of an export in two files; it is read to its end first. The other one is that of the passwords. */
  users?: AsyncIterable<Buffer>;
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
  for await (const rows of parseBatches(stream, options)) for (const row of rows) yield row;
}

/** The same, some hundred rows at a time: each is made when it is asked for. */
export async function* parseBatches(
  stream: AsyncIterable<Buffer> | Readable,
  options: ParseOptions = {},
): AsyncGenerator<Iterable<ParsedRow | RejectedRow>> {
  const raw = peekable((stream as AsyncIterable<Buffer>)[Symbol.asyncIterator]());
  let unpacked: Unpacked | undefined;
  let users: UserIndex | undefined;
  try {
    if (options.users) users = await indexUsers(options.users, { ...howOf(options), format: undefined });
    unpacked = await unpack(raw, options);
    const { format, batches, detected, warn } = await readerOf(unpacked, options, users);
    const { noChangeRequired, allowSuspicious, peppered } = options;
    const rowOptions = { noChangeRequired, allowSuspicious, peppered, warn };
    let row = 0;
    function* rowsOf(records: Iterator<SourceRecord>, first: SourceRecord): Generator<ParsedRow | RejectedRow> {
      for (let next: IteratorResult<SourceRecord> = { value: first }; !next.done; next = records.next()) {
        const { line, byte, values, columns, reason, field, userId } = next.value;
        row++;
        if (values) yield toRow({ row, line, byte }, values, columns, rowOptions);
        else {
          const known = { ...(field && { field }), ...(userId && { userId }), ...(columns && { columns }) };
          yield { row, line, byte, reason: reason ?? 'row_columns', ...known };
        }
      }
    }
    for await (const batch of batches) {
      const records = batch[Symbol.iterator]();
      const first = records.next();
      if (first.done) continue;
      try {
        if (row === 0) await options.onDetected?.(detected());
        yield rowsOf(records, first.value);
      } finally {
        // Zeroes what was read, also when whoever asked stops in the middle (P4).
        records.return?.();
      }
    }
    if (row === 0 && detected().source !== 'own') throw fileError('source_no_users');
    if (row === 0) throw fileError(format === 'csv' ? 'file_no_rows' : 'file_empty');
  } finally {
    users?.close();
    await (unpacked?.source ?? raw).close();
  }
}

const howOf = (options: ParseOptions) => ({
  ...{ from: options.from, format: options.format, maxBytes: options.maxBytes, options },
  paramsOf: (source: Source) => paramsOf(source, options),
});

async function readerOf(
  { source, compression, encoding, mark, width }: Unpacked,
  options: ParseOptions,
  users: UserIndex | undefined,
) {
  const format = await formatOf(source, options.format);
  const warnings: Detected['warnings'] = {};
  const none = { header: [], columns: {}, kept: [], comments: 0 } as const;
  let found: Detected = { format, source: 'own', compression, encoding, warnings, ...none, header: [], kept: [] };
  const input = {
    options,
    place: { line: 1, byte: mark, width },
    detected: (more: Partial<Detected>) => {
      found = { ...found, ...more };
    },
  };
  const foreign = await recogniseSource(source, { ...howOf(options), ...(users && { from: users.source.name }) });
  if (users) checkPasswords(users, foreign);
  const batches = foreign
    ? readForeign(source, foreign, { ...input, users, params: paramsOf(foreign.source, options) })
    : readers[format](source, input);
  const warn = (kind: WarningKind) => {
    warnings[kind] = (warnings[kind] ?? 0) + 1;
  };
  return { format, batches, detected: () => found, warn };
}

/** Is the second of two files what it should be? @throws source_mismatch */
function checkPasswords({ source }: UserIndex, foreign: Foreign | undefined): void {
  if (foreign && source.join?.passwords(foreign.sample) !== 'no') return;
  throw fileError('source_mismatch', { fields: [{ field: 'passwords', reason: 'source_mismatch' }] });
}

/** @throws source_by */
function paramsOf(source: Source, { by = source.by[0], hashParams }: ParseOptions): SourceParams {
  if (by === undefined || !source.by.includes(by)) throw fileError('source_by');
  return { by, ...(hashParams && { hashParams }) };
}

/** Looks at the first character that is no space. */
async function formatOf(source: Unpacked['source'], named: ImportFormat | undefined): Promise<ImportFormat> {
  const isSpace = (byte: number) => byte === 32 || (byte >= 9 && byte <= 13);
  let first: number | undefined;
  for (let at = 0; first === undefined; at++) {
    const head = await source.peek(at + 1);
    if (at >= head.length || at > 64 * 1024) throw fileError('file_empty');
    if (!isSpace(head[at] as number)) first = head[at];
  }
  if (named === 'csv') return 'csv';
  if (first === 0x5b) return 'json';
  return first === 0x7b || named !== undefined ? 'ndjson' : 'csv';
}
