import { createTranscoder, detectEncoding, type Encoding, widthIn } from './encoding.ts';
import { gunzip } from './gunzip.ts';
import { type Peekable, peekable } from './peekable.ts';
import { fileError, type ImportReason } from './reasons.ts';

/** What a file is that is not text, by its first four bytes (latin1). */
const foreign: [string, ImportReason][] = [
  ['PK\x03\x04', 'file_zip'],
  ['\xd0\xcf\x11\xe0', 'file_zip'],
  ['BZh', 'file_compressed'],
  ['\xfd7zX', 'file_compressed'],
  ['\x28\xb5\x2f\xfd', 'file_compressed'],
  ["7z\xbc\xaf'", 'file_compressed'],
  ['Rar!', 'file_compressed'],
  ['%PDF', 'file_not_text'],
  ['\x7fELF', 'file_not_text'],
];

export interface Unpacked {
  /** The text in UTF-8, without a byte order mark. */
  source: Peekable;
  compression: 'none' | 'gzip';
  encoding: Encoding;
  /** Length of the byte order mark. */
  mark: number;
  width: ReturnType<typeof widthIn>;
}

/**
 * Any file → its text. Closing the result closes what it comes from.
 * @throws PassferryError for what is no text, or larger than `maxBytes` (unpacked).
 */
export async function unpack(raw: Peekable, options: { encoding?: Encoding; maxBytes?: number }): Promise<Unpacked> {
  const zipped = isGzip(await raw.peek(2));
  const plain = limited(zipped ? peekable(gunzip(raw)) : raw, options.maxBytes);
  const head = await plain.peek(4);
  const magic = head.toString('latin1', 0, 4);
  if (isGzip(head)) throw fileError('gzip_nested');
  const found = foreign.find(([start]) => magic.startsWith(start));
  if (found) throw fileError(found[1]);

  const { encoding, mark } = detectEncoding(head, options.encoding);
  const text = peekable(transcoded(plain, encoding, mark));
  const source = {
    ...text,
    close: () => Promise.all([text.close(), plain.close(), raw.close()]).then(() => undefined),
  };
  return { source, compression: zipped ? 'gzip' : 'none', encoding, mark, width: widthIn(encoding) };
}

const isGzip = (head: Buffer) => head[0] === 0x1f && head[1] === 0x8b;

function limited(source: Peekable, maxBytes: number | undefined): Peekable {
  if (maxBytes === undefined) return source;
  let taken = 0;
  return {
    ...source,
    async next() {
      const chunk = await source.next();
      taken += chunk?.length ?? 0;
      if (taken <= maxBytes) return chunk;
      chunk?.fill(0);
      throw fileError('file_too_large');
    },
  };
}

async function* transcoded(source: Peekable, encoding: Encoding, mark: number): AsyncGenerator<Buffer> {
  const transcode = createTranscoder(encoding);
  let skip = mark;
  for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
    const rest = chunk.subarray(skip);
    skip = 0;
    yield transcode(rest, false);
  }
  yield transcode(Buffer.alloc(0), true);
}
