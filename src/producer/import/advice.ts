import type { Reason } from '../../errors.ts';
import { hashReasons } from '../../hashes/reasons.ts';
import type { ImportReason } from './reasons.ts';

/** Reasons of a row that single requests have too. */
type SharedReason = Extract<
  Reason,
  | 'field_type'
  | 'user_name_missing'
  | 'user_name_invalid'
  | 'email_invalid'
  | 'user_id_missing'
  | 'user_id_invalid'
  | 'org_id_invalid'
  | 'org_not_granted'
  | 'password_missing'
  | 'password_too_long'
  | 'password_too_many_bytes'
  | 'password_nul'
  | 'password_ill_formed'
>;

/** What a person does about each reason of a file or a row, in one sentence. */
export const importAdvice: Readonly<Record<ImportReason | SharedReason, string>> = {
  file_empty: 'Look whether the export has ended, and send its file again.',
  file_no_rows: 'Look whether the export has ended; if its rows should be there, they stand after the header line.',
  file_not_text: 'Export the data as CSV or NDJSON in UTF-8.',
  file_utf16: 'Save it as UTF-8, or name the encoding: utf-16le or utf-16be.',
  file_compressed: 'Unpack it, or pack it with gzip.',
  file_zip: 'Unpack it; from a spreadsheet save as "CSV UTF-8", with the columns of ids formatted as text.',
  file_archive: 'Unpack it and send the one file with the users.',
  file_json_object: 'Send the list inside it only, or one object a line.',
  file_too_large: 'Split the file, or allow more.',
  gzip_cut: 'Copy or pack the file again: its end is missing.',
  gzip_broken: 'Copy or pack the file again, and check it with gzip -t.',
  gzip_bomb: 'Send the file unpacked if it is what it should be.',
  gzip_nested: 'Unpack it once.',
  encoding_contradicted: 'Leave the encoding out: the file says it itself.',
  json_array_cut: 'Export the file again: its end is missing.',
  json_array_trailing: 'Put all rows into one list, or write one object a line.',
  header_unreadable: 'Repair the quotes and the length of the first line.',
  header_column_missing:
    'Add a header line with userId and password, name them with --map, or say that there is no header.',
  header_column_repeated: 'Keep one of them, or choose with --map.',
  header_column_ambiguous: 'Choose one with --map, for example --map userId=user_id.',
  header_change_twice: 'Keep one of the two columns.',
  header_too_many_columns: 'Export the needed columns only.',
  delimiter_ambiguous: 'Name the delimiter.',
  map_column_unknown: 'Use userId, password, orgId, noChangeRequired, changeRequired or setAt.',
  map_column_missing: 'Write the name as it stands in the header of the file.',
  map_column_twice: 'Give each of our columns one of its own.',
  map_position_invalid: 'Count the columns from #1.',
  map_position_needed: 'Say for example --map userId=#1 --map password=#2.',
  keep_column_missing: 'Write the name as it stands in the header of the file.',
  keep_column_secret: 'Leave it out: passwords never come back; join them from your own file.',
  source_unclear: 'Say whose file it is: --from with one of the names that are told here.',
  source_unknown: 'Use auto, own, or one of the names in docs/import.md.',
  source_mismatch: 'Leave --from out, or name the product that wrote the file.',
  source_no_passwords: 'Export it with credentials: docs/import has the steps for each product.',
  source_by: 'Leave --by out, or use one of the ways that docs/import.md has for the product.',
  source_no_join: 'Import its file alone, without --users and --passwords.',
  source_files_swapped: 'Give the file of the users with --users, and that of the passwords with --passwords.',
  users_too_many:
    'Split the file of the users; or import that of the passwords alone, whose ids are the same; or wait for other imports.',
  hash_params_invalid: 'Write JSON with algorithm, rounds and the like: docs/import/firebase.md has the names.',
  source_list_missing: 'Export the users too: docs/import has the steps for each product.',
  sql_cut: 'Make the dump again: its end is missing, or a quote in it is not closed.',
  sql_dialect: 'Keep the comments at its beginning, or add the line "-- MySQL dump" or "-- PostgreSQL database dump".',
  sql_columns_unknown: 'Make the dump with its CREATE TABLE, or with column names (mysqldump --complete-insert).',
  sql_tables: 'Export the one table only: mysqldump DATABASE TABLE, pg_dump -t TABLE.',
  source_no_users: 'Look whether the table with the users is in the file, or name another product with --from.',
  source_resets_only: 'Import nothing: make the users in the target, and send links with passferry reset --mode link.',
  line_too_long: 'Look for a missing line end or quote at this line.',
  csv_quote: 'Put the field in quotes and write each quote inside it twice.',
  csv_lone_cr: 'Put the field in quotes, or take the carriage return out.',
  csv_lone_lf: 'Put the field in quotes, or take the line feed out.',
  csv_backslash:
    'Write a quote inside a field as two quotes; if the backslash is part of the password, allow suspicious ones.',
  row_columns: 'Put the field that holds a delimiter in quotes: it is often the password.',
  row_empty: 'Nothing: take the line out if it disturbs.',
  row_not_utf8: 'Save the file as UTF-8, or name its encoding: windows-1252 or latin1.',
  row_not_encoded: 'Export the row again, or name another encoding.',
  row_not_json: 'Repair the line: quotes, commas, brackets.',
  row_not_object: 'Write the row as an object with userId and password.',
  row_too_many_fields: 'Export the needed fields only.',
  field_repeated: 'Keep one of them, or choose with --map.',
  user_repeated: 'Keep one row for each user.',
  user_id_not_text: 'Put the id in quotes at its source: from this file its digits cannot be told.',
  org_id_not_text: 'Put the id in quotes at its source: from this file its digits cannot be told.',
  user_id_e_notation: 'Export again without a spreadsheet, or with the column formatted as text: digits are lost here.',
  org_id_e_notation: 'Export again without a spreadsheet, or with the column formatted as text: digits are lost here.',
  change_twice: 'Keep one of the two.',
  password_and_hash: 'Leave one of the two empty.',
  hash_not_granted: 'Ask for the permission import-hash in that organization.',
  password_is_hash: 'Import hashes as hashes; if it is the password itself, allow suspicious ones.',
  password_marker: 'Leave the user out; if it is the password itself, allow suspicious ones.',
  set_at_missing: 'Fill in the time, or import the row with asOf (--as-of).',
  set_at_invalid: 'Write RFC 3339, such as 2026-02-01T09:30:00Z, or seconds or milliseconds since 1970.',
  set_at_ambiguous: 'Write the year first: 2026-02-01.',
  set_at_future: 'Look at the clock and the time zone of the export.',
  join_user_missing: 'Nothing if the user was deleted; else export both files at one time.',
  join_user_ambiguous: 'Keep one of them in the file of the users, or name users by id (--by id).',
  join_password_repeated: 'Find out which of the passwords is the right one, and keep that row.',
  ldif_line:
    'Export the entry again: each line is "name: value", or begins with a space and goes on with the one before.',
  ldif_base64: 'Export the entry again: behind "::" stands base64.',
  ldif_url: 'Write the value itself into the file.',
  ldif_change: 'Export the entries as they are (ldapsearch -LLL, slapcat), not changes to them.',
  value_repeated: 'Keep the one that is in force, or name users by something else (--by).',
  field_type: 'Write text as text, and flags as true or false.',
  user_id_missing: 'Fill in the id of the user, or take the row out.',
  user_id_invalid: 'Take out control characters, and look whether the columns are shifted.',
  org_id_invalid: 'Take out control characters, and look whether the columns are shifted.',
  org_not_granted: 'Ask for the permission import in that organization, or look whether the columns are shifted.',
  password_missing: 'Fill in the password, or take the row out: an empty one is never set.',
  password_too_long: 'Choose one of up to 72 characters: it is never cut.',
  password_too_many_bytes: 'Choose one of up to 72 bytes: accents and emoji take several.',
  password_nul: 'Choose one without a NUL character.',
  password_ill_formed: 'Export the row again: a character is cut in half.',
  user_name_missing: 'Fill in the e-mail address or user name, or take the row out.',
  user_name_invalid: 'Take out control characters, and look whether the columns are shifted.',
  email_invalid: 'Correct the address, and look whether the columns are shifted.',
  ...(Object.fromEntries(Object.entries(hashReasons).map(([reason, [, advice]]) => [reason, advice])) as Record<
    keyof typeof hashReasons,
    string
  >),
};
