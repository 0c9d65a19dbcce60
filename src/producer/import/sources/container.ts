import type { Place } from '../csv-cut.ts';
import type { Peekable } from '../peekable.ts';
import type { ImportReason } from '../reasons.ts';
import type { Container, Fields } from './source.ts';

/** One record as its container says it, or why it cannot be read. `line` from 1, `byte` from 0. */
export type FieldsRecord = { line: number; byte: number } & (
  | { fields: Fields; of?: string | undefined }
  | { reason: ImportReason }
);

export interface ContainerInput {
  /** Where the first byte stands in the file. */
  place: Place;
  /** JSON: keys in whose value a list may stand. */
  lists: readonly string[];
  /** CSV: names of the columns of a file without a header. */
  positions?: readonly string[] | undefined;
  delimiter?: string | undefined;
  comments?: boolean | undefined;
  /** CSV: told of the first record; JSON: of each name at the first level beside the list, and then of the list. */
  names?(names: string[]): void;
  outer?(name: string): void;
  list?(name: string): void;
  /** What is told about the file beside its rows. */
  dialect?(found: { delimiter: string; lineEnd: 'lf' | 'crlf' | 'cr'; comments: number }): void;
}

/**
 * Bytes of a file in UTF-8 → its records, in batches of one chunk, while they arrive; never more than a record and a chunk is held.
 * What was read is zeroed (P4). A record is valid until the next is asked for. The file of containers throws file errors only.
 */
export interface ContainerReader {
  name: Container;
  /** Does text that begins so look like it? `head`: up to 4,096 bytes after blanks, in latin1. The first that says yes reads it. */
  begins(head: string): boolean;
  read(source: Peekable, input: ContainerInput): AsyncGenerator<Iterable<FieldsRecord>>;
}
