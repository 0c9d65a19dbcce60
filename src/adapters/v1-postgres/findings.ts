/** What can be found when a mapped table is looked at: code → how bad, and what it means. `error`: nothing is begun. */
export const findings = {
  table_missing: ['error', 'there is no such table, or we may not see it'],
  column_missing: ['error', 'the table has no such column'],
  column_type: ['error', 'the column has a type that cannot be used there'],
  id_not_unique: ['error', 'no unique index says that an id is there once'],
  where_selects_nothing: ['error', 'the table has rows, but the conditions and the organization select none'],
  condition_fails: ['error', 'the table cannot be read with these conditions: a value does not fit its column'],
  no_right_to_read: ['error', 'our account may not read the column'],
  no_right_to_write: ['error', 'our account may not change the column, and the mapping does not say readOnly'],
  no_right_to_side_tables: ['error', 'our account may not read and change our own tables'],
  side_tables_missing: [
    'error',
    'our own tables are not there, or older than this version: start with PASSFERRY_V1_MIGRATE=true once',
  ],
  password_too_narrow: ['error', 'the column is too narrow for the hashes that would be written'],
  table_empty: ['warning', 'the table has no rows'],
  state_unknown: ['warning', 'rows whose state is none that the mapping names'],
  encoding_unknown: ['warning', 'v1 is read-only until an encoding is named: its rows do not show one that we write'],
  encoding_not_seen: ['warning', 'no row has the encoding that is named: make sure that the application checks it'],
  hash_kinds: ['info', 'kinds of the newest hashes'],
  changed_at_missing: [
    'warning',
    'nothing tells when others change a password: what was accepted before would overwrite it',
  ],
  change_required_missing: ['warning', 'the application is not told that a change is required; v2 is'],
  v2_id_not_indexed: ['warning', 'no index on the column of v2 ids: every look at one user reads the whole table'],
  id_map_twice: ['warning', 'ids that have more than one partner: these users are neither read nor written'],
  id_map_missing: ['warning', 'rows without a v2 id: these users are left out'],
  id_map_unknown: ['warning', 'ids of the file that no row has'],
} as const satisfies Record<string, readonly ['error' | 'warning' | 'info', string]>;

export type FindingCode = keyof typeof findings;
