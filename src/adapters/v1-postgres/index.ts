import { PassferryError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import type { Policy } from '../policy.ts';
import { checkPolicy } from '../policy.ts';
import type { Backend } from '../port.ts';
import type { NewUser } from './add-users.ts';
import { addUsers } from './add-users.ts';
import { createTableSource } from './catalog.ts';
import type { CheckOptions, CheckReport } from './check.ts';
import { check } from './check.ts';
import { makeHash, storable } from './encodings.ts';
import { epochStore } from './epoch.ts';
import { judge } from './judge.ts';
import { listUsers } from './list.ts';
import { builtIn } from './mapping.ts';
import type { LoadedMapping } from './mapping-file.ts';
import { rehearse, timeHash } from './rehearse.ts';
import { migrate } from './schema.ts';
import { createEncodingSource } from './seen.ts';
import type { SqlClient } from './sql.ts';
import { stopIfAborted } from './sql-errors.ts';
import { ident, run, sql } from './sql-text.ts';
import { prove, readHash, readRoles, readUser } from './users.ts';
import { write } from './write.ts';

export type { NewUser } from './add-users.ts';
export type { CheckReport } from './check.ts';
export type { LoadedMapping } from './mapping-file.ts';
export { loadMapping, parseMapping } from './mapping-file.ts';
export { findingText, requireFit } from './require-fit.ts';
export type { SqlClient } from './sql.ts';
export { pgClient, pgliteClient } from './sql.ts';

export interface V1Options {
  /** Closed by the backend's `close`. */
  sql: SqlClient;
  /** 4 to 31; each step doubles the work. Default 12. */
  bcryptCost?: number;
  /** The policy of an organization. Default: its row in `passferry_policies`, else ZITADEL's defaults. */
  policy?: (org: string) => Policy;
  /** Where the users of an application stand. Default: the tables that {@link V1Extras.migrate} makes. */
  mapped?: LoadedMapping;
}

/** What this store can do beyond a {@link Backend}. */
export interface V1Extras {
  /** Creates or updates our tables, of a mapped table those beside it; repeating it changes nothing. */
  migrate(): Promise<void>;
  /** Adds users; ids that exist already stay as they are. Returns how many were added. Not into a mapped table: `ability_missing`. */
  addUsers(users: readonly NewUser[]): Promise<number>;
  /** Tells all that does not fit, and changes nothing. Throws only when the database cannot be asked. */
  check(options?: CheckOptions): Promise<CheckReport>;
}

type Abilities =
  | ('readUser' | 'readRoles' | 'readHash' | 'users' | 'setHash' | 'makeHash' | 'verifiers')
  | ('prove' | 'rehearse' | 'coreMs');
/** What is kept beside the users, in our own tables. */
type Kept = 'highestSequence' | 'epoch';

/** With the tables that we make. */
export type V1Postgres = Backend & Required<Pick<Backend, Abilities | Kept>> & V1Extras;
/** With somebody else's table of users. One that is only read keeps nothing. */
export type V1Mapped = Omit<V1Postgres, Kept> & Pick<Backend, Kept>;

/**
 * The deprecated v1 store in PostgreSQL. Order, staleness and repetition are decided in the transaction that writes, so a
 * change may be repeated at any time. Creates nothing: call `migrate` for an empty database.
 *
 * A mapped table is looked at on the first use, and again until it fits. Errors of scope `backend` then: `v1_mapping_wrong`, and for what would
 * write: `v1_read_only`, `hash_encoding_unknown`.
 *
 * @throws PassferryError `config_invalid` for a cost outside 4 to 31.
 */
export async function createV1Postgres(options: V1Options & { mapped?: undefined }): Promise<V1Postgres>;
export async function createV1Postgres(options: V1Options): Promise<V1Mapped>;
export async function createV1Postgres({ sql: db, bcryptCost = 12, policy, mapped }: V1Options): Promise<V1Mapped> {
  if (!Number.isInteger(bcryptCost) || bcryptCost < 4 || bcryptCost > 31) {
    throw new PassferryError('config_invalid', { scope: 'backend' });
  }
  const mapping = mapped?.mapping ?? builtIn;
  const { sideSchema, readOnly } = mapping;
  const side = (name: string) => (sideSchema === undefined ? ident(name) : ident(sideSchema, name));
  const table = createTableSource(db, mapping, mapped?.idMap);
  const encoding = createEncodingSource(db, mapping, table);
  const backend: V1Mapped = {
    name: 'v1',
    exact: true,
    async setPassword(change, signal) {
      stopIfAborted(signal);
      const [form, where] = [await encoding(signal), await table(signal)];
      const verdict = await judge(db, where, change, signal);
      if ('applied' in verdict) return verdict.applied;
      checkPolicy(change.password.bytes(), policy ? policy(change.org) : verdict.policy);
      stopIfAborted(signal);
      // Outside the transaction: a hash takes long, and nobody should wait for a lock meanwhile.
      const hash = await makeHash(change.password, bcryptCost, form);
      stopIfAborted(signal);
      return db.transaction((session) => write(session, where, change, hash, signal), signal);
    },
    async setHash(change, signal) {
      stopIfAborted(signal);
      const [form, where] = [await encoding(signal), await table(signal)];
      const hash = storable(change.hash, form);
      return db.transaction(
        (session) => write(session, where, change, hash, signal, { sameIsUnchanged: true }),
        signal,
      );
    },
    // Where Django hashes a digest of the password, nothing that others made fits.
    verifiers: mapping.encoding === 'django-bcrypt-sha256' ? [] : ['bcrypt'],
    readHash: async (org, user, signal) => readHash(db, await table(signal), { org, user }, signal),
    users: async (after, limit, signal) => listUsers(db, await table(signal), after, limit, signal),
    readUser: async (org, user, signal) => readUser(db, await table(signal), { org, user }, signal),
    readRoles: async (org, user, signal) => readRoles(db, await table(signal), { org, user }, signal),
    prove: async (org, user, password, signal) => prove(db, await table(signal), { org, user }, password, signal),
    async rehearse(change, signal) {
      await encoding(signal);
      return rehearse(db, await table(signal), change, policy, signal);
    },
    coreMs: () => timeHash(bcryptCost),
    async ping(signal) {
      await db.query('select 1', [], signal);
    },
    close: () => db.close(),
    migrate: () =>
      readOnly
        ? Promise.resolve()
        : migrate(db, { ...(sideSchema !== undefined && { schema: sideSchema }), users: !mapped }),
    async addUsers(users) {
      if (mapped) throw new PassferryError('ability_missing', { scope: 'backend' });
      return addUsers(db, users, bcryptCost);
    },
    check: (options) => check(db, mapping, mapped?.idMap, options),
    makeHash: async (password, signal) =>
      Secret.fromString(await makeHash(password, bcryptCost, await encoding(signal))),
  };
  // Nothing of ours is beside a table that is only read.
  if (readOnly) return backend;
  return {
    ...backend,
    async highestSequence(signal) {
      const statement = sql`select greatest(max("password_sequence"), 0)::text as "highest" from ${side('passferry_users')}`;
      const [row] = await run(db, statement, signal);
      return BigInt(String(row?.highest));
    },
    epoch: epochStore(db, side('passferry_epoch')),
  };
}
