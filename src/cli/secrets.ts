import { createReadStream } from 'node:fs';
import type { Encoding } from '../producer/import/encoding.ts';
import { peekable } from '../producer/import/peekable.ts';
import type { ImportFormat, ReaderOptions } from '../producer/import/reader.ts';
import { readers } from '../producer/import/readers.ts';
import { unpack } from '../producer/import/unpack.ts';
import type { RunOptions } from '../run.ts';
import { cliError, exits } from './exit.ts';

/** Where a row stands in the file that was imported, and its password as it is there. */
export interface SourceRow {
  row: number;
  line: number;
  byte: number;
  password: string | undefined;
  hash: string | undefined;
}

/** The rows of a file that is still here, read as the run read it. */
export async function* sourceRows(path: string, options: RunOptions): AsyncGenerator<SourceRow> {
  if (options.source !== undefined)
    throw cliError(
      exits.usage,
      'passwords are joined from files of our own formats only; correct the rows in the source file and import that again',
    );
  const raw = peekable((createReadStream(path) as AsyncIterable<Buffer>)[Symbol.asyncIterator]());
  const { encoding, delimiter, header, comments, map = {}, format } = options;
  const unpacked = await unpack(raw, { ...(encoding !== undefined && { encoding: encoding as Encoding }) });
  try {
    const { source, mark, width } = unpacked;
    const batches = readers[format as ImportFormat](source, {
      options: {
        ...(delimiter !== undefined && { delimiter: delimiter as NonNullable<ReaderOptions['delimiter']> }),
        ...(header === false && { header }),
        ...(comments && { comments }),
        map,
        // What it looks like was judged before.
        allowSuspicious: true,
      },
      place: { line: 1, byte: mark, width },
      detected: () => {},
    });
    let row = 0;
    for await (const batch of batches) {
      for (const { line, byte, values } of batch) {
        yield { row: ++row, line, byte, password: textOf(values?.password), hash: textOf(values?.passwordHash) };
      }
    }
  } finally {
    await unpacked.source.close();
  }
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : undefined);
