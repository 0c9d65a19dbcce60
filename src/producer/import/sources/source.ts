import type { RowReason } from '../reasons.ts';

/**
 * What another product writes. A source is one file here and one line in `all.ts`; a container that none has had yet is one file
 * and one line in `containers.ts`.
 */

/** How records stand in a file. `json`: a list, or an object that has one. */
export type Container = 'csv' | 'ndjson' | 'json' | 'sql' | 'ldif';

/** One record by the names that its file has: of CSV and SQL texts (SQL NULL is null), of JSON anything. */
export type Fields = Record<string, unknown>;

/** Which fact of a record names the user in the target. */
export const identities = ['id', 'email', 'username'] as const;
export type Identity = (typeof identities)[number];

/** What the beginning of a file shows; complete records only. */
export interface Sample {
  container: Container;
  /** CSV: the cells of its first record as they stand. Else the names of the first record. */
  names: string[];
  /** At most 20. CSV: those after the first, by its cells. Empty when nothing could be read. */
  records: Fields[];
  /** What the records are of, where the container says it: an SQL table. One for each record. */
  of: (string | undefined)[];
  /** JSON: the key in whose value the list stands, and all names beside it that were seen. */
  list?: string;
  outer: string[];
}

/**
 * `sure`: marks that nothing else has. `maybe`: it could be; the format is asked for (`--from`), never guessed. A `sure` of two
 * sources is a `maybe` of both.
 */
export type Score = 'sure' | 'maybe' | 'no';

/** What is asked of a source beside the file. */
export interface SourceParams {
  by: Identity;
  /** `--hash-params`: how a project hashes, where its files do not say it. May hold secrets: never told. */
  hashParams?: Fields;
}

/** What a source makes of one record. Whatever it is, it is checked as a row of our own formats is. */
export interface Person {
  /** The id of the source, as the target should know it. */
  id?: unknown;
  email?: unknown;
  userName?: unknown;
  /** One of both. A hash as `hashes/recognise.ts` reads it, credentials in JSON too; '' where the user has none. */
  password?: unknown;
  passwordHash?: unknown;
  /** RFC 3339, or seconds or milliseconds since 1970. */
  setAt?: unknown;
  changeRequired?: boolean;
  /** Why no password can be set: then neither of the two is read. */
  refused?: RowReason;
}

/** Two files of one export, joined by an id that never changes. */
export interface Join {
  /** Whether a file is that of the users, or that of the passwords. */
  users(sample: Sample): Score;
  passwords(sample: Sample): Score;
  /** The id of a record in either of them, in one form; undefined or '' is refused. */
  userKey(fields: Fields): string | undefined;
  passwordKey(fields: Fields): string | undefined;
}

export interface Source {
  /** For `--from`. */
  name: string;
  /** As people know it. */
  title: string;
  containers: readonly Container[];
  /** JSON: keys in whose value its list may stand when the file is an object. */
  lists?: readonly string[];
  /** CSV without a header: the names of its columns; a record may have fewer. Taken when `headerless` says so. */
  positions?: readonly string[];
  headerless?(sample: Sample): boolean;
  /** How a user is named, the default first. */
  by: readonly Identity[];
  /** Looks at names and marks only; never throws. */
  recognise(sample: Sample): Score;
  /** Whether the sample has what passwords are made of; absent: it has. Else the file is refused (`source_no_passwords`). */
  hasPasswords?(sample: Sample): boolean;
  /**
   * One record → the user and the hash; pure, never throws. Undefined: it is no user (another SQL table), and is passed over.
   * `of`: what the container says the record is of.
   */
  read(fields: Fields, params: SourceParams, of: string | undefined): Person | undefined;
  join?: Join;
  /** No file of it ever has passwords: it is refused as a whole (`source_resets_only`). */
  resetsOnly?: true;
}

/** Case, spaces, `_`, `-`, `.` and `:` in a name do not count. */
export const plainName = (name: string) =>
  name
    .trim()
    .replaceAll(/[\s_.:-]/g, '')
    .toLowerCase();

/** Has a sample all of these names? Exactly as written. */
export function hasAll(names: readonly string[], ...wanted: string[]): boolean {
  return wanted.every((name) => names.includes(name));
}

/** Some record of a sample has a value under this name that is such a text. */
export function someText({ records }: Sample, name: string, form: RegExp): boolean {
  return records.some((fields) => {
    const value = fields[name];
    return typeof value === 'string' && form.test(value);
  });
}

/** The object in a value, also when it is JSON in a text; else undefined. */
export function objectIn(value: unknown): Fields | undefined {
  let found = value;
  if (typeof value === 'string' && /^\s*\{/.test(value)) {
    try {
      found = JSON.parse(value);
    } catch {
      return undefined;
    }
  }
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? (found as Fields) : undefined;
}

/** What a field of CSV says when it says nothing. */
export const isBlank = (value: unknown) => value === undefined || value === null || value === '';
