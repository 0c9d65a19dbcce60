import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { PassferryError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import { checkPolicy, type Policy } from '../policy.ts';
import type { Change, Rehearsal, UserState } from '../port.ts';
import { checkHashable, hashPassword } from './hash.ts';
import { judge } from './judge.ts';
import type { SqlClient } from './sql.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';

/** The same judgement as before a write, and nothing after it. */
export async function rehearse(
  db: SqlClient,
  table: Table,
  change: Change,
  policy: ((org: string) => Policy) | undefined,
  signal: AbortSignal,
): Promise<Rehearsal> {
  let state: Rehearsal['state'];
  try {
    const [row] = await run(
      db,
      sql`select ${table.state} as "state", ${table.isMachine} as "isMachine" from ${table.from} u where ${table.who(change)}`,
      signal,
    );
    if (row && row.state !== 'deleted') state = row.isMachine === true ? 'machine' : (row.state as UserState);
  } catch (thrown) {
    if (!(thrown instanceof PassferryError && thrown.scope === 'user')) throw thrown;
  }
  const about: Omit<Rehearsal, 'end'> = { ...(state && { state }), unchecked: [] };
  try {
    const verdict = await judge(db, table, change, signal);
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
