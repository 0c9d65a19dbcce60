import { PassferryError } from '../../errors.ts';
import type { Details } from '../../job.ts';
import type { Policy } from '../policy.ts';
import { defaultPolicy } from '../policy.ts';
import type { Applied, Change } from '../port.ts';
import type { Row, SqlSession } from './sql.ts';

/** A change this much later than acceptance may still be older: two clocks are compared, Redis' and the database's. */
const toleranceMs = 2_000;

/** timestamptz → RFC 3339 with microseconds, in UTC. */
export const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** timestamptz → ms since the epoch, with fractions. */
export const millis = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`;

/** Text of a hash → what `last_hash_digest` holds. */
export const digest = (text: string) => `encode(sha256(convert_to(${text}, 'UTF8')), 'hex')`;

const facts = `select
    u."state", u."is_machine" as "isMachine",
    ${millis('u."password_changed_at"')} as "changedAt",
    coalesce(${digest('u."password_hash"')} = s."last_hash_digest", false) as "hashIsOurs",
    coalesce(u."password_changed_at" = s."change_date", false) as "timeIsOurs",
    s."password_sequence"::text as "appliedSequence", ${iso('s."creation_date"')} as "creationDate",
    e."sequence"::text as "eventNumber", e."password_sequence"::text as "eventSequence", ${iso('e."at"')} as "eventAt",
    p."min_length" as "minLength", p."upper", p."lower", p."number", p."symbol"
  from "users" u
  left join "passferry_users" s on s."user_id" = u."id"
  left join "passferry_events" e on e."user_id" = u."id" and e."job_id" = $3
  left join "passferry_policies" p on p."organization" = u."organization"
  where u."id" = $1 and u."organization" = $2`;

/** A final answer that needs no write, or the policy that a write must satisfy. */
export type Verdict = { applied: Applied } | { policy: Policy };

/**
 * Decides from what is stored whether the change may be made. With `lock` the user's row stays locked until the
 * transaction ends, so that no foreign change slips between the check and the write.
 *
 * @throws PassferryError `COMMAND-G8dh3` or `COMMAND-M9dse`, scope `user`.
 */
export async function judge(
  session: SqlSession,
  change: Change,
  signal: AbortSignal,
  lock: '' | 'for update of u' = '',
): Promise<Verdict> {
  const [row] = await session.query(`${facts} ${lock}`, [change.user, change.org, change.jobId], signal);
  if (row === undefined || row.state === 'deleted' || row.isMachine === true) throw userMissing();
  if (row.state === 'initial') {
    throw new PassferryError('COMMAND-M9dse', {
      code: 'failed_precondition',
      message: 'User is not yet initialized',
    });
  }
  // This very job was applied before: nothing is written again, whatever happened since.
  if (row.eventNumber !== null) return { applied: replayed(row, change) };
  if (row.appliedSequence !== null && BigInt(String(row.appliedSequence)) >= change.seq) {
    return { applied: { result: 'superseded' } };
  }
  // Of a file that says how old it is, what we set ourselves since is a later choice too; but for the file's own rows.
  const counts = change.ownFrom === undefined || BigInt(String(row.appliedSequence ?? 0)) >= change.ownFrom;
  const ours = row.hashIsOurs === true && row.timeIsOurs === true && counts;
  const later = row.changedAt !== null && Number(row.changedAt) > (change.asOf ?? change.acceptedAt) + toleranceMs;
  if (later && !ours && !change.overwriteNewer) return { applied: { result: 'stale' } };
  return { policy: policyOf(row) };
}

/** No such user here; the same for a deleted one, a machine and one of another organization. */
export function userMissing(): PassferryError {
  return new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition', message: 'Password not found' });
}

function replayed(row: Row, change: Change): Applied {
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
