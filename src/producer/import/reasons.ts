import type { Code, ErrorOptions, Reason } from '../../errors.ts';
import { PassferryError, reasons } from '../../errors.ts';

/** Reasons that only files and their rows have: reason → code and fixed text. */
export const importReasons = {
  // the whole file
  file_empty: ['invalid_argument', 'The file is empty.'],
  file_no_rows: ['invalid_argument', 'The file has a header but no rows.'],
  file_not_text: ['invalid_argument', 'The file is not UTF-8 text.'],
  file_utf16: ['invalid_argument', 'The file is UTF-16; save it as UTF-8.'],
  file_compressed: ['invalid_argument', 'The file is compressed or a spreadsheet; send plain CSV or NDJSON.'],
  file_json_array: ['invalid_argument', 'The file is one JSON array; send one JSON object a line (NDJSON).'],
  header_unreadable: ['invalid_argument', 'The header line cannot be read as CSV.'],
  header_column_missing: [
    'invalid_argument',
    'The header must name the columns userId and password, separated by commas.',
  ],
  header_column_repeated: ['invalid_argument', 'The header names a column twice.'],
  // one row
  line_too_long: ['invalid_argument', 'The line is longer than 64 KiB.'],
  csv_quote: [
    'invalid_argument',
    'A quote is not closed or not doubled; write a quote in a field as two and quote the field.',
  ],
  csv_lone_cr: ['invalid_argument', 'The line holds a carriage return without a line feed.'],
  row_columns: ['invalid_argument', 'The row has another number of columns than the header.'],
  row_not_utf8: ['invalid_argument', 'A field is not valid UTF-8.'],
  row_not_json: ['invalid_argument', 'The line is not valid JSON.'],
  row_not_object: ['invalid_argument', 'The line must be one JSON object.'],
  field_repeated: ['invalid_argument', 'A field stands twice in the row.'],
  user_id_not_text: ['invalid_argument', 'The user id must be text in quotes: numbers lose digits.'],
  org_id_not_text: ['invalid_argument', 'The organization id must be text in quotes: numbers lose digits.'],
  user_id_e_notation: [
    'invalid_argument',
    'A spreadsheet turned the user id into a rounded number; export it as text.',
  ],
  org_id_e_notation: [
    'invalid_argument',
    'A spreadsheet turned the organization id into a rounded number; export it as text.',
  ],
} as const satisfies Record<string, readonly [Code, string]>;

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
