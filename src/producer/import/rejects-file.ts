import { stringify } from 'csv-stringify/sync';
import type { RunOptions } from '../../run.ts';
import type { RowView } from '../runs.ts';

/**
 * Rejects in the format of their input: its own columns in its own order, the password blank, then what is wrong. Corrected, the
 * file can be imported as it is.
 */

/** After the columns of the file. */
const added = ['code', 'reason', 'advice', 'line', 'byte'] as const;

/** Does a file look like one that was written here? */
export function isRejectsFile(header: readonly string[]): boolean {
  return header.length > added.length && added.every((name, i) => header[header.length - added.length + i] === name);
}

/** What a spreadsheet would run as a formula; the apostrophes are those that were put before it. */
const formula = /^'*[=+\-@\t\r]/;

/** A text that no spreadsheet takes for a formula. */
export function neutralized(text: string): string {
  return formula.test(text) ? `'${text}` : text;
}

/** The text that {@link neutralized} made this of. */
export function restored(text: string): string {
  return text.startsWith("'") && formula.test(text) ? text.slice(1) : text;
}

export type RejectsOptions = Pick<RunOptions, 'format' | 'delimiter' | 'kept' | 'map'>;

/** Columns of the file that its rejects have. Where nothing is known of it: those of a plain one. */
function namesOf({ kept }: RejectsOptions): string[] {
  const names = (kept ?? []).filter((name) => !(added as readonly string[]).includes(name));
  return names.length > 0 ? names : ['userId', 'password', 'orgId'];
}

function facts(row: RowView): Record<(typeof added)[number], string> {
  return {
    code: row.code ?? row.result ?? '',
    reason: row.reason ?? '',
    advice: row.advice ?? '',
    line: String(row.line),
    byte: row.byte === undefined ? '' : String(row.byte),
  };
}

/** The columns that are blank unless the reader has the file itself. */
function secretNames({ map = {} }: RejectsOptions) {
  // A column of this name may hold anything, where another one has the hashes.
  const password = map.password ?? (map.passwordHash === undefined ? 'password' : undefined);
  return { password, hash: map.passwordHash, has: (name: string) => name === password || name === map.passwordHash };
}

interface Secrets {
  password: string;
  hash: string;
}

/** What the row says in a column of the file; secrets only where the reader has the file itself. */
function cell(name: string, row: RowView, options: RejectsOptions, secrets: Secrets): string {
  const { map = {} } = options;
  const columns = secretNames(options);
  if (name === columns.password) return secrets.password;
  if (name === columns.hash) return secrets.hash;
  if (row.columns) return row.columns[name] ?? '';
  // Without a mapping the names are ours.
  if (name === (map.userId ?? 'userId')) return row.userId ?? '';
  return '';
}

/** Of a run → the pieces of its rejects file. `password` and `hash` are neither changed nor kept. */
export function rejectsFile(options: RejectsOptions) {
  const names = namesOf(options);
  const { delimiter = ',', format, map = {} } = options;
  const line = (cells: string[]) => stringify([cells], { delimiter, record_delimiter: '\n' });
  const secret = secretNames(options);
  let rows = 0;

  if (format === 'csv') {
    return {
      type: 'text/csv',
      extension: 'csv',
      head: line([...(names[0]?.startsWith('#') ? plainNames(names, map) : names), ...added]),
      row: (row: RowView, password = '', hash = '') =>
        line([
          ...names.map((name) => {
            const text = cell(name, row, options, { password, hash });
            return secret.has(name) ? text : neutralized(text);
          }),
          ...Object.values(facts(row)),
        ]),
      tail: '',
    };
  }
  const object = (row: RowView, secrets: Secrets) =>
    JSON.stringify({
      ...Object.fromEntries(
        names.flatMap((name) => {
          const text = cell(name, row, options, secrets);
          return text === '' && !secret.has(name) ? [] : [[name, text]];
        }),
      ),
      ...facts(row),
    });
  const isList = format === 'json';
  return {
    type: isList ? 'application/json' : 'application/x-ndjson',
    extension: isList ? 'json' : 'ndjson',
    head: isList ? '[' : '',
    row: (row: RowView, password = '', hash = '') =>
      isList
        ? `${rows++ === 0 ? '\n' : ',\n'}${object(row, { password, hash })}`
        : `${object(row, { password, hash })}\n`,
    tail: isList ? '\n]\n' : '',
  };
}

/** A file without a header gets one: its rejects say more than it did. */
function plainNames(names: string[], map: Record<string, string>): string[] {
  return names.map((name) => Object.entries(map).find(([, theirs]) => theirs === name)?.[0] ?? name);
}
