import { Secret } from '../../secret.ts';
import type { UserState } from '../port.ts';
import { hashPassword } from './hash.ts';
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
