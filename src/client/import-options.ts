import { optionInvalid } from './http.ts';

/** The content itself, a file, or a stream of it. */
export type ImportSource = string | Uint8Array | { path: string } | AsyncIterable<Uint8Array | string>;

export interface ImportOptions {
  /**
   * How old the passwords are, for rows without `set_at`: `now`, or when they were exported. A later choice of a user is kept. Without
   * it every row needs a `set_at`: else the error `as_of_required`.
   */
  asOf?: 'now' | Date;
  /** Default: by the name of a file (`.csv`, `.ndjson`, `.jsonl`, `.json`), else recognised by the content. */
  format?: 'csv' | 'ndjson' | 'json';
  /** Our column → the file's, such as `{ userId: 'Employee No' }`. */
  map?: Record<string, string>;
  /** The same user twice: the last row wins (default), or later ones are refused. */
  duplicates?: 'last' | 'refuse';
  /** Nothing is changed; the view tells what would be. */
  dryRun?: boolean;
  /** Failed rows from which on it holds. */
  maxFailures?: number;
  /** The backend may mail users that their password was changed. Without it a run that would have them mailed holds. */
  mails?: 'allow';
  /** Share of rows whose login is proved, 0 to 1. */
  proofShare?: number;
  /** Rows a second, at most; rows at work at once, at most. */
  rate?: number;
  concurrency?: number;
  /** No row begins before. */
  notBefore?: Date;
  /** Seconds until rows that have not begun expire. Default 72 hours. */
  expiresIn?: number;
  /** Organization of rows that name none. Default: the client's, else the caller's home. */
  org?: string;
  /** For rows that say nothing about it. Default true. */
  changeRequired?: boolean;
  /** Also for users who chose another one since; needs `admin`. Default false. */
  overwriteNewer?: boolean;
  /** The same content with the same key goes on where a cut upload stopped. Default: one made here. */
  idempotencyKey?: string;
  /** Ends the upload; what arrived goes on. */
  signal?: AbortSignal;
}

export function isFile(source: ImportSource): source is { path: string } {
  return typeof source === 'object' && 'path' in source && !(Symbol.asyncIterator in source);
}

export function canRepeat(source: ImportSource): boolean {
  return typeof source === 'string' || source instanceof Uint8Array || isFile(source);
}

const mediaTypes = {
  csv: 'text/csv',
  ndjson: 'application/x-ndjson',
  json: 'application/json',
  any: 'application/octet-stream',
} as const;

/** The media type of the upload. */
export function mediaTypeOf(source: ImportSource, options: ImportOptions): string {
  return mediaTypes[formatOf(source, options) ?? 'any'];
}

/** Undefined: the server looks for itself. */
function formatOf(source: ImportSource, { format }: ImportOptions): 'csv' | 'ndjson' | 'json' | undefined {
  if (format !== undefined || !isFile(source)) return format;
  const [, ending = ''] = /\.(csv|ndjson|jsonl|json)$/i.exec(source.path) ?? [];
  return ({ csv: 'csv', ndjson: 'ndjson', jsonl: 'ndjson', json: 'json' } as const)[ending.toLowerCase()];
}

/** The query of `POST /imports`. Error: `option_invalid`. */
export function queryOf(options: ImportOptions): URLSearchParams {
  const { changeRequired = true, overwriteNewer = false, asOf, notBefore, map = {}, dryRun } = options;
  const query = new URLSearchParams({
    ...(!changeRequired && { noChangeRequired: 'true' }),
    ...(overwriteNewer && { overwriteNewer: 'true' }),
    ...(dryRun && { dryRun: 'true' }),
    ...(asOf !== undefined && { asOf: asOf === 'now' ? asOf : timeOf(asOf, 'asOf') }),
    ...(notBefore && { notBefore: timeOf(notBefore, 'notBefore') }),
  });
  for (const name of [
    'duplicates',
    'maxFailures',
    'mails',
    'proofShare',
    'rate',
    'concurrency',
    'expiresIn',
  ] as const) {
    if (options[name] !== undefined) query.set(name, String(options[name]));
  }
  for (const [ours, theirs] of Object.entries(map)) query.append('map', `${ours}:${theirs}`);
  return query;
}

function timeOf(time: Date, field: string): string {
  if (!(time instanceof Date) || Number.isNaN(time.getTime())) throw optionInvalid(field);
  return time.toISOString();
}
