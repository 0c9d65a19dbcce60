import type { Code, ErrorOptions, Reason } from '../../errors.ts';
import { PassferryError, reasons } from '../../errors.ts';
import { type HashReason, hashReasons } from '../../hashes/reasons.ts';

/** Reasons that only whole files have: reason → code and fixed text. What to do stands in `advice.ts`. */
export const fileReasons = {
  file_empty: ['invalid_argument', 'The file is empty.'],
  file_no_rows: ['invalid_argument', 'The file has a header but no rows.'],
  file_not_text: ['invalid_argument', 'The file is not text.'],
  file_utf16: ['invalid_argument', 'The file looks like UTF-16 without a byte order mark.'],
  file_compressed: ['invalid_argument', 'The file is compressed in a way that is not taken; gzip is.'],
  file_zip: ['invalid_argument', 'The file is a zip archive or a spreadsheet, not text.'],
  file_archive: ['invalid_argument', 'The file is a tar archive.'],
  file_json_object: ['invalid_argument', 'The file is one JSON object; a list of rows or one object a line is taken.'],
  file_too_large: ['invalid_argument', 'The file is larger than was allowed.'],
  gzip_cut: ['invalid_argument', 'The compressed file ends too early.'],
  gzip_broken: ['invalid_argument', 'The compressed file is damaged.'],
  gzip_bomb: ['invalid_argument', 'The compressed file unpacks to more than 1,000 times its size.'],
  gzip_nested: ['invalid_argument', 'The file is compressed twice.'],
  encoding_contradicted: [
    'invalid_argument',
    'The byte order mark of the file contradicts the encoding that was named.',
  ],
  json_array_cut: ['invalid_argument', 'The JSON list is not closed: the file was cut.'],
  json_array_trailing: ['invalid_argument', 'Something stands after the end of the JSON list.'],
  header_unreadable: ['invalid_argument', 'The header line cannot be read as CSV.'],
  header_column_missing: [
    'invalid_argument',
    'The header must name a column for userId, email or userName, and one for password or passwordHash.',
  ],
  header_column_repeated: ['invalid_argument', 'The header names a column twice.'],
  header_column_ambiguous: ['invalid_argument', 'Several columns of the file can be meant by one of ours.'],
  header_change_twice: ['invalid_argument', 'The file has both changeRequired and noChangeRequired.'],
  header_too_many_columns: ['invalid_argument', 'The file has more than 256 columns.'],
  delimiter_ambiguous: ['invalid_argument', 'More than one character can be the delimiter of this file.'],
  map_column_unknown: ['invalid_argument', 'The mapping names a column that an import does not have.'],
  map_column_missing: ['invalid_argument', 'The mapping names a column that the file does not have.'],
  map_column_twice: ['invalid_argument', 'The mapping uses one column of the file for two of ours.'],
  map_position_invalid: ['invalid_argument', 'A position in the mapping must be #1 or higher and exist in the file.'],
  map_position_needed: [
    'invalid_argument',
    'A file without a header needs positions for the user and for password or passwordHash.',
  ],
  keep_column_missing: ['invalid_argument', 'A column that was to be kept is not in the file.'],
  keep_column_secret: ['invalid_argument', 'A column that holds passwords cannot be kept.'],
  source_unclear: ['invalid_argument', 'The file can be of several products; which one must be said.'],
  source_unknown: ['invalid_argument', 'There is no source of this name.'],
  source_mismatch: ['invalid_argument', 'The file does not look like one of the product that was named.'],
  source_no_passwords: ['invalid_argument', 'The users in the file have neither passwords nor hashes.'],
  source_by: ['invalid_argument', 'Files of this product do not name users in this way.'],
  source_no_join: ['invalid_argument', 'This product has no export in two files.'],
  source_files_swapped: ['invalid_argument', 'The file of the users is that of the passwords.'],
  users_too_many: [
    'resource_exhausted',
    'The file of the users needs more memory than there is for joining two files.',
  ],
  hash_params_invalid: ['invalid_argument', 'The file with the parameters of hashes cannot be read or lacks some.'],
  source_list_missing: ['invalid_argument', 'The JSON object in the file has no list of users.'],
  sql_cut: ['invalid_argument', 'The SQL dump ends in the middle of a statement: the file was cut.'],
  sql_dialect: ['invalid_argument', 'The dump does not say whether a backslash in a string is an escape.'],
  sql_columns_unknown: ['invalid_argument', 'The dump says nowhere which columns its rows have.'],
  sql_tables: ['invalid_argument', 'Several tables of the dump can be the one with the users.'],
  source_no_users: ['invalid_argument', 'The file has no user that can be read as one of this product.'],
  source_resets_only: ['invalid_argument', 'This product never gives out passwords or hashes.'],
} as const satisfies Record<string, readonly [Code, string]>;

