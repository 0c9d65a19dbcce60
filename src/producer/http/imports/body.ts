import type { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { PassferryError } from '../../../errors.ts';
import type { ImportFormat } from '../../import/parse.ts';
import { hashParamsLimit, parseHashParams } from '../../import/sources/hash-params.ts';
import type { Fields } from '../../import/sources/source.ts';
import { header } from '../deps.ts';
import { boundaryOf, importForm } from './multipart.ts';

/** Media type → what is said by it; undefined: the file itself is asked. */
const formats: Record<string, ImportFormat | undefined> = {
  'text/csv': 'csv',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  // A list, or one object a line: told by the first character.
  'application/json': 'json',
  'application/gzip': undefined,
  'application/x-gzip': undefined,
  'application/octet-stream': undefined,
  'multipart/form-data': undefined,
};

export const importMediaTypes = Object.keys(formats);

/** What a request brings: its file, and what belongs to it. */
export interface SentFile {
  file: AsyncIterable<Buffer>;
  /** Where the media type says it. */
  format?: ImportFormat;
  /** Of an export in two files: its users, to be read before `file`. */
  users?: AsyncIterable<Buffer>;
  hashParams?: Fields;
}

/** The file in a request. Errors: `media_type_unsupported`, `multipart_invalid`, `hash_params_invalid`. */
export async function fileOf(request: FastifyRequest): Promise<SentFile> {
  const type = header(request, 'content-type') ?? '';
  const name = type.split(';')[0]?.trim().toLowerCase() ?? '';
  // gzip is seen by its first bytes, whoever names it.
  const packing = (header(request, 'content-encoding') ?? '').trim().toLowerCase();
  if (!Object.hasOwn(formats, name) || !['', 'identity', 'gzip', 'x-gzip'].includes(packing)) {
    throw new PassferryError('media_type_unsupported');
  }
  const body = request.body as Readable;
  if (name === 'multipart/form-data') {
    const { hashParams, ...sent } = await importForm(body, boundaryOf(type), hashParamsLimit);
    return hashParams ? { ...sent, hashParams: parseHashParams(hashParams.toString('utf8')) } : sent;
  }
  const format = formats[name];
  return { file: body, ...(format && { format }) };
}
