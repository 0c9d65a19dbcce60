import { Secret } from '../../secret.ts';
import type { BackendUser, StoredPassword, UserState } from '../port.ts';
import { isMarker, verifyStored } from './encodings.ts';
import { changeRequired, isOurs, millis } from './judge.ts';
import type { Row, SqlClient } from './sql.ts';
import type { Sql } from './sql-text.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';
import { mappedTwice, userMissing } from './user-errors.ts';

/** Whom somebody asks for. */
interface Asked {
  org: string;
  user: string;
}

/**
 * The one row of a user, whatever is asked of it. A deleted user is none.
 *
 * @throws PassferryError `COMMAND-G8dh3` or `user_mapped_twice`, scope `user`.
 */
async function rowOf(db: SqlClient, table: Table, asked: Asked, wanted: Sql, signal: AbortSignal): Promise<Row> {
  const ours = table.mapping.readOnly
    ? sql``
    : sql`left join ${table.side('passferry_users')} s on s."user_id" = ${table.id}`;
  const rows = await run(
    db,
    sql`select ${table.state} as "state", ${table.isMachine} as "isMachine", ${wanted}
        from ${table.from} u ${ours} where ${table.who(asked)} limit 2`,
    signal,
  );
  if (rows.length > 1) throw mappedTwice();
  const [row] = rows;
  if (row === undefined || row.state === 'deleted') throw userMissing();
  return row;
}

const aboutUser = (table: Table) =>
  sql`${millis(table.changedAt ?? sql`null::timestamptz`)} as "changedAt", ${changeRequired(table)} as "changeRequired",
    ${table.userName} as "userName", ${table.email} as "email"`;

function userOf(row: Row, { org, user }: Asked): BackendUser {
  if (row.isMachine === true) throw userMissing();
  return {
    user,
    org,
    state: row.state as UserState,
    ...(row.changeRequired !== null && { changeRequired: row.changeRequired === true }),
    ...(row.changedAt !== null && { passwordChangedAt: Number(row.changedAt) }),
    ...(row.userName !== null && { userName: String(row.userName) }),
    ...(row.email !== null && { email: String(row.email) }),
  };
}

/** Errors as {@link rowOf}. */
export async function readUser(db: SqlClient, table: Table, asked: Asked, signal: AbortSignal): Promise<BackendUser> {
  return userOf(await rowOf(db, table, asked, aboutUser(table), signal), asked);
}

/** One statement, so that hash, flag, times and our sequence belong together. Errors as {@link rowOf}. */
export async function readHash(
  db: SqlClient,
  table: Table,
  asked: Asked,
  signal: AbortSignal,
): Promise<StoredPassword> {
  const ours = isOurs(table);
  const applied = table.mapping.readOnly
    ? sql`null::text`
    : sql`case when s."password_sequence" >= 0 and ${ours.hash} and ${ours.time} then s."password_sequence"::text end`;
  const wanted = sql`${aboutUser(table)}, ${table.hash} as "hash", ${applied} as "applied"`;
  const row = await rowOf(db, table, asked, wanted, signal);
  return {
    user: userOf(row, asked),
    ...(typeof row.hash === 'string' && !isMarker(row.hash) && { hash: Secret.fromString(row.hash) }),
    ...(row.applied !== null && { appliedSeq: BigInt(String(row.applied)) }),
  };
}

/** A mapped table knows one role: `ADMIN`, of whoever it says is one. Errors as {@link rowOf}. */
export async function readRoles(db: SqlClient, table: Table, asked: Asked, signal: AbortSignal): Promise<string[]> {
  const wanted = table.isBuiltIn
    ? sql`u."roles"`
    : sql`case when ${table.isAdmin} then array['ADMIN'] else '{}'::text[] end`;
  const row = await rowOf(db, table, asked, sql`${wanted} as "roles"`, signal);
  return row.roles as string[];
}

/** Verifies against the stored hash, in any state but deleted. False when there is no such user or no hash. */
export async function prove(
  db: SqlClient,
  table: Table,
  asked: Asked,
  password: Secret,
  signal: AbortSignal,
): Promise<boolean> {
  const wanted = sql`${table.hash} as "hash"`;
  const row = await rowOf(db, table, asked, wanted, signal).catch((thrown) => {
    if (thrown.scope === 'user') return undefined;
    throw thrown;
  });
  return typeof row?.hash === 'string' && verifyStored(password, row.hash);
}
