import { PassferryError } from '../../errors.ts';
import { makeIdempotencyKey } from '../../ids.ts';
import type { PageRow } from '../../page.ts';
import type { RunOptions, RunView } from '../../run.ts';
import type { Producer } from '../producer.ts';
import { type Detected, duplicatesOf, type ParseOptions, parseBatches } from './parse.ts';
import { createSeenUsers } from './seen-users.ts';
import { createRowTaker } from './take-row.ts';

/** Who imports, and what is granted row by row. */
export interface ImportAsker {
  caller: string;
  /** The organization acted in: the run belongs to it, and rows that name none. */
  org: string;
  idempotencyKey?: string;
  mayImport(org: string): boolean;
  /** Rows with hashes need a permission of their own. Default: nowhere. */
  mayImportHash?(org: string): boolean;
  isAdmin(org: string): boolean;
}

/** What is asked of an import, beside what its file is. Times are ms since the epoch. */
export type ImportChoices = Pick<
  RunOptions,
  | 'changeRequired'
  | 'overwriteNewer'
  | 'dryRun'
  | 'maxFailures'
  | 'mails'
  | 'hashHere'
  | 'proofShare'
  | 'notBefore'
  | 'rate'
  | 'concurrency'
> & {
  duplicates?: 'last' | 'refuse';
  /** Hashes too are of passwords to be changed at the next login. Default: only passwords in clear. */
  hashesChange?: true;
  /** The asker says that a password of the source matched its hash before anything was sent. */
  known?: 'matched';
  /** When the passwords were known to be these, for rows that do not say. */
  asOf?: number | 'now';
};

export interface ImportResult {
  view: RunView;
  idempotencyKey: string;
  /** What is odd about passwords and ids that were taken as they are. */
  warnings: Detected['warnings'];
}

/** How long the rows of an import may take, ms, where nobody says. */
export const importExpiryMs = 72 * 3_600_000;

/**
 * Takes a file while it arrives: each page is stored before the next is read. When this returns, every row is stored, to be set
 * or refused. The same file under the same key goes on where a cut upload stopped. Errors: those of the file; `as_of_required`
 * before any row is stored; `idempotency_key_reused`; `accept_unknown`; `run_ended`.
 */
export async function importRows(
  producer: Producer,
  asker: ImportAsker,
  file: AsyncIterable<Buffer>,
  how: { choices: ImportChoices; parse: ParseOptions; expiresInMs?: number },
): Promise<ImportResult> {
  const { choices } = how;
  const idempotencyKey = asker.idempotencyKey ?? makeIdempotencyKey();
  const id = await producer.runId(asker.caller, asker.org, idempotencyKey);
  const { caller, org } = asker;
  const seen = createSeenUsers();
  const mac = producer.inputMac();
  let detected: Detected | undefined;
  let take: ReturnType<typeof createRowTaker> | undefined;
  let writer: Awaited<ReturnType<Producer['openRun']>> | undefined;

  const parse: ParseOptions = {
    ...how.parse,
    ...(how.parse.users && { users: mac.over(how.parse.users) }),
    onDetected: async (found) => {
      checkAge(found, choices);
      detected = found;
      take = createRowTaker(found, asker, choices);
      await how.parse.onDetected?.(found);
    },
  };
  const users = { repeated: 0, hashes: 0 };
  // Opened at the first row: a file that cannot be read leaves no run behind.
  const opened = () =>
    producer.openRun({
      ...{ id, caller, org, options: optionsOf(detected as Detected, choices, how.parse) },
      expiresInMs: how.expiresInMs ?? importExpiryMs,
    });

  try {
    for await (const batch of parseBatches(mac.over(file), parse)) {
      if (!take) throw new PassferryError('internal');
      writer ??= await opened();
      const refuses = duplicatesOf(detected as Detected, choices.duplicates) === 'refuse';
      for (const parsed of batch) {
        let { row, password } = take(parsed);
        const again = row.refused === undefined && seen.again(row.org ?? org, nameIn(row));
        if (again) users.repeated++;
        if (again && refuses) {
          password?.wipe();
          password = undefined;
          row = repeated(row);
        }
        if (row.hash && row.refused === undefined) users.hashes++;
        const full = writer.add(row, password);
        if (full) await full;
      }
    }
    writer ??= await opened();
    await writer.flush();
  } catch (error) {
    await writer?.discard();
    throw error instanceof PassferryError && error.reason === 'redis_down'
      ? new PassferryError('accept_unknown', { scope: 'backend', cause: error })
      : error;
  }
  await producer.runs.closeInput(id, writer.pages(), {
    content: `sha256:${writer.content()}`,
    ...{ mac: mac.text(), bytes: mac.bytes(), ...users },
  });
  const view = await producer.runs.view(id);
  if (!view) throw new PassferryError('accept_unknown', { scope: 'backend' });
  return { view, idempotencyKey, warnings: detected?.warnings ?? {} };
}

/** An address is no id, even where it looks like one. */
function nameIn({ user, find }: PageRow): string {
  if (user !== undefined || !find) return user ?? '';
  return 'email' in find ? `\0email ${find.email}` : `\0name ${find.userName}`;
}

/** Without it a file of last year would overwrite what people chose since. */
function checkAge(found: Detected, { asOf, overwriteNewer }: ImportChoices): void {
  if (asOf !== undefined || overwriteNewer || found.columns.setAt !== undefined) return;
  throw new PassferryError('as_of_required', { fields: [{ field: 'asOf', reason: 'as_of_required' }] });
}

/** What is stored of it, and compared with what is asked under the same key later: the same words in the same order. */
function optionsOf(
  found: Detected,
  { asOf, ...choices }: ImportChoices,
  { header, comments }: ParseOptions,
): RunOptions {
  const { format, encoding, delimiter, columns, kept, source, by } = found;
  return {
    ...{ format, encoding },
    ...(source !== 'own' && { source, ...(by && { by }) }),
    ...(delimiter !== undefined && { delimiter }),
    ...(header === false && { header }),
    ...(comments && { comments }),
    ...{ map: columns, kept },
    ...choices,
    ...(source !== 'own' && { duplicates: duplicatesOf(found, choices.duplicates) }),
    ...(asOf === 'now' ? { asOfNow: true as const } : asOf !== undefined && { asOf }),
  };
}

function repeated({ line, byte, user, columns }: PageRow): PageRow {
  return {
    line,
    ...(byte !== undefined && { byte }),
    ...(user !== undefined && { user }),
    refused: 'user_repeated',
    field: 'userId',
    ...(columns && { columns }),
  };
}
