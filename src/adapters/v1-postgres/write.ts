import { PassferryError } from '../../errors.ts';
import type { Applied } from '../port.ts';
import type { Order } from './judge.ts';
import { details, digest, iso, judge } from './judge.ts';
import type { Row, SqlSession } from './sql.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';

/**
 * Inside a transaction: locks the user, judges, writes the hash. `sameIsUnchanged`: where that very text and the change flag are in force
 * already, the user's row and its times stay as they are, and only our sequence is raised (so that nothing older comes after it).
 */
export async function write(
  session: SqlSession,
  table: Table,
  change: Order,
  hash: string,
  signal: AbortSignal,
  { sameIsUnchanged = false } = {},
): Promise<Applied> {
  const ask = (statement: ReturnType<typeof sql>) => run(session, statement, signal);
  const users = table.side('passferry_users');
  const events = table.side('passferry_events');
  // A row that is there already is locked, and stays as it is.
  await ask(
    sql`insert into ${users} as s ("user_id") select distinct ${table.id} from ${table.from} u where ${table.who(change)}
        on conflict ("user_id") do update set "user_id" = s."user_id" where false`,
  );
  const verdict = await judge(session, table, change, signal, { lock: true, ...(sameIsUnchanged && { same: hash }) });
  if ('applied' in verdict) return verdict.applied;
  const { id } = verdict;
  const target = { ...change, id };
  if (verdict.same) return answer('unchanged', change, await keep(session, table, target, signal));

  // The clock and not now(): that is the start of the transaction, and who waited for the lock would go back in time.
  const [side] = await ask(
    sql`with side as (
          update ${users} set "password_sequence" = ${change.seq}, "event_sequence" = "event_sequence" + 1,
            "last_hash_digest" = ${digest(sql`${hash}`)}, "change_date" = clock_timestamp()
          where "user_id" = ${id} and "password_sequence" < ${change.seq}
          returning "event_sequence", "creation_date", "change_date"
        ), event as (
          insert into ${events}
            ("user_id", "sequence", "organization", "job_id", "password_sequence", "at", "change_required")
          select ${id}, "event_sequence", ${change.org}, ${change.jobId}, ${change.seq}, "change_date",
            ${change.changeRequired}
          from side
        )
        select "event_sequence"::text as "number", ${iso(sql`"creation_date"`)} as "creationDate",
          ${iso(sql`"change_date"`)} as "changeDate"
        from side`,
  );
  if (side === undefined) return { result: 'superseded' };
  const changedAt = sql`${String(side.changeDate)}::timestamptz`;
  const [row] = await ask(
    sql`update ${table.from} u set ${table.assignments(hash, changedAt, change.changeRequired)}
        where u.${table.idName} = ${table.idValue(id)} and ${table.who(change)}
        returning ${iso(table.changedAt ?? changedAt)} as "changeDate"`,
  );
  // A rule or a trigger that keeps the row as it is.
  if (row === undefined) throw new PassferryError('backend_error', { scope: 'backend' });
  // A column may keep less of a time than we told it.
  if (row.changeDate !== side.changeDate) {
    side.changeDate = row.changeDate;
    const kept = sql`${String(row.changeDate)}::timestamptz`;
    await ask(
      sql`with event as (
            update ${events} set "at" = ${kept} where "user_id" = ${id} and "sequence" = ${BigInt(String(side.number))}
          )
          update ${users} set "change_date" = ${kept} where "user_id" = ${id}`,
    );
  }
  return answer('set', change, side);
}

/** The hash that is there becomes ours, with its own time. */
async function keep(session: SqlSession, table: Table, change: Order & { id: string }, signal: AbortSignal) {
  const [side] = await run(
    session,
    sql`update ${table.side('passferry_users')} s set "password_sequence" = ${change.seq},
          "last_hash_digest" = ${digest(table.hash)}, "change_date" = ${table.changedAt ?? sql`s."change_date"`}
        from ${table.from} u
        where s."user_id" = ${change.id} and s."password_sequence" <= ${change.seq}
          and u.${table.idName} = ${table.idValue(change.id)} and ${table.who(change)}
        returning s."event_sequence"::text as "number", ${iso(sql`s."creation_date"`)} as "creationDate",
          ${iso(sql`s."change_date"`)} as "changeDate"`,
    signal,
  );
  return side;
}

function answer(result: 'set' | 'unchanged', { org }: Order, side: Row | undefined): Applied {
  if (side === undefined) return { result: 'superseded' };
  if (side.changeDate === null) return { result };
  return { result, details: details(side.number, side.creationDate, side.changeDate, org) };
}
