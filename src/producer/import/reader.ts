import type { ColumnMap, ColumnName } from './columns.ts';
import type { Place } from './csv-cut.ts';
import type { Encoding } from './encoding.ts';
import type { Peekable } from './peekable.ts';
import type { RowReason } from './reasons.ts';
import type { RowValues } from './row.ts';
import type { Container, Identity } from './sources/source.ts';
import type { WarningKind } from './suspicious.ts';

export type ImportFormat = 'csv' | 'ndjson' | 'json';

/** What a file was found to be; told before its first row. Holds no row of it. */
export interface Detected {
  /** Of another product also `sql` and `ldif`. */
  format: Container;
  /** Whose file it is: the name of a source, or `own`: one of our own formats. */
  source: string;
  /** What names its users; of our own formats absent. */
  by?: Identity;
  compression: 'none' | 'gzip';
  encoding: Encoding;
  /** Of CSV only. */
  delimiter?: string;
  /** Of CSV only. */
  lineEnd?: 'lf' | 'crlf' | 'cr';
  /** Names as they stand in the file: of CSV its header; of JSON the keys of the first row. Empty without a header. */
  header: string[];
  /** Our column → its name in the file, or `#n` without a header. */
  columns: Partial<Record<ColumnName, string>>;
  /** Names of the columns that rows hand on, in file order, the password (always blank there) among them. */
  kept: string[];
  /** Lines before the header that start with `#`. */
  comments: number;
  /** How often what is odd was seen. It goes on counting while rows are read. */
  warnings: Partial<Record<WarningKind, number>>;
}

/** One row as a file says it, or why it cannot be read. */
export interface SourceRecord {
  line: number;
  byte: number;
  values?: RowValues;
  columns?: Record<string, string> | undefined;
  reason?: RowReason;
  field?: ColumnName;
  /** Of one that cannot be taken: a valid id. */
  userId?: string;
}

/**
 * What becomes of a user who stands twice: the last row wins, or later ones are refused. Of an export in which that happens nobody can say
 * which row is right.
 */
export const duplicatesOf = ({ source }: Pick<Detected, 'source'>, asked: 'last' | 'refuse' | undefined) =>
  asked ?? (source === 'own' ? 'last' : 'refuse');

export interface ReaderOptions {
  /** What names the users; default: what the file has. */
  by?: Identity;
  /** Where our columns stand; default: by their names and aliases. */
  map?: ColumnMap;
  /** Further columns to hand on, by header. Those of passwords and hashes are refused. */
  keepColumns?: readonly string[];
  /** CSV: default true. Without one `map` gives positions: `{ userId: '#1', password: '#2' }`. */
  header?: boolean;
  /** CSV: one of `,` `;` tab `|`. Default: recognised. */
  delimiter?: ',' | ';' | '\t' | '|';
  /** CSV: lines that start with `#` are dropped after the header too. Default false. */
  comments?: boolean;
  /** CSV: spaces after a delimiter are dropped, but in the password. Default: when the header has them. */
  skipSpaces?: boolean;
  /** Passwords that look odd are taken. Default false. */
  allowSuspicious?: boolean;
}

/** What a reader is given besides the bytes. */
export interface ReaderInput {
  options: ReaderOptions;
  /** Where the first byte stands in the file. */
  place: Place;
  /** To be called once, before the first record. */
  detected(found: Pick<Detected, 'header' | 'columns' | 'kept'> & Partial<Detected>): void;
}

/**
 * Bytes of a file in UTF-8, without a byte order mark → its records, in batches of one chunk. A record is valid until the next
 * is asked for; what was read is zeroed then. Another source of rows is another reader in `readers.ts`.
 */
export type Reader = (source: Peekable, input: ReaderInput) => AsyncGenerator<Iterable<SourceRecord>>;
