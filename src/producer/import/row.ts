import type { Reason } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import { checkOrgId, checkPassword, checkUserId } from '../validate.ts';
import type { ColumnName } from './columns.ts';
import type { RowReason } from './reasons.ts';
import { parseSetAt } from './set-at.ts';
import { idWarnings, passwordWarnings, suspicion, type WarningKind } from './suspicious.ts';

/** Where a row stands. `row` counts data rows from 1, `line` physical lines from 1, `byte` bytes of the unpacked file from 0. */
export interface RowPlace {
  row: number;
  line: number;
  byte: number;
}

/** A row that can become a job. */
export interface ParsedRow extends RowPlace {
  userId: string;
  org?: string;
  password: Secret;
  noChangeRequired?: boolean;
  /** The same as `!noChangeRequired`, whichever of the two the file says. */
  changeRequired?: boolean;
  /** When the password was known to be this one, ms since the epoch. */
  setAt?: number;
  /** The file's own columns without secrets, by header, in file order. */
  columns?: Record<string, string>;
}

/** A row that cannot. `userId` only when it is a valid id; never the value that was wrong. */
export interface RejectedRow extends RowPlace {
  userId?: string;
  reason: RowReason;
  field?: ColumnName;
  /** As in a row that can; absent when the row did not parse to the columns of the header. */
  columns?: Record<string, string>;
}

export function isRejected(row: ParsedRow | RejectedRow): row is RejectedRow {
  return 'reason' in row;
}

/** What a file says for each column; null and absent are the same. */
export type RowValues = { [name in ColumnName | 'passwordHash' | 'email' | 'userName']?: unknown };

export interface RowOptions {
  /** For rows that say nothing about it. */
  noChangeRequired?: boolean | undefined;
  /** Takes passwords that look like hashes or marks for a missing one. Default false. */
  allowSuspicious?: boolean | undefined;
  /** Told of what is odd but taken. */
  warn?: ((kind: WarningKind) => void) | undefined;
}

// Excel: 1.04133E+17. A bare `12e5` may be a real id.
const eNotation = /^\s*[+-]?(?:\d+[.,]\d+E[+-]?\d+|\d+E\+\d+)\s*$/i;

const flags: Record<string, boolean> = { true: true, '1': true, yes: true, false: false, '0': false, no: false };

const ignore = () => undefined;

/** Values of one row → a row; the first thing that is wrong rejects it. */
export function toRow(
  place: RowPlace,
  values: RowValues,
  columns: Record<string, string> | undefined,
  { noChangeRequired, allowSuspicious = false, warn = ignore }: RowOptions = {},
): ParsedRow | RejectedRow {
  const { row, line, byte } = place;
  const userReason = checkId(values.userId ?? '', checkUserId, 'user_id_not_text', 'user_id_e_notation');
  if (userReason) return { row, line, byte, reason: userReason, field: 'userId', ...(columns && { columns }) };
  const userId = values.userId as string;
  const reject = (field: ColumnName, reason: RowReason): RejectedRow => ({
    ...{ row, line, byte, userId, reason, field },
    ...(columns && { columns }),
  });

  const org = values.orgId ?? '';
  if (org !== '') {
    const orgReason = checkId(org, checkOrgId, 'org_id_not_text', 'org_id_e_notation');
    if (orgReason) return reject('orgId', orgReason);
  }

  const noChange = flagOf(values.noChangeRequired);
  if (noChange === 'field_type') return reject('noChangeRequired', noChange);
  const change = flagOf(values.changeRequired);
  if (change === 'field_type') return reject('changeRequired', change);
  if (noChange !== undefined && change !== undefined) return reject('changeRequired', 'change_twice');

  const setAt = (values.setAt ?? undefined) === undefined ? null : parseSetAt(values.setAt);
  if (typeof setAt === 'string') return reject('setAt', setAt);

  const password = values.password ?? '';
  if (typeof password !== 'string') return reject('password', 'field_type');
  const odd = allowSuspicious ? undefined : suspicion(password);
  const passwordReason = odd ?? (short.test(password) ? undefined : checkPassword(password));
  if (passwordReason) return reject('password', passwordReason);

  idWarnings(userId, warn);
  passwordWarnings(password, warn);
  const parsed: ParsedRow = { row, line, byte, userId, password: Secret.fromString(password) };
  if (org !== '') parsed.org = org as string;
  const given = change === undefined ? (noChange ?? noChangeRequired) : !change;
  if (given !== undefined) {
    parsed.noChangeRequired = given;
    parsed.changeRequired = !given;
  }
  if (setAt !== null) parsed.setAt = setAt;
  if (columns) parsed.columns = columns;
  return parsed;
}

/** Neither too long nor in need of a look at its encoding: spares most rows the slower checks. */
const short = /^[\x20-\x7e]{1,72}$/;
const simpleId = /^[\x21-\x7e]{1,200}$/;

function flagOf(value: unknown): boolean | undefined | 'field_type' {
  if (value === undefined || value === null || value === '') return undefined;
  const text = String(value).trim().toLowerCase();
  if (text === '') return undefined;
  return Object.hasOwn(flags, text) ? flags[text] : 'field_type';
}

function checkId(
  id: unknown,
  check: (id: string) => Reason | undefined,
  notText: RowReason,
  rounded: RowReason,
): RowReason | undefined {
  if (typeof id !== 'string') return notText;
  if ((id.includes('E') || id.includes('e')) && eNotation.test(id)) return rounded;
  return simpleId.test(id) ? undefined : check(id);
}
