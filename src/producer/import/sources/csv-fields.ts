import { isAscii } from 'node:buffer';
import { isEmpty, textOf } from '../csv.ts';
import { type Cut, cutCsv } from '../csv-cut.ts';
import { findDelimiter, findHead } from '../csv-head.ts';
import { fileError, type ImportReason } from '../reasons.ts';
import type { ContainerReader, FieldsRecord } from './container.ts';
import type { Fields } from './source.ts';

/** CSV → records by the names of its header, or by positions that the source knows. */
export const csvFields: ContainerReader = {
  name: 'csv',
  // What nothing else reads.
  begins: () => true,
  async *read(source, input) {
    const { place, positions } = input;
    const head = await findHead(source, true);
    if (!head) throw fileError('file_empty');
    const beginning = (await source.next()) as Buffer;
    const record = beginning.subarray(head.start, head.end);
    const found = findDelimiter(record, head, { delimiter: input.delimiter, header: true });
    const { delimiter } = found;
    input.names?.(found.names);
    input.dialect?.({ delimiter, lineEnd: head.lineEnd, comments: head.comments });
    const skipped = positions ? head.start : head.end;
    const names: readonly string[] = positions ?? found.names.map((name) => name.trim());
    if (!positions && new Set(names).size < names.length && repeats(names)) throw fileError('header_column_repeated');
    const cutter = cutCsv(
      {
        delimiter: delimiter.charCodeAt(0),
        loneCr: head.lineEnd === 'cr',
        skipSpaces: !positions && found.spaces,
        passwordAt: names.findIndex((name) => /pass/i.test(name)),
        comments: input.comments === true,
      },
      {
        line: place.line + (positions ? head.linesBefore : head.lines),
        byte: place.byte + (place.width ? place.width(beginning, 0, skipped) : skipped),
        width: place.width,
      },
    );
    const read = records(names, positions !== undefined, place.width ? 'row_not_encoded' : 'row_not_utf8');
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
  },
};

/** Two columns without a name are no harm: exports end their lines in delimiters. */
function repeats(names: readonly string[]): boolean {
  const named = names.filter((name) => name !== '');
  return new Set(named).size < named.length;
}

function records(names: readonly string[], mayBeFewer: boolean, undecodable: ImportReason) {
  return function* read(cuts: Iterable<Cut>): Generator<FieldsRecord> {
    let checked: Buffer | undefined;
    let ascii = false;
    for (const cut of cuts) {
      const { line, byte } = cut;
      if (cut.buffer !== checked) {
        checked = cut.buffer;
        ascii = isAscii(checked);
      }
      if (cut.reason !== undefined) yield { line, byte, reason: cut.reason };
      else if (mayBeFewer ? cut.fields > names.length : cut.fields !== names.length) {
        yield { line, byte, reason: 'row_columns' };
      } else if (isEmpty(cut)) yield { line, byte, reason: 'row_empty' };
      else yield toRecord(cut, ascii);
    }
  };

  function toRecord(cut: Cut, ascii: boolean): FieldsRecord {
    const { line, byte } = cut;
    // Without a prototype: a column may be called __proto__.
    const fields: Fields = Object.create(null);
    for (let i = 0; i < cut.fields; i++) {
      const text = textOf(cut, i, ascii);
      if (text === undefined) return { line, byte, reason: undecodable };
      fields[names[i] as string] = text;
    }
    return { line, byte, fields };
  }
}
