import type { PageRow } from '../../page.ts';
import type { Secret } from '../../secret.ts';
import type { ColumnName } from './columns.ts';
import type { ImportAsker, ImportChoices } from './import.ts';
import { type Detected, isRejected, type ParsedRow, type RejectedRow } from './parse.ts';
import { isRejectsFile, restored } from './rejects-file.ts';

/** In which columns are checked. */
const checkOrder: readonly ColumnName[] = [
  ...(['userId', 'email', 'userName', 'orgId', 'noChangeRequired', 'changeRequired', 'setAt'] as const),
  ...(['password', 'passwordHash'] as const),
];

/** Rows of one file as they were read → as they are stored: whose organization is granted, and how old they are. */
export function createRowTaker(detected: Detected, asker: ImportAsker, choices: ImportChoices) {
  const { userId: userColumn, orgId: orgColumn } = detected.columns;
  // A spreadsheet was kept from reading these as formulas.
  const raw = detected.format === 'csv' && isRejectsFile(detected.header) ? restored : (text: string) => text;

  /** The file's columns for the rejects, without what the row itself says already. */
  function addColumns(stored: PageRow, columns: Record<string, string> | undefined, user?: string, org?: string): void {
    for (const name in columns) {
      const text = columns[name] as string;
      if (text === '' || (name === userColumn && text === user) || (text === org && name === orgColumn)) continue;
      stored.columns ??= {};
      stored.columns[name] = raw(text);
    }
  }

  /** Of a refused row only what was found good: a value in the wrong column may be a piece of a password (P4). */
  function checkedOnly(columns: Record<string, string> | undefined, bad: string | undefined) {
    if (!columns || bad === 'password' || bad === 'passwordHash') return columns;
    const checked = checkOrder.slice(0, Math.max(0, checkOrder.indexOf(bad as ColumnName)));
    const names = new Set(checked.map((name) => detected.columns[name]));
    return Object.fromEntries(Object.entries(columns).filter(([name]) => names.has(name)));
  }

  function refused(row: RejectedRow): PageRow {
    const { line, byte, userId, reason, field } = row;
    const stored: PageRow = {
      ...{ line, byte },
      ...(userId !== undefined && { user: raw(userId) }),
      refused: reason,
      ...(field !== undefined && { field }),
    };
    addColumns(stored, checkedOnly(row.columns, field), userId);
    return stored;
  }

  const lookedUpBy = ({ email, userName }: ParsedRow) =>
    email === undefined ? { userName: raw(userName as string) } : { email };

  // Once a row of millions: one object, nothing that is only passed on.
  function taken(row: ParsedRow): { row: PageRow; password?: Secret } {
    const org = row.org === undefined ? asker.org : raw(row.org);
    const { line, byte, userId } = row;
    const stored: PageRow =
      userId === undefined ? { line, byte, find: lookedUpBy(row) } : { line, byte, user: raw(userId) };
    const asOf = row.setAt ?? (choices.asOf === 'now' ? undefined : choices.asOf);
    if (!asker.mayImport(org)) {
      // Not the organization: in a row whose columns shifted it may be a piece of a password (P4).
      stored.refused = 'org_not_granted';
      stored.field = 'orgId';
    } else if (row.hash && !asker.mayImportHash?.(org)) {
      stored.refused = 'hash_not_granted';
      stored.field = 'passwordHash';
    } else if (asOf === undefined && choices.asOf === undefined && !choices.overwriteNewer) {
      stored.refused = 'set_at_missing';
      stored.field = 'setAt';
    } else {
      if (org !== asker.org) stored.org = org;
      // A hash is of a password that the user knows already.
      const change = row.hash ? choices.hashesChange === true : choices.changeRequired;
      if (row.changeRequired ?? change) stored.changeRequired = true;
      if (row.hash) stored.hash = row.hash;
      if (asker.isAdmin(org)) stored.admin = true;
      if (asOf !== undefined) stored.asOf = asOf;
    }
    const columns = stored.refused === undefined ? row.columns : checkedOnly(row.columns, stored.field);
    addColumns(stored, columns, row.userId, org === asker.org ? undefined : row.org);
    if (stored.refused === undefined) return { row: stored, password: row.password };
    row.password.wipe();
    return { row: stored };
  }

  return (row: ParsedRow | RejectedRow): { row: PageRow; password?: Secret } =>
    isRejected(row) ? { row: refused(row) } : taken(row);
}
