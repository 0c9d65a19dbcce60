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

/** One file of a form; its bytes are read to their end before the next one is asked for. */
export interface FormFile {
  name: string;
  bytes: AsyncGenerator<Buffer>;
}

/**
 * A body of `multipart/form-data` → its files, one after the other, while they arrive; no more than a chunk is held. Anything else in
 * it is refused: options stand in the query. What was read is zeroed. Error: `multipart_invalid`.
 */
async function* formFiles(body: AsyncIterable<Buffer>, boundary: string): AsyncGenerator<FormFile> {
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

  async function* bytes(): AsyncGenerator<Buffer> {
    for (;;) {
      const at = held.indexOf(end);
      if (at >= 0) {
        yield held.subarray(0, at);
        held = held.subarray(at + end.length);
        return;
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
  }

  try {
    await until(end, headLimit);
    for (let first = true; ; first = false) {
      while (held.length < 2) await more();
      if (!first && held.toString('latin1', 0, 2) === '--') break;
      const lineEnd = await until(Buffer.from('\r\n'), headLimit);
      if (lineEnd.trim() !== '') throw broken();
      // The line end belongs to the first header as well: there may be none.
      held = Buffer.concat([Buffer.from('\r\n'), held]);
      const head = await until(Buffer.from('\r\n\r\n'), headLimit);
      if (!/^content-disposition:\s*form-data\b.*;\s*filename\*?=/im.test(head)) throw broken();
      if (/^content-transfer-encoding:\s*(?!binary|8bit|7bit)/im.test(head)) throw broken();
      const name = /^content-disposition:.*?[;\s]name="?([\w-]{1,40})"?/im.exec(head)?.[1] ?? '';
      let read = false;
      async function* all() {
        yield* bytes();
        read = true;
      }
      yield { name, bytes: all() };
      if (!read) throw broken();
    }
    for (let rest = await iterator.next(); !rest.done; rest = await iterator.next()) {
      rest.value.fill(0);
    }
  } finally {
    held.fill(0);
    await iterator.return?.();
  }
}

/** What a form sends for one import. */
export interface ImportForm {
  file: AsyncGenerator<Buffer>;
  /** To be read to its end before `file` is. */
  users?: AsyncIterable<Buffer>;
  hashParams?: Buffer;
}

/**
 * The files of an import: one, whatever its name; or `users` and then `passwords`. `hashParams`, up to `most` bytes, may stand before
 * them. Error: `multipart_invalid`; its `fields` name the part that is not where it should be.
 */
export async function importForm(body: AsyncIterable<Buffer>, boundary: string, most: number): Promise<ImportForm> {
  const files = formFiles(body, boundary);
  const next = async (): Promise<FormFile> => {
    const { done, value } = await files.next();
    if (done) throw broken();
    return value;
  };
  try {
    let part = await next();
    let hashParams: Buffer | undefined;
    if (part.name === 'hashParams') {
      hashParams = await small(part, most);
      part = await next();
    }
    const found: ImportForm = {
      file: part.name === 'users' ? last(next, files, 'passwords') : only(part, files),
      ...(part.name === 'users' && { users: part.bytes }),
    };
    return hashParams ? { ...found, hashParams } : found;
  } catch (error) {
    await files.return(undefined);
    throw error;
  }
}

async function small({ bytes, name }: FormFile, most: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of bytes) {
    length += piece.length;
    if (length > most) throw misplaced(name);
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces);
}

async function* only(part: FormFile, files: AsyncGenerator<FormFile>): AsyncGenerator<Buffer> {
  try {
    yield* part.bytes;
    const { done, value } = await files.next();
    if (!done) throw misplaced(value.name);
  } finally {
    await files.return(undefined);
  }
}

async function* last(next: () => Promise<FormFile>, files: AsyncGenerator<FormFile>, name: string) {
  const part = await next();
  if (part.name !== name) {
    await files.return(undefined);
    throw misplaced(name);
  }
  yield* only(part, files);
}

const misplaced = (field: string) =>
  new PassferryError('multipart_invalid', {
    fields: [{ field: field === '' ? 'file' : field, reason: 'multipart_invalid' }],
  });
