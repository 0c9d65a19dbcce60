import { PassferryError } from '../../errors.ts';
import type { Policy } from '../policy.ts';
import { checkPolicy } from '../policy.ts';
import type { Applied, Backend, Change } from '../port.ts';
import { epochStore } from './epoch.ts';
import { hashPassword } from './hash.ts';
import { details, digest, iso, judge } from './judge.ts';
import { rehearse, timeHash } from './rehearse.ts';
import { migrate } from './schema.ts';
import type { SqlClient, SqlSession } from './sql.ts';
import { stopIfAborted } from './sql-errors.ts';
import type { NewUser } from './users.ts';
import { addUsers, prove, readRoles, readUser } from './users.ts';

export type { SqlClient } from './sql.ts';
export { pgClient, pgliteClient } from './sql.ts';
export type { NewUser } from './users.ts';

export interface V1Options {
  /** Closed by the backend's `close`. */
  sql: SqlClient;
  /** 4 to 31; each step doubles the work. Default 12. */
  bcryptCost?: number;
  /** The policy of an organization. Default: its row in `passferry_policies`, else ZITADEL's defaults. */
  policy?: (org: string) => Policy;
}

/** What this store can do beyond a {@link Backend}. */
export interface V1Extras {
  /** Creates or updates the tables; repeating it changes nothing. */
  migrate(): Promise<void>;
  /** Adds users; ids that exist already stay as they are. Returns how many were added. */
  addUsers(users: readonly NewUser[]): Promise<number>;
}

export type V1Postgres = Backend &
  Required<Pick<Backend, 'readUser' | 'readRoles' | 'prove' | 'rehearse' | 'coreMs' | 'highestSequence' | 'epoch'>> &
  V1Extras;

/**
 * The deprecated v1 store in PostgreSQL. Order, staleness and repetition are decided in the transaction that writes, so a
 * change may be repeated at any time. Creates nothing: call `migrate` for an empty database.
 *
 * @throws PassferryError `config_invalid` for a cost outside 4 to 31.
 */
export async function createV1Postgres({ sql, bcryptCost = 12, policy }: V1Options): Promise<V1Postgres> {
  if (!Number.isInteger(bcryptCost) || bcryptCost < 4 || bcryptCost > 31) {
    throw new PassferryError('config_invalid', { scope: 'backend' });
  }
  return {
    name: 'v1',
    exact: true,
    async setPassword(change, signal) {
      stopIfAborted(signal);
      const verdict = await judge(sql, change, signal);
      if ('applied' in verdict) return verdict.applied;
      checkPolicy(change.password.bytes(), policy ? policy(change.org) : verdict.policy);
      stopIfAborted(signal);
      // Outside the transaction: a hash takes long, and nobody should wait for a lock meanwhile.
      const hash = await hashPassword(change.password, bcryptCost);
      stopIfAborted(signal);
      return sql.transaction((session) => write(session, change, hash, signal), signal);
    },
    readUser: (org, user, signal) => readUser(sql, org, user, signal),
    readRoles: (org, user, signal) => readRoles(sql, org, user, signal),
    prove: (org, user, password, signal) => prove(sql, org, user, password, signal),
    rehearse: (change, signal) => rehearse(sql, change, policy, signal),
    coreMs: () => timeHash(bcryptCost),
    async highestSequence(signal) {
      const [row] = await sql.query(
        `select greatest(max("password_sequence"), 0)::text as "highest" from "passferry_users"`,
        [],
        signal,
      );
      return BigInt(String(row?.highest));
    },
    epoch: epochStore(sql),
    async ping(signal) {
      await sql.query('select 1', [], signal);
    },
    close: () => sql.close(),
    migrate: () => migrate(sql),
    addUsers: (users) => addUsers(sql, users, bcryptCost),
  };
}

/** Inside the transaction: lock, judge again, write. */
async function write(session: SqlSession, change: Change, hash: string, signal: AbortSignal): Promise<Applied> {
  const { query } = session;
  await query('insert into "passferry_users" ("user_id") values ($1) on conflict do nothing', [change.user], signal);
  await query('select 1 from "passferry_users" where "user_id" = $1 for update', [change.user], signal);
  const verdict = await judge(session, change, signal, 'for update of u');
  if ('applied' in verdict) return verdict.applied;

  // The clock and not now(): that is the start of the transaction, and who waited for the lock would go back in time.
  const [side] = await query(
    `update "passferry_users" set "password_sequence" = $2, "event_sequence" = "event_sequence" + 1,
       "last_hash_digest" = ${digest('$3::text')}, "change_date" = clock_timestamp()
     where "user_id" = $1 and "password_sequence" < $2
     returning "event_sequence"::text as "number", ${iso('"creation_date"')} as "creationDate",
       ${iso('"change_date"')} as "changeDate"`,
    [change.user, String(change.seq), hash],
    signal,
  );
  if (side === undefined) return { result: 'superseded' };
  await query(
    `update "users" u set "password_hash" = $3, "password_changed_at" = s."change_date", "change_required" = $4
     from "passferry_users" s where u."id" = $1 and u."organization" = $2 and s."user_id" = u."id"`,
    [change.user, change.org, hash, change.changeRequired],
    signal,
  );
  await query(
    `insert into "passferry_events"
       ("user_id", "sequence", "organization", "job_id", "password_sequence", "at", "change_required")
     select "user_id", "event_sequence", $2, $3, "password_sequence", "change_date", $4
     from "passferry_users" where "user_id" = $1`,
    [change.user, change.org, change.jobId, change.changeRequired],
    signal,
  );
  return { result: 'set', details: details(side.number, side.creationDate, side.changeDate, change.org) };
}