/** Reasons that only rows of a file have. */
const rowReasons = {
  line_too_long: ['invalid_argument', 'The line is longer than 64 KiB.'],
  csv_quote: [
    'invalid_argument',
    'A quote is not closed or not doubled; write a quote in a field as two and quote the field.',
  ],
  csv_lone_cr: ['invalid_argument', 'The line holds a carriage return without a line feed.'],
  csv_lone_lf: ['invalid_argument', 'The line holds a line feed where lines end in carriage returns.'],
  csv_backslash: [
    'invalid_argument',
    'A backslash stands before a quote in the password: it is not clear what is meant.',
  ],
  row_columns: ['invalid_argument', 'The row has another number of columns than the header.'],
  row_empty: ['invalid_argument', 'All fields of the row are empty.'],
  row_not_utf8: ['invalid_argument', 'A field is not valid UTF-8.'],
  row_not_encoded: ['invalid_argument', 'A field holds bytes that do not exist in the encoding of the file.'],
  row_not_json: ['invalid_argument', 'The line is not valid JSON.'],
  row_not_object: ['invalid_argument', 'The line must be one JSON object.'],
  row_too_many_fields: ['invalid_argument', 'The object has more than 256 keys.'],
  field_repeated: ['invalid_argument', 'A field stands twice in the row.'],
  user_id_not_text: ['invalid_argument', 'The user id must be text in quotes: numbers lose digits.'],
  user_repeated: ['invalid_argument', 'The file has named this user before.'],
  org_id_not_text: ['invalid_argument', 'The organization id must be text in quotes: numbers lose digits.'],
  user_id_e_notation: [
    'invalid_argument',
    'A spreadsheet turned the user id into a rounded number; export it as text.',
  ],
  org_id_e_notation: [
    'invalid_argument',
    'A spreadsheet turned the organization id into a rounded number; export it as text.',
  ],
  change_twice: ['invalid_argument', 'The row has both changeRequired and noChangeRequired.'],
  password_and_hash: ['invalid_argument', 'The row has both a password and a hash.'],
  hash_not_granted: ['permission_denied', 'The caller lacks the permission import-hash in this organization.'],
  password_is_hash: ['invalid_argument', 'The password looks like the hash of one.'],
  password_marker: ['invalid_argument', 'The password is a mark for a missing or disabled one.'],
  set_at_missing: [
    'invalid_argument',
    'The row does not say when its password was set, and the import does not either.',
  ],
  set_at_invalid: ['invalid_argument', 'The time of the password cannot be read.'],
  set_at_ambiguous: ['invalid_argument', 'The date can be read as day before month and as month before day.'],
  set_at_future: ['invalid_argument', 'The time of the password lies in the future.'],
  join_user_missing: ['invalid_argument', 'The file of the users has nobody with the id of this password.'],
  join_user_ambiguous: ['invalid_argument', 'Several users in the file of the users have this id or this name.'],
  join_password_repeated: ['invalid_argument', 'The file of the passwords has had a password of this user before.'],
  ldif_line: ['invalid_argument', 'A line of the LDIF entry is no attribute and continues none.'],
  ldif_base64: ['invalid_argument', 'A value of the LDIF entry is not valid base64.'],
  ldif_url: ['invalid_argument', 'The LDIF entry names a file or an address in place of a value; it is never opened.'],
  ldif_change: ['invalid_argument', 'The LDIF entry changes, renames or deletes: only whole entries are taken.'],
  value_repeated: ['invalid_argument', 'The user has several values where one is needed.'],
} as const satisfies Record<string, readonly [Code, string]>;

/** Why a hash is not taken, as a row tells it. */
const ofHashes = Object.fromEntries(
  Object.entries(hashReasons).map(([reason, [what]]) => [
    reason,
    ['invalid_argument', `The hash is not taken: ${what.replace(/\.$/, '')}.`],
  ]),
) as unknown as Record<HashReason, readonly ['invalid_argument', string]>;

/** All of them. */
export const importReasons = { ...fileReasons, ...rowReasons, ...ofHashes };

export type ImportReason = keyof typeof importReasons;

/** Why a row was refused: one of ours or one that a single request has too. */
export type RowReason = ImportReason | Reason;

/** Code and fixed text of a row's reason. */
export function rowReasonFacts(reason: RowReason): { code: Code; message: string } {
  const [code, message] = reason in importReasons ? importReasons[reason as ImportReason] : reasons[reason as Reason];
  return { code, message };
}

/** The error for a file that cannot be taken at all. */
export function fileError(reason: ImportReason, options: Pick<ErrorOptions, 'fields'> = {}): PassferryError {
  return new PassferryError(reason, { ...rowReasonFacts(reason), ...options });
}
