import type { Reason } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import { checkOrgId, checkPassword, checkUserId } from '../validate.ts';
import type { ColumnName } from './csv.ts';
import type { RowReason } from './reasons.ts';

/** A row that can become a job. `row` counts data rows from 1, `line` physical lines from 1 (where the row starts). */
export interface ParsedRow {
  row: number;
  line: number;
  userId: string;
  org?: string;
  password: Secret;
  noChangeRequired?: boolean;
}

/** A row that cannot. `userId` only when it is a valid id; never the value that was wrong. */
export interface RejectedRow {
  row: number;
  line: number;
  userId?: string;
  reason: RowReason;
  field?: ColumnName;
}

export function isRejected(row: ParsedRow | RejectedRow): row is RejectedRow {
  return 'reason' in row;
}

/** What a file says for each column; null and absent are the same. */
export type RowValues = Partial<Record<ColumnName, unknown>>;

// Excel: 1.04133E+17. A bare `12e5` may be a real id.
const eNotation = /^[+-]?(?:\d+[.,]\d+E[+-]?\d+|\d+E\+\d+)$/i;

const flags: Record<string, boolean> = { true: true, '1': true, yes: true, false: false, '0': false, no: false };

/** Values of one row → a row; the first thing that is wrong rejects it. */
export function toRow(
  place: { row: number; line: number },
  values: RowValues,
  noChangeRequired?: boolean,
): ParsedRow | RejectedRow {
  const userReason = checkId(values.userId ?? '', checkUserId, 'user_id_not_text', 'user_id_e_notation');
  if (userReason) return { ...place, reason: userReason, field: 'userId' };
  const userId = values.userId as string;
  const reject = (field: ColumnName, reason: RowReason): RejectedRow => ({ ...place, userId, reason, field });

  const org = values.orgId ?? '';
  if (org !== '') {
    const orgReason = checkId(org, checkOrgId, 'org_id_not_text', 'org_id_e_notation');
    if (orgReason) return reject('orgId', orgReason);
  }

  const flag = String(values.noChangeRequired ?? '')
    .trim()
    .toLowerCase();
  if (flag !== '' && !Object.hasOwn(flags, flag)) return reject('noChangeRequired', 'field_type');
  const noChange = flag === '' ? noChangeRequired : flags[flag];

  const password = values.password ?? '';
  if (typeof password !== 'string') return reject('password', 'field_type');
  const passwordReason = checkPassword(password);
  if (passwordReason) return reject('password', passwordReason);

  return {
    ...place,
    userId,
    ...(org !== '' && { org: org as string }),
    password: Secret.fromString(password),
    ...(noChange !== undefined && { noChangeRequired: noChange }),
  };
}

function checkId(
  id: unknown,
  check: (id: string) => Reason | undefined,
  notText: RowReason,
  rounded: RowReason,
): RowReason | undefined {
  if (typeof id !== 'string') return notText;
  if (eNotation.test(id.trim())) return rounded;
  return check(id);
}
