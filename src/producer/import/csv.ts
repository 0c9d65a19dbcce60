import { isAscii, isUtf8 } from 'node:buffer';
import { type ColumnName, type Columns, columnNames, positionColumns, resolveColumns } from './columns.ts';
import { backslashed, type Cut, cutCsv, doubled } from './csv-cut.ts';
import { findDelimiter, findHead } from './csv-head.ts';
import type { Reader, ReaderOptions, SourceRecord } from './reader.ts';
import { fileError, type ImportReason } from './reasons.ts';

/** CSV: the dialect is recognised from the first record. */
export const readCsv: Reader = async function* (source, { options, place, detected }) {
  const header = options.header ?? true;
  const head = await findHead(source, header || options.comments === true);
  if (!head) throw fileError('file_empty');
  const beginning = (await source.next()) as Buffer;
  const record = beginning.subarray(head.start, head.end);
  const { delimiter, names, spaces } = findDelimiter(record, head, { ...options, header });
  const columns = header
    ? resolveColumns(names, { map: options.map, keep: options.keepColumns, by: options.by })
    : positionColumns(names.length, options.map, options.by);
  const nameAt = (index: number) => (header ? (names[index] as string) : `#${index + 1}`);
  const { lineEnd, comments } = head;
  detected({
    ...{ delimiter, lineEnd, comments, header: header ? names : [] },
    columns: Object.fromEntries(Object.entries(columns.at).map(([name, index]) => [name, nameAt(index)])),
    kept: [...columns.kept.map(({ at }) => at), ...secretsAt(columns)].sort((a, b) => a - b).map(nameAt),
  });

  const skipped = header ? head.end : head.start;
  const cutter = cutCsv(
    {
      delimiter: delimiter.charCodeAt(0),
      loneCr: lineEnd === 'cr',
      skipSpaces: options.skipSpaces ?? (header && spaces),
      passwordAt: columns.at.password ?? (columns.at.passwordHash as number),
      comments: options.comments === true,
    },
    {
      line: place.line + (header ? head.lines : head.linesBefore),
      byte: place.byte + (place.width ? place.width(beginning, 0, skipped) : skipped),
      width: place.width,
    },
  );
  const read = csvReader(names.length, columns, options, place.width ? 'row_not_encoded' : 'row_not_utf8');
  try {
    beginning.fill(0, 0, skipped);
    yield read(cutter.take(beginning.subarray(skipped), false));
    for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
      yield read(cutter.take(chunk, false));
    }
    yield read(cutter.take(Buffer.alloc(0), true));
  } finally {
    cutter.close();
  }
};

function secretsAt({ at }: Columns): number[] {
  return [at.password, at.passwordHash].filter((index) => index !== undefined);
}

/** Cuts → records: fields become text here, if they are ours. */
function csvReader(count: number, { at, kept }: Columns, options: ReaderOptions, undecodable: ImportReason) {
  const ours = columnNames.flatMap((name) => (at[name] === undefined ? [] : [{ name, index: at[name] }]));
  const handedOn = kept.map(({ name, at: index }) => ({
    name,
    index,
    ours: ours.find((each) => each.index === index)?.name,
  }));
  const passwordAt = at.password ?? (at.passwordHash as number);
  const passwordField = at.password === undefined ? 'passwordHash' : 'password';
  const refuseBackslash = options.allowSuspicious !== true;

  return function* read(cuts: Iterable<Cut>): Generator<SourceRecord> {
    let checked: Buffer | undefined;
    let ascii = false;
    for (const cut of cuts) {
      const { line, byte } = cut;
      if (cut.buffer !== checked) {
        checked = cut.buffer;
        ascii = isAscii(checked);
      }
      if (cut.reason !== undefined) yield { line, byte, reason: cut.reason };
      // No user id here: the columns have shifted, so it may be part of a password.
      else if (cut.fields !== count) yield { line, byte, reason: 'row_columns' };
      else if (count > 1 && cut.end - cut.start < count * 3 && isEmpty(cut)) yield { line, byte, reason: 'row_empty' };
      else if (refuseBackslash && ((cut.bounds[passwordAt * 3 + 2] as number) & backslashed) !== 0) {
        yield { line, byte, reason: 'csv_backslash', field: passwordField };
      } else yield toRecord(cut, ascii);
    }
  };

  function toRecord(cut: Cut, ascii: boolean): SourceRecord {
    const { line, byte } = cut;
    const values: Record<ColumnName, string | undefined> = {
      userId: undefined,
      password: undefined,
      orgId: undefined,
      noChangeRequired: undefined,
      changeRequired: undefined,
      setAt: undefined,
      passwordHash: undefined,
      email: undefined,
      userName: undefined,
    };
    for (const { name, index } of ours) {
      const text = textOf(cut, index, ascii);
      if (text === undefined) return { line, byte, reason: undecodable, field: name };
      values[name] = text;
    }
    const columns: Record<string, string> = {};
    for (const { name, index, ours: column } of handedOn) {
      columns[name] = (column === undefined ? textOf(cut, index, ascii) : values[column]) ?? '';
    }
    return { line, byte, values, columns };
  }
}

export function isEmpty({ bounds, fields }: Cut): boolean {
  for (let i = 0; i < fields; i++) if (bounds[i * 3] !== bounds[i * 3 + 1]) return false;
  return true;
}

/** A field as text; undefined when it is not UTF-8 (never U+FFFD in its place). */
export function textOf({ buffer, start, bounds }: Cut, index: number, ascii: boolean): string | undefined {
  const from = start + (bounds[index * 3] as number);
  const to = start + (bounds[index * 3 + 1] as number);
  let text: string;
  if (ascii) text = buffer.toString('latin1', from, to);
  else if (isUtf8(buffer.subarray(from, to))) text = buffer.toString('utf8', from, to);
  else return undefined;
  return ((bounds[index * 3 + 2] as number) & doubled) === 0 ? text : text.replaceAll('""', '"');
}

/** The fields of a record as bytes of their own, quotes undone. */
export function fieldsOf({ buffer, start, bounds, fields }: Cut): Buffer[] {
  return Array.from({ length: fields }, (_, index) => {
    const field = Buffer.from(
      buffer.subarray(start + (bounds[index * 3] as number), start + (bounds[index * 3 + 1] as number)),
    );
    if (((bounds[index * 3 + 2] as number) & doubled) === 0) return field;
    const single = Buffer.from(field.toString('latin1').replaceAll('""', '"'), 'latin1');
    field.fill(0);
    return single;
  });
}

/** Bytes → text; undefined when they are not UTF-8 (never U+FFFD in their place). */
export function decodeUtf8(bytes: Buffer): string | undefined {
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}
