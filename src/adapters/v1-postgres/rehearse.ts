import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { PassferryError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import { checkPolicy, type Policy } from '../policy.ts';
import type { Change, Rehearsal, UserState } from '../port.ts';
import { checkHashable, hashPassword } from './hash.ts';
import { judge } from './judge.ts';
import type { SqlClient } from './sql.ts';

/** The same judgement as before a write, and nothing after it. */
export async function rehearse(
  sql: SqlClient,
  change: Change,
  policy: ((org: string) => Policy) | undefined,
  signal: AbortSignal,
): Promise<Rehearsal> {
  const [row] = await sql.query(
    `select "state", "is_machine" as "isMachine" from "users" where "id" = $1 and "organization" = $2 and "state" <> 'deleted'`,
    [change.user, change.org],
    signal,
  );
  const about: Omit<Rehearsal, 'end'> = {
    ...(row && { state: row.isMachine === true ? 'machine' : (row.state as UserState) }),
    unchecked: [],
  };
  try {
    const verdict = await judge(sql, change, signal);
    if ('applied' in verdict) return { ...about, end: verdict.applied.result };
    checkPolicy(change.password.bytes(), policy ? policy(change.org) : verdict.policy);
    checkHashable(change.password);
    return { ...about, end: 'set' };
  } catch (thrown) {
    if (thrown instanceof PassferryError && thrown.scope === 'user') return { ...about, end: thrown };
    throw thrown;
  }
}

/** One hash at the cost that is configured, timed. */
export async function timeHash(cost: number): Promise<number> {
  const startedAt = performance.now();
  await hashPassword(new Secret(Buffer.from(randomBytes(12).toString('hex'))), cost);
  return performance.now() - startedAt;
}
