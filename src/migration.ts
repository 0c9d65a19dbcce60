/** What a migration does with the users of v1: `plan` and `reconcile` only read. */
export const migrationModes = ['plan', 'execute', 'reconcile'] as const;
export type MigrationMode = (typeof migrationModes)[number];

/** What was asked of a migration, beside what every run has. */
export interface MigrationOptions {
  mode: MigrationMode;
  /** Organizations whose users it takes, in order. */
  orgs: string[];
  /** Users that v2 does not have are added there. */
  create?: true;
  /** A reconcile: who is behind is brought in step afterwards. */
  repair?: true;
}

/** How a row of a plan or a reconcile may end well: neither a result nor a reason, for nothing was done. */
export const foretold = ['would_mirror', 'would_create', 'equal'] as const;

/** What was seen of an organization by a run over all of its users that came to its end. */
export interface Migrated {
  org: string;
  run: string;
  /** The first one that went over the organization, a later one, or one that only compared. */
  kind: 'backfill' | 'catch-up' | 'reconcile';
  /** Redis time, ms since the epoch. What was written in v1 after the beginning need not have been seen. */
  startedAt: number;
  completedAt: number;
  /** Users of v1, those that cannot be mirrored among them. */
  seen: number;
  /** Those that are not in step in the end. */
  notInStep: number;
  /** Those that were not in step when they were looked at, whatever became of them. */
  differences: number;
}

/** What a migration has counted. Exact: each user once, in the step of the end of the row. */
export interface MigrationCounts {
  /** Users by what became of them, or would: results, `would_mirror`, `would_create`, `created`, classes of a reconcile, reasons. */
  verdicts: Record<string, number>;
  /** The same, organization by organization. */
  organizations: Record<string, Record<string, number>>;
  /** Hashes by kind and cost, as they were read in v1. */
  hashes: Record<string, number>;
  /** States of users that deserve a look. */
  states: Record<string, number>;
  /** Rows of v1 that are no users to go on with: deleted ones, machines. */
  leftOut: Record<string, number>;
}
