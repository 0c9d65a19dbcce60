import { readCsv } from './csv.ts';
import { readJsonArray, readNdjson } from './json.ts';
import type { ImportFormat, Reader } from './reader.ts';

/** Format → what reads it. Another source of rows is one file and one line here. */
export const readers: Readonly<Record<ImportFormat, Reader>> = {
  csv: readCsv,
  ndjson: readNdjson,
  json: readJsonArray,
};
