import { PassferryError } from '../../errors.ts';
import type { Details } from '../../job.ts';
import type { Policy } from '../policy.ts';
import { defaultPolicy } from '../policy.ts';
import type { Applied, Change } from '../port.ts';
import type { Row, SqlSession } from './sql.ts';
import type { Sql } from './sql-text.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';
import { mappedTwice, userMissing } from './user-errors.ts';

/** A change this much later than acceptance may still be older: two clocks are compared, Redis' and the database's. */
const toleranceMs = 2_000;

/** timestamptz → RFC 3339 with microseconds, in UTC. */
export const iso = (time: Sql) => sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** timestamptz → ms since the epoch, with fractions. */
export const millis = (time: Sql) => sql`(extract(epoch from ${time}) * 1000)::float8`;

/** Text of a hash → what `last_hash_digest` holds. */
export const digest = (text: Sql) => sql`encode(sha256(convert_to(${text}, 'UTF8')), 'hex')`;

/** What is stored is what we stored: `s` is our row of the user. Without a time of change only the text can tell. */
export const isOurs = ({ hash, changedAt }: Table) => ({
  hash: sql`coalesce(${digest(hash)} = s."last_hash_digest", false)`,
  time: changedAt
    ? sql`(s."user_id" is not null and ${changedAt} is not distinct from s."change_date")`
    : sql`(s."user_id" is not null)`,
});

/** The change flag; where the table has no place for it, that of our last change as long as it is in force. */
export function changeRequired(table: Table): Sql {
  if (table.changeRequired) return table.changeRequired;
  if (table.mapping.readOnly) return sql`null::boolean`;
  return sql`coalesce((select f."change_required" from ${table.side('passferry_events')} f where f."user_id" = s."user_id"
    and f."sequence" = s."event_sequence" and ${isOurs(table).hash}), false)`;
}

function facts(table: Table, change: Order, same: string | undefined): Sql {
  const ours = isOurs(table);
  const changedAt = table.changedAt ?? sql`null::timestamptz`;
  return sql`select
    ${table.id} as "id", ${table.state} as "state", ${table.isMachine} as "isMachine", ${millis(changedAt)} as "changedAt",
    ${ours.hash} as "hashIsOurs", ${ours.time} as "timeIsOurs",
    coalesce(${table.hash} = ${same ?? null}, false) as "hashIsSame", ${changeRequired(table)} as "changeRequired",
    s."password_sequence"::text as "appliedSequence", ${iso(sql`s."creation_date"`)} as "creationDate",
    e."sequence"::text as "eventNumber", e."password_sequence"::text as "eventSequence", ${iso(sql`e."at"`)} as "eventAt",
    p."min_length" as "minLength", p."upper", p."lower", p."number", p."symbol"
  from ${table.from} u
  left join ${table.side('passferry_users')} s on s."user_id" = ${table.id}
  left join ${table.side('passferry_events')} e on e."user_id" = ${table.id} and e."job_id" = ${change.jobId}
  left join ${table.side('passferry_policies')} p on p."organization" = ${table.org}
  where ${table.who(change)}`;
}

/** A final answer that needs no write, or the policy that a write must satisfy; `same`: what would be written is there already. */
export type Verdict = { applied: Applied } | { policy: Policy; same: boolean; id: string };

/** What is to be changed, whatever it is changed to. */
export type Order = Omit<Change, 'password'>;

/**
 * Decides from what is stored whether the change may be made. With `lock` the user's row stays locked until the
 * transaction ends, so that no foreign change slips between the check and the write.
 *
 * @param same a hash that need not be written again.
 * @throws PassferryError `COMMAND-G8dh3`, `COMMAND-M9dse` or `user_mapped_twice`, scope `user`.
 */
export async function judge(
  session: SqlSession,
  table: Table,
  change: Order,
  signal: AbortSignal,
  { lock = false, same }: { lock?: boolean; same?: string } = {},
): Promise<Verdict> {
  const asked = facts(table, change, same);
  const [row, other] = await run(session, lock ? sql`${asked} for update of u` : asked, signal);
  if (other !== undefined) throw mappedTwice();
  if (row === undefined || row.state === 'deleted' || row.isMachine === true) throw userMissing();
  if (row.state === 'initial') {
    throw new PassferryError('COMMAND-M9dse', {
      code: 'failed_precondition',
      message: 'User is not yet initialized',
    });
  }
  // This very job was applied before: nothing is written again, whatever happened since.
  if (row.eventNumber !== null) return { applied: replayed(row, change) };
  const applied = row.appliedSequence === null ? -1n : BigInt(String(row.appliedSequence));
  // The very text and flag: whoever wrote them, and whenever, they are in force.
  const isSame = row.hashIsSame === true && row.changeRequired === change.changeRequired;
  if (isSame && applied <= change.seq) return { policy: policyOf(row), same: true, id: String(row.id) };
  if (applied >= change.seq) return { applied: { result: 'superseded' } };
  // Of a file that says how old it is, what we set ourselves since is a later choice too; but for the file's own rows.
  const counts = change.ownFrom === undefined || applied >= change.ownFrom;
  const ours = row.hashIsOurs === true && row.timeIsOurs === true && counts;
  const later = row.changedAt !== null && Number(row.changedAt) > (change.asOf ?? change.acceptedAt) + toleranceMs;
  if (later && !ours && !change.overwriteNewer) return { applied: { result: 'stale' } };
  return { policy: policyOf(row), same: false, id: String(row.id) };
}

function replayed(row: Row, change: Order): Applied {
  if (row.eventSequence !== row.appliedSequence) return { result: 'superseded' };
  // `set` claims that the password is in force; with another hash stored it is not.
  if (row.hashIsOurs !== true) return { result: change.overwriteNewer ? 'superseded' : 'stale' };
  return { result: 'set', details: details(row.eventNumber, row.creationDate, row.eventAt, change.org) };
}

export function details(number: unknown, creationDate: unknown, changeDate: unknown, org: string): Details {
  return {
    sequence: String(number),
    creationDate: String(creationDate),
    changeDate: String(changeDate),
    resourceOwner: org,
  };
}

function policyOf(row: Row): Policy {
  if (row.minLength === null) return defaultPolicy;
  return {
    minLength: Number(row.minLength),
    lower: row.lower === true,
    upper: row.upper === true,
    number: row.number === true,
    symbol: row.symbol === true,
  };
}
