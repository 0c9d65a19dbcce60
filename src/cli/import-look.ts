import { createReadStream } from 'node:fs';
import { importAdvice } from '../producer/import/advice.ts';
import { type Detected, isRejected, type ParseOptions, parseRows } from '../producer/import/parse.ts';
import { sourceNamed } from '../producer/import/sources/all.ts';
import { type WarningKind, warningTexts } from '../producer/import/suspicious.ts';
import { told } from './client.ts';
import type { AskOptions } from './import-options.ts';
import { counted, grouped, note, printable, withFlags } from './output.ts';

/** Rows that are looked at before anything is sent. */
const lookedAt = 200;

/** What the beginning of a file shows. */
export interface Look {
  detected: Detected;
  rows: number;
  /** First rows that cannot be taken. */
  bad: { row: number; line: number; reason: string }[];
}

/** Reads the beginning of a file as the server will. Errors: those of the file. */
export async function lookAt(path: string, options: ParseOptions): Promise<Look> {
  let detected: Detected | undefined;
  const bad: Look['bad'] = [];
  let rows = 0;
  const onDetected = (found: Detected) => {
    detected = found;
  };
  for await (const row of parseRows(createReadStream(path), { ...options, onDetected })) {
    rows++;
    if (isRejected(row)) bad.push({ row: row.row, line: row.line, reason: row.reason });
    else row.password.wipe();
    if (rows >= lookedAt) break;
  }
  return { detected: detected as Detected, rows, bad };
}

/** A file that is refused: why, and what a person does about it. */
export function refusal(problem: Parameters<typeof told>[0]): string {
  const { reason } = problem;
  const advice = Object.hasOwn(importAdvice, reason) ? (importAdvice as Record<string, string>)[reason] : undefined;
  return `${told(problem)}${advice === undefined ? '' : `. ${withFlags(advice)}`}`;
}

/** What is odd about rows that are taken: how many, and what it means. */
export function warningLine(kind: string, rows: number): string {
  const text = Object.hasOwn(warningTexts, kind) ? `: ${warningTexts[kind as WarningKind]}` : '';
  return `taken as it is: ${grouped(rows)} × ${printable(kind)}${text}`;
}

const formats = {
  csv: 'CSV',
  ndjson: 'one JSON object a line',
  json: 'a JSON list',
  sql: 'an SQL dump',
  ldif: 'LDIF',
} as const;
const named = {
  id: 'id in the file, which must be that of the target',
  email: 'e-mail address',
  username: 'user name',
};
const delimiters: Record<string, string> = { ',': 'commas', ';': 'semicolons', '\t': 'tabs', '|': 'bars' };
const lineEnds = { lf: 'LF', crlf: 'CRLF', cr: 'CR' } as const;

/** Says what was recognised and what will be done with it, on stderr: names of columns and numbers of rows, never a value. */
export function showLook(path: string, { detected, rows, bad }: Look, options: AskOptions): void {
  const { format, compression, encoding, delimiter, lineEnd, columns, header, kept, source, by } = detected;
  const how = [
    formats[format],
    ...(delimiter === undefined ? [] : [delimiters[delimiter] ?? 'a delimiter']),
    encoding.toUpperCase(),
    ...(lineEnd === undefined ? [] : [`lines end in ${lineEnds[lineEnd]}`]),
    ...(compression === 'gzip' ? ['packed with gzip'] : []),
  ];
  note(`${printable(path)}: ${how.join(', ')}`);
  if (source !== 'own') {
    note(`  of ${sourceNamed(source)?.title ?? source}: users are found by their ${named[by ?? 'id']}`);
  }
  const taken = Object.entries(columns).map(([ours, theirs]) => (ours === theirs ? ours : `${ours} from "${theirs}"`));
  note(`  columns: ${printable(taken.join(', '))}`);
  const dropped = source === 'own' ? header.filter((name) => !kept.includes(name)) : [];
  if (dropped.length > 0) note(`  not used: ${printable(dropped.join(', '))}`);
  const hashed = columns.passwordHash !== undefined;
  if (columns.password !== undefined || !hashed)
    note(
      `  ${hashed ? 'of passwords: ' : ''}${options.changeRequired !== false ? 'users must change it at the next login' : 'users need not change it at the next login'}, unless a row says otherwise`,
    );
  if (hashed)
    note(
      `  hashes are stored as they are: ${options.changeRequired ? 'a change at the next login too' : 'no change at the next login (--change-required forces it)'} unless a row says otherwise, and no check of the policy`,
    );
  if (options.hashHere)
    note(`  passwords are checked and hashed by the workers, bcrypt of cost ${options.hashCost ?? 12}`);
  if (options.overwriteNewer) note('  what users chose since is OVERWRITTEN');
  else if (options.asOf !== undefined)
    note(`  a password that a user chose after ${options.asOf === 'now' ? 'this moment' : options.asOf} is kept`);
  if (options.dryRun) note('  dry run: nothing is changed');
  if (bad.length === 0) return;
  const some = bad.slice(0, 3).map(({ row, line, reason }) => `row ${row} (line ${line}): ${reason}`);
  const more = bad.length > some.length ? `, and ${bad.length - some.length} more` : '';
  note(`  of the first ${counted(rows, 'row')}, not to be taken: ${some.join(', ')}${more}`);
}
