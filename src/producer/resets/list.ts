import { PassferryError } from '../../errors.ts';
import type { ResetKind } from '../../run.ts';
import { columnName } from '../import/columns.ts';
import { decodeUtf8, fieldsOf } from '../import/csv.ts';
import { cutCsv } from '../import/csv-cut.ts';
import { findDelimiter, findHead } from '../import/csv-head.ts';
import { cutJsonArray } from '../import/json-cut.ts';
import { cutLines } from '../import/lines.ts';
import { type Peekable, peekable } from '../import/peekable.ts';
import { fileError } from '../import/reasons.ts';
import { isRejectsFile, restored } from '../import/rejects-file.ts';
import { unpack } from '../import/unpack.ts';

/** One user of a list as it stands in the file, or why the row cannot be read. */
export type ListRow = { line: number; byte: number } & (
  | { name: unknown; org: unknown }
  | { reason: string; field?: string }
);

/** What a list was found to be: its column of names, as written, and all that its rejects have. */
export interface DetectedList {
  format: 'csv' | 'ndjson' | 'json';
  encoding: string;
  delimiter?: string;
  columns: { userId: string; orgId?: string };
}

/** Headers under which the names of users are looked for; case, spaces, `_`, `-` and `.` do not count. */
const emailNames = ['email', 'mail', 'emailaddress'];
const userNames = ['username', 'login', 'loginname', 'preferredusername'];

function isName(by: ResetKind, header: string): boolean {
  const plain = header
    .trim()
    .replaceAll(/[\s_.-]/g, '')
    .toLowerCase();
  if (by === 'id') return columnName(header) === 'userId';
  return (by === 'email' ? emailNames : userNames).includes(plain);
}

interface Place {
  name: string;
  org?: string;
}

/** Which of these headers are ours. Errors: `list_column_missing`, `header_column_repeated`. */
function placeIn(headers: string[], by: ResetKind): Place {
  const [name, ...more] = headers.filter((header) => isName(by, header));
  const [org, ...moreOrgs] = headers.filter((header) => columnName(header) === 'orgId');
  if (name === undefined)
    throw new PassferryError('list_column_missing', { fields: [{ field: by, reason: 'list_column_missing' }] });
  if (more.length + moreOrgs.length > 0) throw fileError('header_column_repeated');
  return { name, ...(org !== undefined && { org }) };
}

/**
 * A list of users (CSV with a header, NDJSON, a JSON list; gzip, encodings and delimiters as in imports) → its rows, while it arrives.
 * Columns that are not ours are dropped. Errors: those of files, `list_column_missing`.
 */
export async function* readList(
  stream: AsyncIterable<Buffer>,
  by: ResetKind,
  onDetected: (found: DetectedList) => void,
): AsyncGenerator<ListRow> {
  const raw = peekable(stream[Symbol.asyncIterator]());
  let source: Peekable = raw;
  try {
    const unpacked = await unpack(raw, {});
    source = unpacked.source;
    const place = { line: 1, byte: unpacked.mark, width: unpacked.width };
    const first = await firstOf(source);
    const { encoding } = unpacked;
    let rows = 0;
    const all =
      first === '{' || first === '['
        ? readJson(source, by, first === '[' ? cutJsonArray(place) : cutLines(place), (columns) =>
            onDetected({ format: first === '[' ? 'json' : 'ndjson', encoding, columns }),
          )
        : readCsv(source, by, place, (delimiter, columns) =>
            onDetected({ format: 'csv', encoding, delimiter, columns }),
          );
    for await (const row of all) {
      rows++;
      yield row;
    }
    if (rows === 0) throw fileError(first === '{' || first === '[' ? 'file_empty' : 'file_no_rows');
  } finally {
    await source.close();
  }
}

async function firstOf(source: Peekable): Promise<string> {
  for (let wanted = 1; ; ) {
    const head = await source.peek(wanted);
    const found = /\S/.exec(head.toString('latin1'))?.[0];
    if (found !== undefined) return found;
    if (head.length < wanted || head.length > 64 * 1024) throw fileError('file_empty');
    wanted = head.length + 1;
  }
}

