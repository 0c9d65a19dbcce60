import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { ImportOptions } from './import-options.ts';

/** The content itself, a file, or a stream of it. */
export type ImportSource = string | Uint8Array | { path: string } | AsyncIterable<Uint8Array | string>;

/** What an upload sends. */
export interface ImportBody {
  type: string;
  /** Can it be read again? */
  repeats: boolean;
  bytes(onBroken: () => void): AsyncGenerator<Uint8Array>;
}

const mediaTypes = {
  csv: 'text/csv',
  ndjson: 'application/x-ndjson',
  json: 'application/json',
  any: 'application/octet-stream',
} as const;

/** One file; or, with `users` or `hashParams`, a form of them in the order in which the server reads it. */
export function importBody(source: ImportSource, options: ImportOptions): ImportBody {
  const { users, hashParams } = options;
  if (users === undefined && hashParams === undefined) {
    const type = mediaTypes[formatOf(source, options) ?? 'any'];
    return { type, repeats: canRepeat(source), bytes: (onBroken) => bytesOf(source, onBroken) };
  }
  const boundary = `passferry-${randomBytes(16).toString('hex')}`;
  async function* form(onBroken: () => void): AsyncGenerator<Uint8Array> {
    const head = (name: string) =>
      Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="${name}"; filename="${name}"\r\n\r\n`);
    const end = Buffer.from('\r\n');
    if (hashParams !== undefined)
      yield Buffer.concat([head('hashParams'), Buffer.from(JSON.stringify(hashParams)), end]);
    if (users !== undefined) {
      yield head('users');
      yield* bytesOf(users, onBroken);
      yield end;
    }
    yield head(users === undefined ? 'file' : 'passwords');
    yield* bytesOf(source, onBroken);
    yield Buffer.from(`\r\n--${boundary}--\r\n`);
  }
  const repeats = canRepeat(source) && (users === undefined || canRepeat(users));
  return { type: `multipart/form-data; boundary=${boundary}`, repeats, bytes: form };
}

function isFile(source: ImportSource): source is { path: string } {
  return typeof source === 'object' && 'path' in source && !(Symbol.asyncIterator in source);
}

function canRepeat(source: ImportSource): boolean {
  return typeof source === 'string' || source instanceof Uint8Array || isFile(source);
}

/** Undefined: the server looks for itself. */
function formatOf(source: ImportSource, { format }: ImportOptions): ImportOptions['format'] {
  if (format !== undefined || !isFile(source)) return format;
  const [, ending = ''] = /\.(csv|ndjson|jsonl|json)$/i.exec(source.path) ?? [];
  return ({ csv: 'csv', ndjson: 'ndjson', jsonl: 'ndjson', json: 'json' } as const)[ending.toLowerCase()];
}

async function* bytesOf(source: ImportSource, onBroken: () => void): AsyncGenerator<Uint8Array> {
  const parts =
    typeof source === 'string' || source instanceof Uint8Array
      ? [source]
      : isFile(source)
        ? createReadStream(source.path)
        : source;
  try {
    for await (const part of parts) yield typeof part === 'string' ? Buffer.from(part) : part;
  } catch (thrown) {
    onBroken();
    throw thrown;
  }
}
