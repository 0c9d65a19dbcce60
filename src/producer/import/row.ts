import type { Reason } from '../../errors.ts';
import type { HashFacts } from '../../job.ts';
import { Secret } from '../../secret.ts';
import { checkOrgId, checkPassword, checkUserId } from '../validate.ts';
import type { ColumnName } from './columns.ts';
import type { RowReason } from './reasons.ts';
import { readHash } from './row-hash.ts';
import { parseSetAt } from './set-at.ts';
import { idWarnings, passwordWarnings, suspicion, type WarningKind } from './suspicious.ts';
import { checkName } from './user-name.ts';

/** Where a row stands. `row` counts data rows from 1, `line` physical lines from 1, `byte` bytes of the unpacked file from 0. */
export interface RowPlace {
  row: number;
  line: number;
  byte: number;
}

/** A row that can become a job. */
export interface ParsedRow extends RowPlace {
  /** Exactly one of these: by the others the user is looked up. E-mail addresses in lower case. */
  userId?: string;
  email?: string;
  userName?: string;
  org?: string;
  /** Or the hash of one, as the target takes it. */
  password: Secret;
  hash?: HashFacts;
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
  /** Hashes are of more than the password. Default false. */
  peppered?: boolean | undefined;
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
  { noChangeRequired, allowSuspicious = false, peppered = false, warn = ignore }: RowOptions = {},
): ParsedRow | RejectedRow {
  const { row, line, byte } = place;
  const named = nameOf(values);
  if ('reason' in named) return rejected(place, columns, named.field, named.reason);
  // Once a row of millions: most are of this one shape, and neither closures nor spreading come for nothing.
  const { userId } = named;

  const org = values.orgId ?? '';
  if (org !== '') {
    const orgReason = checkId(org, checkOrgId, 'org_id_not_text', 'org_id_e_notation');
    if (orgReason) return rejected(place, columns, 'orgId', orgReason, userId);
  }

  const noChange = flagOf(values.noChangeRequired);
  if (noChange === 'field_type') return rejected(place, columns, 'noChangeRequired', noChange, userId);
  const change = flagOf(values.changeRequired);
  if (change === 'field_type') return rejected(place, columns, 'changeRequired', change, userId);
  if (noChange !== undefined && change !== undefined)
    return rejected(place, columns, 'changeRequired', 'change_twice', userId);

  const setAt = (values.setAt ?? undefined) === undefined ? null : parseSetAt(values.setAt);
  if (typeof setAt === 'string') return rejected(place, columns, 'setAt', setAt, userId);

  const given = secretOf(values, allowSuspicious, peppered, warn);
  if ('reason' in given) return rejected(place, columns, given.field, given.reason, userId);

  if (userId !== undefined) idWarnings(userId, warn);
  const parsed: ParsedRow =
    userId !== undefined && given.hash === undefined
      ? { row, line, byte, userId, password: given.password }
      : { row, line, byte, ...named, ...given };
  if (org !== '') parsed.org = org as string;
  const keep = change === undefined ? (noChange ?? noChangeRequired) : !change;
  if (keep !== undefined) {
    parsed.noChangeRequired = keep;
    parsed.changeRequired = !keep;
  }
  if (setAt !== null) parsed.setAt = setAt;
  if (columns) parsed.columns = columns;
  return parsed;
}

function rejected(
  { row, line, byte }: RowPlace,
  columns: Record<string, string> | undefined,
  field: ColumnName,
  reason: RowReason,
  userId?: string,
): RejectedRow {
  return { row, line, byte, ...(userId !== undefined && { userId }), reason, field, ...(columns && { columns }) };
}

const isThere = (value: unknown) => value !== undefined && value !== null;

type Named = Pick<ParsedRow, 'userId' | 'email' | 'userName'>;

/** By id where the row has that column, else by one of the other two. */
function nameOf(values: RowValues): Named | { reason: RowReason; field: ColumnName } {
  const { userId, email, userName } = values;
  if (isThere(userId) || !(isThere(email) || isThere(userName))) {
    const reason = checkId(userId ?? '', checkUserId, 'user_id_not_text', 'user_id_e_notation');
    return reason ? { reason, field: 'userId' } : { userId: userId as string };
  }
  const by = isThere(email) ? 'email' : 'username';
  const field = by === 'email' ? 'email' : 'userName';
  const name = values[field];
  const reason = checkName(by, name);
  if (reason) return { reason, field };
  return by === 'email' ? { email: (name as string).toLowerCase() } : { userName: name as string };
}

type SecretOf = Pick<ParsedRow, 'password' | 'hash'>;

/** A password or a hash, never both. */
function secretOf(
  { password, passwordHash }: RowValues,
  allowSuspicious: boolean,
  peppered: boolean,
  warn: (kind: WarningKind) => void,
): SecretOf | { reason: RowReason; field: ColumnName } {
  const text = password ?? '';
  const hash = passwordHash ?? '';
  if (passwordHash !== undefined && text === '') {
    if (hash === '' && password !== undefined) return { reason: 'password_missing', field: 'password' };
    const read = readHash(hash, warn, peppered);
    return 'reason' in read ? { ...read, field: 'passwordHash' } : read;
  }
  if (hash !== '') return { reason: 'password_and_hash', field: 'passwordHash' };
  if (typeof text !== 'string') return { reason: 'field_type', field: 'password' };
  const odd = allowSuspicious ? undefined : suspicion(text);
  const reason = odd ?? (short.test(text) ? undefined : checkPassword(text));
  if (reason) return { reason, field: 'password' };
  passwordWarnings(text, warn);
  return { password: Secret.fromString(text) };
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