type CsvPlace = Parameters<typeof cutCsv>[1];

async function* readCsv(
  source: Peekable,
  by: ResetKind,
  place: CsvPlace,
  detected: (delimiter: string, columns: DetectedList['columns']) => void,
): AsyncGenerator<ListRow> {
  const head = await findHead(source, true);
  if (!head) throw fileError('file_empty');
  const beginning = (await source.next()) as Buffer;
  const { delimiter, names, spaces } = findDelimiter(beginning.subarray(head.start, head.end), head, { header: true });
  const { name, org } = placeIn(names, by);
  detected(delimiter, { userId: name, ...(org !== undefined && { orgId: org }) });
  const [nameAt, orgAt] = [names.indexOf(name), org === undefined ? -1 : names.indexOf(org)];
  // A spreadsheet was kept from reading these as formulas.
  const raw = isRejectsFile(names) ? restored : (text: string) => text;
  const cutter = cutCsv(
    {
      delimiter: delimiter.charCodeAt(0),
      loneCr: head.lineEnd === 'cr',
      skipSpaces: spaces,
      passwordAt: -1,
      comments: true,
    },
    {
      ...place,
      line: place.line + head.lines,
      byte: place.byte + (place.width ? place.width(beginning, 0, head.end) : head.end),
    },
  );
  function* rowsOf(chunk: Buffer, final: boolean): Generator<ListRow> {
    for (const cut of cutter.take(chunk, final)) {
      const { line, byte } = cut;
      if (cut.reason !== undefined) yield { line, byte, reason: cut.reason };
      else if (cut.fields !== names.length) yield { line, byte, reason: 'row_columns' };
      else {
        const fields = fieldsOf(cut);
        const [text, orgText] = [nameAt, orgAt].map((at) => (at < 0 ? '' : decodeUtf8(fields[at] as Buffer)));
        if (text === undefined || orgText === undefined) yield { line, byte, reason: 'row_not_utf8' };
        else yield { line, byte, name: raw(text), org: raw(orgText) };
      }
    }
  }
  try {
    yield* rowsOf(beginning.subarray(head.end), false);
    for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) yield* rowsOf(chunk, false);
    yield* rowsOf(Buffer.alloc(0), true);
  } finally {
    cutter.close();
  }
}

async function* readJson(
  source: Peekable,
  by: ResetKind,
  cutter: ReturnType<typeof cutLines>,
  detected: (columns: DetectedList['columns']) => void,
): AsyncGenerator<ListRow> {
  let place: Place | undefined;
  function* rowsOf(chunk: Buffer, final: boolean): Generator<ListRow> {
    for (const frame of cutter.take(chunk, final)) {
      const { line, byte } = frame;
      const text = 'bytes' in frame ? decodeUtf8(frame.bytes) : undefined;
      if (text !== undefined && text.trim() === '') continue;
      if ('reason' in frame) yield { line, byte, reason: frame.reason };
      else if (text === undefined) yield { line, byte, reason: 'row_not_utf8' };
      else {
        const object = parsed(text);
        if (typeof object === 'string') {
          yield { line, byte, reason: object };
          continue;
        }
        if (!place) {
          place = placeIn(Object.keys(object), by);
          detected({ userId: place.name, ...(place.org !== undefined && { orgId: place.org }) });
        }
        const { name, org = '' } = place;
        yield { line, byte, name: object[name] ?? '', org: object[org] ?? '' };
      }
    }
  }
  try {
    for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) yield* rowsOf(chunk, false);
    yield* rowsOf(Buffer.alloc(0), true);
    // Not one line could be read.
    if (!place) throw fileError('file_no_rows');
  } finally {
    cutter.close();
  }
}

function parsed(text: string): Record<string, unknown> | 'row_not_json' | 'row_not_object' {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'row_not_json';
  }
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : 'row_not_object';
}

/** Reads a whole list for nothing but its faults; how many rows it has. Errors: those of {@link readList}. */
export async function peekList(stream: AsyncIterable<Buffer>, by: ResetKind): Promise<number> {
  let rows = 0;
  for await (const _ of readList(stream, by, () => {})) rows++;
  return rows;
}
