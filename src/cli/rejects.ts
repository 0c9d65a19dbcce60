import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, stat } from 'node:fs/promises';
import { stringify } from 'csv-stringify/sync';
import { csvRecords, parseHeader, withoutBom } from '../producer/import/csv.ts';
import { frames } from '../producer/import/lines.ts';
import type { ApiClient } from './client.ts';
import { problemOf } from './client.ts';
import { cliError, exits } from './exit.ts';

/** One line of GET /imports/{id}/rejects. */
interface Reject {
  row: number;
  /** Absent for a row that became a job. */
  line?: number;
  userId?: string | null;
  org?: string | null;
  code?: string;
  result?: string;
  reason: string;
  message: string;
}

export interface Rejects {
  /** How many rows for each reason. */
  reasons: Map<string, number>;
  /** The file that was written. */
  path?: string;
  hints: string[];
}

/** The file that was imported; undefined for standard input. */
export interface Source {
  path: string;
  format: 'csv' | 'ndjson';
  /** As it was when it was sent: a changed file is not read again. */
  stamp: string;
}

export async function stampOf(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path);
  return `${ino} ${size} ${mtimeMs}`;
}

/**
 * Fetches what is not in effect and writes it to `path` (0600): the CSV source's own columns with passwords blanked and
 * code, reason, message, line after them; for other sources ids only. Every row keeps its line, so it can be corrected
 * in the file that was sent.
 */
export async function writeRejects(
  api: ApiClient,
  id: string,
  path: string,
  source: Source | undefined,
): Promise<Rejects> {
  const byRow = new Map<number, Reject>();
  const reasons = new Map<string, number>();
  for await (const reject of fetchRejects(api, id)) {
    // The server may tell a row twice.
    if (byRow.has(reject.row)) continue;
    byRow.set(reject.row, reject);
    const why = reject.reason || reject.result || 'unknown';
    reasons.set(why, (reasons.get(why) ?? 0) + 1);
  }
  if (byRow.size === 0) return { reasons, hints: [] };

  const unchanged = source !== undefined && (await stampOf(source.path).catch(() => undefined)) === source.stamp;
  const hints =
    source && !unchanged ? ['the file has changed since it was sent, so the rejects have ids and lines only'] : [];
  const file = await open(path, 'w', 0o600).catch((thrown: NodeJS.ErrnoException) => {
    throw cliError(
      exits.notInEffect,
      `cannot write the rejects to ${path} (${thrown.code}); give --rejects another path`,
    );
  });
  try {
    // The mode above holds for new files only.
    await file.chmod(0o600);
    if (source?.format === 'csv' && unchanged) await copyRows(file, source.path, byRow);
    else await writeIds(file, byRow);
  } finally {
    await file.close();
  }
  return { reasons, path, hints };
}

async function* fetchRejects(api: ApiClient, id: string): AsyncGenerator<Reject> {
  const response = await api.open(`/imports/${encodeURIComponent(id)}/rejects`);
  if (!response.ok) {
    const body = await response.json().catch(() => undefined);
    const { reason, message } = problemOf({ status: response.status, ok: false, headers: response.headers, body });
    throw cliError(exits.notInEffect, `cannot fetch the rejected rows: ${message} (${reason})`);
  }
  if (!response.body) return;
  for await (const batch of frames(asBuffers(response.body), false)) {
    for (const frame of batch) if ('bytes' in frame) yield JSON.parse(frame.bytes.toString('utf8')) as Reject;
  }
}

async function* asBuffers(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of stream) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

const added = ['code', 'reason', 'message', 'line'];
const columnsOf = (reject: Reject, line = reject.line) => [
  reject.code ?? reject.result ?? '',
  reject.reason,
  reject.message,
  `${line ?? ''}`,
];

async function copyRows(file: FileHandle, source: string, byRow: Map<number, Reject>): Promise<void> {
  let kept: number[] | undefined;
  let names: string[] = [];
  let row = 0;
  const isSecret = (name: string) => /pass|pwd|secret/i.test(name);
  const out = lineWriter(file);
  for await (const record of csvRecords(withoutBom(createReadStream(source)))) {
    if (!kept) {
      names = parseHeader(record).names;
      // A rejects file that was corrected and sent again has these already.
      kept = names.flatMap((name, index) => (added.includes(name) ? [] : [index]));
      await out([...kept.map((index) => names[index] ?? ''), ...added]);
      continue;
    }
    row++;
    const reject = byRow.get(row);
    if (!reject) continue;
    // Columns that shifted may show a password in any place: such a row keeps its line and code only.
    const fields = 'fields' in record && record.fields.length === names.length ? record.fields : undefined;
    const copied = kept.map((index) => (isSecret(names[index] ?? '') ? '' : (fields?.[index]?.toString('utf8') ?? '')));
    await out([...copied, ...columnsOf(reject, record.line)]);
  }
  await out();
}

async function writeIds(file: FileHandle, byRow: Map<number, Reject>): Promise<void> {
  const out = lineWriter(file);
  await out(['userId', 'password', 'orgId', ...added]);
  for (const reject of [...byRow.values()].sort((a, b) => a.row - b.row)) {
    await out([reject.userId ?? '', '', reject.org ?? '', ...columnsOf(reject)]);
  }
  await out();
}

/** Collects lines and writes them in blocks; without a row it writes what is left. */
function lineWriter(file: FileHandle): (row?: string[]) => Promise<void> {
  let rows: string[][] = [];
  return async (row) => {
    if (row) rows.push(row);
    if (rows.length < 500 && row) return;
    const block = stringify(rows);
    rows = [];
    await file.write(block);
  };
}
