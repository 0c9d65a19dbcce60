import { PassferryError } from '../../../errors.ts';

/** Of the lines before a file, bytes. */
const headLimit = 8 * 1024;

const broken = () => new PassferryError('multipart_invalid');

/** `multipart/form-data; boundary=…` → the boundary. Error: `multipart_invalid`. */
export function boundaryOf(contentType: string): string {
  const found = /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType);
  const boundary = found?.[1] ?? found?.[2];
  if (boundary === undefined) throw broken();
  return boundary;
}

/**
 * A body of `multipart/form-data` → the bytes of its only file, while they arrive; no more than a chunk is held. Anything else in
 * it is refused: options stand in the query. What was read is zeroed. Error: `multipart_invalid`.
 */
export async function* onlyFile(body: AsyncIterable<Buffer>, boundary: string): AsyncGenerator<Buffer> {
  const iterator = body[Symbol.asyncIterator]();
  const end = Buffer.from(`\r\n--${boundary}`);
  // The first boundary has no line before it.
  let held: Buffer = Buffer.from('\r\n');

  async function more(): Promise<void> {
    const { done, value } = await iterator.next();
    if (done) throw broken();
    const parts = [held, value];
    held = Buffer.concat(parts);
    for (const part of parts) part.fill(0);
  }

  /** Everything up to a mark, which is taken too. */
  async function until(mark: Buffer, most: number): Promise<string> {
    for (;;) {
      const at = held.indexOf(mark);
      if (at >= 0) {
        const text = held.toString('latin1', 0, at);
        held = held.subarray(at + mark.length);
        return text;
      }
      if (held.length > most) throw broken();
      await more();
    }
  }

  try {
    await until(end, headLimit);
    const lineEnd = await until(Buffer.from('\r\n'), headLimit);
    if (lineEnd.trim() !== '') throw broken();
    // The line end belongs to the first header as well: there may be none.
    held = Buffer.concat([Buffer.from('\r\n'), held]);
    const head = await until(Buffer.from('\r\n\r\n'), headLimit);
    if (!/^content-disposition:\s*form-data\b.*;\s*filename\*?=/im.test(head)) throw broken();
    if (/^content-transfer-encoding:\s*(?!binary|8bit|7bit)/im.test(head)) throw broken();

    for (;;) {
      const at = held.indexOf(end);
      if (at >= 0) {
        yield held.subarray(0, at);
        held = held.subarray(at + end.length);
        break;
      }
      // The mark may have begun.
      const safe = held.length - end.length;
      if (safe > 0) {
        const piece = Buffer.from(held.subarray(0, safe));
        held = Buffer.from(held.subarray(safe));
        yield piece;
      }
      await more();
    }
    while (held.length < 2) await more();
    if (held.toString('latin1', 0, 2) !== '--') throw broken();
    for (let rest = await iterator.next(); !rest.done; rest = await iterator.next()) {
      rest.value.fill(0);
    }
  } finally {
    held.fill(0);
    await iterator.return?.();
  }
}
