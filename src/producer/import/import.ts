import type { Readable } from 'node:stream';
import { PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import type { RunView } from '../../ledger/runs.ts';
import type { ImportRow, Producer } from '../producer.ts';
import { type ImportFormat, isRejected, type ParsedRow, parseRows, type RejectedRow, rowReasonFacts } from './parse.ts';

/** Who imports, and what is granted row by row. */
export interface ImportAsker {
  caller: string;
  /** The organization acted in: the run belongs to it, and rows that name none. */
  org: string;
  idempotencyKey?: string;
  mayImport(org: string): boolean;
  isAdmin(org: string): boolean;
}

/** Rows stored at once: larger blocks keep Redis busy, smaller ones cost round trips. */
const chunkRows = 500;
const expiresInMs = 72 * 3_600_000;

/**
 * Takes a file while it arrives: each chunk is stored before the next is read. When this returns, every row is a job or a
 * reject. The same file under the same key goes on where a cut upload stopped.
 */
export async function importRows(
  producer: Producer,
  asker: ImportAsker,
  file: Readable,
  options: { format: ImportFormat; noChangeRequired: boolean; overwriteNewer?: boolean },
): Promise<{ view: RunView; idempotencyKey: string }> {
  const idempotencyKey = asker.idempotencyKey ?? makeIdempotencyKey();
  const id = await producer.runId(asker.caller, asker.org, idempotencyKey);
  const { overwriteNewer = false } = options;
  let run: { expiresAt: number } | undefined;
  let chunk: ImportRow[] = [];

  // Opened at the first row: a file that cannot be read leaves no run behind.
  const opened = async () => {
    run ??= await producer.runs.open({ id, caller: asker.caller, org: asker.org, expiresInMs, overwriteNewer });
    return { id, expiresAt: run.expiresAt };
  };
  const store = async () => {
    const rows = chunk;
    chunk = [];
    const at = await opened();
    // What protected users need is granted by organization.
    for (const admin of [false, true]) {
      const part = rows.filter((row) => asker.isAdmin(row.org) === admin);
      if (part.length > 0) await producer.addRows({ caller: asker.caller, admin }, at, part);
    }
  };

  const takeRows = async () => {
    for await (const parsed of parseRows(file, options)) {
      const rejected = isRejected(parsed) ? parsed : refuse(parsed, asker);
      if (rejected) {
        await opened();
        await producer.runs.reject(id, rejected.row, describe(rejected));
        continue;
      }
      const row = parsed as ParsedRow;
      chunk.push({
        row: row.row,
        org: row.org ?? asker.org,
        user: row.userId,
        password: row.password,
        changeRequired: !(row.noChangeRequired ?? options.noChangeRequired),
        overwriteNewer,
      });
      if (chunk.length >= chunkRows) await store();
    }
    if (chunk.length > 0) await store();
  };

  try {
    await takeRows();
  } catch (error) {
    // Refused for what it is, not cut: what the run had before stays as it was.
    const refused = error instanceof PassferryError && error.reason === 'idempotency_key_reused';
    if (run && refused) await producer.runs.closeInput(id);
    throw error;
  }
  await opened();
  await producer.runs.closeInput(id);
  const view = await producer.runs.view(id);
  if (!view) throw new PassferryError('accept_unknown', { scope: 'backend' });
  return { view, idempotencyKey };
}

type Refused = Omit<RejectedRow, 'reason' | 'field'> & { reason: string; field?: string };

function refuse(row: RejectedRow | ParsedRow, asker: ImportAsker): Refused | undefined {
  if (isRejected(row)) return row;
  const org = row.org ?? asker.org;
  if (asker.mayImport(org)) return undefined;
  row.password.wipe();
  // Not the organization: in a row whose columns shifted it may be a piece of a password (P4).
  return { row: row.row, line: row.line, userId: row.userId, reason: 'org_not_granted' };
}

function describe(rejected: Refused): object {
  return { ...rejected, ...rowReasonFacts(rejected.reason as RejectedRow['reason']) };
}
