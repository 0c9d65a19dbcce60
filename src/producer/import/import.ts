import type { Readable } from 'node:stream';
import { PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import type { PageRow } from '../../page.ts';
import type { RunOptions, RunView } from '../../run.ts';
import type { Secret } from '../../secret.ts';
import type { Producer } from '../producer.ts';
import { isRejected, type ParsedRow, type ParseOptions, parseRows, type RejectedRow } from './parse.ts';
import { createSeenUsers } from './seen-users.ts';

/** Who imports, and what is granted row by row. */
export interface ImportAsker {
  caller: string;
  /** The organization acted in: the run belongs to it, and rows that name none. */
  org: string;
  idempotencyKey?: string;
  mayImport(org: string): boolean;
  isAdmin(org: string): boolean;
}

const expiresInMs = 72 * 3_600_000;

/**
 * Takes a file while it arrives: each page is stored before the next is read. When this returns, every row is stored, to be set
 * or refused. The same file under the same key goes on where a cut upload stopped.
 */
export async function importRows(
  producer: Producer,
  asker: ImportAsker,
  file: Readable,
  options: { run: RunOptions; parse: ParseOptions; expiresInMs?: number },
): Promise<{ view: RunView; idempotencyKey: string }> {
  const idempotencyKey = asker.idempotencyKey ?? makeIdempotencyKey();
  const id = await producer.runId(asker.caller, asker.org, idempotencyKey);
  const { caller, org } = asker;
  const seen = createSeenUsers();
  let writer: Awaited<ReturnType<Producer['openRun']>> | undefined;

  // Opened at the first row: a file that cannot be read leaves no run behind.
  const opened = async () => {
    writer ??= await producer.openRun({
      ...{ id, caller, org, options: options.run },
      expiresInMs: options.expiresInMs ?? expiresInMs,
    });
    return writer;
  };

  try {
    for await (const parsed of parseRows(file, options.parse)) {
      const { row, password } = isRejected(parsed) ? { row: refused(parsed) } : taken(parsed, asker, options.run);
      const named = row.refused === undefined && row.user !== undefined;
      if (named && seen.again(row.org ?? org, row.user as string) && options.run.duplicates === 'refuse') {
        password?.wipe();
        await (await opened()).add({ ...place(row), user: row.user as string, refused: 'user_repeated' });
      } else await (await opened()).add(row, password);
    }
    await (await opened()).flush();
  } catch (error) {
    writer?.discard();
    throw error instanceof PassferryError && error.reason === 'redis_down'
      ? new PassferryError('accept_unknown', { scope: 'backend', cause: error })
      : error;
  }
  await producer.runs.closeInput(id, writer?.pages() ?? 0);
  const view = await producer.runs.view(id);
  if (!view) throw new PassferryError('accept_unknown', { scope: 'backend' });
  return { view, idempotencyKey };
}

const place = ({ line, byte }: { line: number; byte?: number }) => ({ line, ...(byte !== undefined && { byte }) });

function refused(row: RejectedRow): PageRow {
  const { userId, reason, field } = row;
  return {
    ...place(row),
    ...(userId !== undefined && { user: userId }),
    refused: reason,
    ...(field !== undefined && { field }),
  };
}

function taken(row: ParsedRow, asker: ImportAsker, run: RunOptions): { row: PageRow; password?: Secret } {
  const org = row.org ?? asker.org;
  if (!asker.mayImport(org)) {
    row.password.wipe();
    // Not the organization: in a row whose columns shifted it may be a piece of a password (P4).
    return { row: { ...place(row), user: row.userId, refused: 'org_not_granted' } };
  }
  const changeRequired = row.noChangeRequired === undefined ? run.changeRequired : !row.noChangeRequired;
  return {
    row: {
      ...place(row),
      user: row.userId,
      ...(org !== asker.org && { org }),
      ...(changeRequired && { changeRequired }),
      ...(asker.isAdmin(org) && { admin: true }),
      ...(run.asOf !== undefined && { asOf: run.asOf }),
    },
    password: row.password,
  };
}
