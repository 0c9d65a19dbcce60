import { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { PassferryError } from '../../../errors.ts';
import type { ImportFormat } from '../../import/parse.ts';
import { header } from '../deps.ts';
import { boundaryOf, onlyFile } from './multipart.ts';

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

/** The file in a request, and its format where the request says one. Errors: `media_type_unsupported`, `multipart_invalid`. */
export function fileOf(request: FastifyRequest): { file: Readable; format?: ImportFormat } {
  const type = header(request, 'content-type') ?? '';
  const name = type.split(';')[0]?.trim().toLowerCase() ?? '';
  // gzip is seen by its first bytes, whoever names it.
  const packing = (header(request, 'content-encoding') ?? '').trim().toLowerCase();
  if (!Object.hasOwn(formats, name) || !['', 'identity', 'gzip', 'x-gzip'].includes(packing)) {
    throw new PassferryError('media_type_unsupported');
  }
  const body = request.body as Readable;
  const file =
    name === 'multipart/form-data' ? Readable.from(onlyFile(body, boundaryOf(type)), { objectMode: false }) : body;
  const format = formats[name];
  return { file, ...(format && { format }) };
}
