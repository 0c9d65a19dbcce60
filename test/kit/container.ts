import { peekable } from '../../src/producer/import/peekable.ts';
import type { ContainerReader } from '../../src/producer/import/sources/container.ts';
import { chunksOf } from './import-file.ts';

/** What a container reader makes of a file: copies, since a record is valid until the next. */
export async function recordsOf(reader: ContainerReader, file: string | Buffer, chunk = 65_536) {
  const source = peekable(chunksOf(Buffer.from(file as string), chunk));
  const records = [];
  for await (const batch of reader.read(source, { place: { line: 1, byte: 0 }, lists: [] })) {
    for (const record of batch) records.push('fields' in record ? { ...record, fields: { ...record.fields } } : record);
  }
  return records;
}
