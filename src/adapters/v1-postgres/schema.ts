import type { SqlClient } from './sql.ts';
import { ident, run, sql } from './sql-text.ts';

// Any constant: two processes that start together must not create the same tables at once.
const lock = 7_274_465_199;

const usersTable = 'create table if not exists "users"';

/** Version → its statements. Only append: what was released never changes. */
const versions: readonly (readonly string[])[] = [
  [
    `${usersTable} (
      "id" text primary key,
      "organization" text not null,
      "user_name" text,
      "email" text,
      "state" text not null default 'active' check ("state" in ('active', 'inactive', 'locked', 'initial', 'deleted')),
      "password_hash" text,
      "password_changed_at" timestamptz,
      "change_required" boolean not null default false,
      "is_machine" boolean not null default false,
      "roles" text[] not null default '{}'
    )`,
    // One row a user. It is locked for every change, so changes of one user happen one after the other.
    // "last_hash_digest" is SHA-256 of the hash text that we wrote: another one in force means a foreign change.
    `create table if not exists "passferry_users" (
      "user_id" text primary key,
      "password_sequence" bigint not null default -1,
      "event_sequence" bigint not null default 0,
      "last_hash_digest" text,
      "creation_date" timestamptz not null default now(),
      "change_date" timestamptz
    )`,
    `create index if not exists "passferry_users_password_sequence" on "passferry_users" ("password_sequence")`,
    `create table if not exists "passferry_events" (
      "user_id" text not null,
      "sequence" bigint not null,
      "organization" text not null,
      "job_id" text not null unique,
      "password_sequence" bigint not null,
      "at" timestamptz not null,
      "change_required" boolean not null,
      primary key ("user_id", "sequence")
    )`,
    // A row overrides the built-in policy for one organization.
    `create table if not exists "passferry_policies" (
      "organization" text primary key,
      "min_length" integer not null default 8 check ("min_length" between 1 and 72),
      "upper" boolean not null default true,
      "lower" boolean not null default true,
      "number" boolean not null default true,
      "symbol" boolean not null default true
    )`,
  ],
  [
    // How far the ledger of each namespace had come: a Redis that is behind was wiped or restored.
    `create table if not exists "passferry_epoch" (
      "namespace" text primary key,
      "epoch" bigint not null,
      "at" timestamptz not null default now()
    )`,
  ],
  [
    // A copy of the stages of all organizations, as Redis has them: signed.
    `alter table "passferry_epoch" add column if not exists "stages" text`,
  ],
];

/** Which of them a database must have. */
export const schemaVersion = versions.length;

/** Our own tables, but for the users. */
export const sideTables = ['passferry_users', 'passferry_events', 'passferry_policies', 'passferry_epoch'] as const;

/**
 * Creates or updates our tables in one transaction. Repeating it changes nothing.
 * @param schema where; it has to be there. Default: the first of the search path.
 * @param users the table of users too. False: somebody else's is used.
 */
export async function migrate(db: SqlClient, { schema, users }: { schema?: string; users: boolean }): Promise<void> {
  await db.transaction(async (session) => {
    const { query } = session;
    await query('select pg_advisory_xact_lock($1)', [lock]);
    if (schema !== undefined) await run(session, sql`set local search_path to ${ident(schema)}`);
    await query(`create table if not exists "passferry_schema" (
      "version" integer primary key,
      "applied_at" timestamptz not null default now()
    )`);
    const [row] = await query(`select coalesce(max("version"), 0)::integer as "version" from "passferry_schema"`);
    for (const [index, statements] of versions.entries()) {
      if (index < Number(row?.version)) continue;
      for (const statement of statements) if (users || !statement.startsWith(usersTable)) await query(statement);
      await query('insert into "passferry_schema" ("version") values ($1)', [index + 1]);
    }
  });
}
