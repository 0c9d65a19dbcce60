import { optionInvalid } from './http.ts';
import type { ImportSource } from './import-body.ts';

/** Names as Firebase has them; `mem_cost` and the like are understood too. */
export interface HashParams {
  algorithm: string;
  rounds?: number;
  memCost?: number;
  blockSize?: number;
  parallelization?: number;
  passwordHashOrder?: string;
}

export interface ImportOptions {
  /**
   * How old the passwords are, for rows without `set_at`: `now`, or when they were exported. A later choice of a user is kept. Without
   * it every row needs a `set_at`: else the error `as_of_required`.
   */
  asOf?: 'now' | Date;
  /** Default: by the name of a file (`.csv`, `.ndjson`, `.jsonl`, `.json`), else recognised by the content. */
  format?: 'csv' | 'ndjson' | 'json';
  /** Whose file it is: a name of docs/import.md, such as `auth0`; `own`: none of them. Default `auto`: recognised by its content. */
  from?: string;
  /** What names the users of another product in the target. Default: their id, where its files have one. */
  by?: 'id' | 'email' | 'username';
  /** The users of an export in two files; the source is then its passwords. They are joined by an id that never changes. */
  users?: ImportSource;
  /** How the source hashes, where its files do not say it. Leave a signer key out: it is not used. */
  hashParams?: HashParams;
  /** The source adds a secret to every password before it hashes it: its hashes are refused. */
  peppered?: boolean;
  /** You have compared a known password of the source with its hash: the report says so. */
  known?: 'matched';
  /** Our column → the file's, such as `{ userId: 'Employee No' }`. */
  map?: Record<string, string>;
  /** The same user twice: the last row wins, or later ones are refused. Default `last`; of other products `refuse`. */
  duplicates?: 'last' | 'refuse';
  /** Nothing is changed; the view tells what would be. */
  dryRun?: boolean;
  /** Failed rows from which on it holds. */
  maxFailures?: number;
  /** The backend may mail users that their password was changed. Without it a run that would have them mailed holds. */
  mails?: 'allow';
  /** Workers check the policy, hash with bcrypt and send hashes, so that the backend does not hash; else the error `hash_here_unsupported`. */
  hashHere?: boolean;
  /** With `hashHere`: the cost of bcrypt, 10 to 16. Default 12. */
  hashCost?: number;
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
  /** For rows that say nothing about it. Default: passwords have to be changed at the next login, and hashes need not be. */
  changeRequired?: boolean;
  /** Also for users who chose another one since; needs `admin`. Default false. */
  overwriteNewer?: boolean;
  /** The same content with the same key goes on where a cut upload stopped. Default: one made here. */
  idempotencyKey?: string;
  /** Ends the upload; what arrived goes on. */
  signal?: AbortSignal;
}

/** The query of `POST /imports`. Error: `option_invalid`. */
export function queryOf(options: ImportOptions): URLSearchParams {
  const { changeRequired, overwriteNewer = false, asOf, notBefore, map = {}, dryRun, peppered, format } = options;
  // Of one file the media type says it.
  const inForm = options.users !== undefined || options.hashParams !== undefined;
  const query = new URLSearchParams({
    ...(changeRequired && { changeRequired: 'true' }),
    ...(changeRequired === false && { noChangeRequired: 'true' }),
    ...(overwriteNewer && { overwriteNewer: 'true' }),
    ...(dryRun && { dryRun: 'true' }),
    ...(options.hashHere && { hashHere: 'true' }),
    ...(peppered && { peppered: 'true' }),
    ...(inForm && format && { format }),
    ...(asOf !== undefined && { asOf: asOf === 'now' ? asOf : timeOf(asOf, 'asOf') }),
    ...(notBefore && { notBefore: timeOf(notBefore, 'notBefore') }),
  });
  for (const name of [
    'from',
    'by',
    'known',
    'duplicates',
    'maxFailures',
    'mails',
    'hashCost',
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
