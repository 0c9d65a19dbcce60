import { Secret } from '../../secret.ts';
import type { BackendUser, UserState } from '../port.ts';
import { hashPassword, verifyPassword } from './hash.ts';
import { millis, userMissing } from './judge.ts';
import type { SqlClient } from './sql.ts';

/** A user to begin with. */
export interface NewUser {
  id: string;
  org: string;
  userName?: string;
  email?: string;
  /** Default `active`. */
  state?: Exclude<UserState, 'unknown'>;
  /** In clear; hashed before it is stored. The policy is not applied. */
  password?: string;
  isMachine?: boolean;
  roles?: string[];
}

const found = `from "users" where "id" = $1 and "organization" = $2 and "state" <> 'deleted'`;

/** @throws PassferryError `COMMAND-G8dh3`, scope `user`. */
export async function readUser(sql: SqlClient, org: string, user: string, signal: AbortSignal): Promise<BackendUser> {
  const [row] = await sql.query(
    `select "state", ${millis('"password_changed_at"')} as "changedAt", "change_required" as "changeRequired",
       "user_name" as "userName", "email" ${found} and not "is_machine"`,
    [user, org],
    signal,
  );
  if (row === undefined) throw userMissing();
  return {
    user,
    org,
    state: row.state as UserState,
    changeRequired: row.changeRequired === true,
    ...(row.changedAt !== null && { passwordChangedAt: Number(row.changedAt) }),
    ...(row.userName !== null && { userName: String(row.userName) }),
    ...(row.email !== null && { email: String(row.email) }),
  };
}

/** @throws PassferryError `COMMAND-G8dh3`, scope `user`. */
export async function readRoles(sql: SqlClient, org: string, user: string, signal: AbortSignal): Promise<string[]> {
  const [row] = await sql.query(`select "roles" ${found}`, [user, org], signal);
  if (row === undefined) throw userMissing();
  return row.roles as string[];
}

/** Verifies against the stored hash, in any state but deleted. False when there is no such user or no hash. */
export async function prove(
  sql: SqlClient,
  org: string,
  user: string,
  password: Secret,
  signal: AbortSignal,
): Promise<boolean> {
  const [row] = await sql.query(`select "password_hash" as "hash" ${found}`, [user, org], signal);
  return typeof row?.hash === 'string' && verifyPassword(password, row.hash);
}

/**
 * Adds users in one statement; ids that exist already stay as they are. Returns how many were added.
 *
 * @throws PassferryError `password_missing`, `password_too_many_bytes`, `password_nul` (nothing is added then).
 */
export async function addUsers(sql: SqlClient, users: readonly NewUser[], bcryptCost: number): Promise<number> {
  const rows = await Promise.all(
    users.map(async ({ password, ...user }) => ({
      ...user,
      hash: password === undefined ? null : await hashPassword(Secret.fromString(password), bcryptCost),
    })),
  );
  const added = await sql.query(
    `with added as (
       insert into "users" ("id", "organization", "user_name", "email", "state", "password_hash", "password_changed_at",
         "is_machine", "roles")
       select "id", "org", "userName", "email", coalesce("state", 'active'), "hash",
         case when "hash" is not null then now() end, coalesce("isMachine", false), coalesce("roles", '{}')
       from jsonb_to_recordset($1::text::jsonb) as r ("id" text, "org" text, "userName" text, "email" text, "state" text,
         "hash" text, "isMachine" boolean, "roles" text[])
       on conflict ("id") do nothing returning "id"
     )
     insert into "passferry_users" ("user_id") select "id" from added on conflict do nothing returning "user_id"`,
    [JSON.stringify(rows)],
  );
  return added.length;
}
