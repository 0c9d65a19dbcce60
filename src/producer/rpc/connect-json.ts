import type { IncomingMessage } from 'node:http';
import { type DescMessage, fromJsonString, type JsonValue, toJson } from '@bufbuild/protobuf';
import { createContextKey } from '@connectrpc/connect';
import { PassferryError } from '../../errors.ts';
import { checkTypes } from '../validate.ts';
import { expand } from './binary.ts';

/** What is wrong with the JSON of a Connect call: the call itself says so, where the order of the contract has it. */
export const refusedJson = createContextKey<PassferryError | undefined>(undefined);

/**
 * Body of a Connect call in JSON. Read here because the library's own errors about JSON quote it. `limit` in bytes, also
 * of what is compressed. Nothing is thrown but what the connection throws.
 */
export async function decodeJson(
  request: IncomingMessage,
  schema: DescMessage,
  limit: number,
): Promise<{ json: JsonValue } | { refused: PassferryError }> {
  const bytes = await readBody(request, limit);
  if (!bytes) return { refused: new PassferryError('body_too_large') };
  try {
    return { json: parse(schema, await decompress(bytes, request.headers['content-encoding'], limit)) };
  } catch (thrown) {
    return { refused: thrown instanceof PassferryError ? thrown : new PassferryError('body_not_json') };
  } finally {
    bytes.fill(0);
  }
}

/** Undefined when there is more than the limit; the rest is let go unread. */
async function readBody(request: IncomingMessage, limit: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= limit) chunks.push(chunk);
  }
  const bytes = size <= limit ? Buffer.concat(chunks) : undefined;
  for (const chunk of chunks) chunk.fill(0);
  return bytes;
}

/** Of an encoding that is not known the library says so. */
async function decompress(bytes: Buffer, encoding: string | undefined, limit: number): Promise<Buffer> {
  if (encoding !== 'gzip' && encoding !== 'br') return bytes;
  return await expand[encoding](bytes, { maxOutputLength: limit });
}

function parse(schema: DescMessage, bytes: Buffer): JsonValue {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  const json = text.trim() === '' ? '{}' : text;
  // First, for its finer reasons; then what is left, such as a key that stands twice.
  checkTypes(JSON.parse(json));
  // The library decodes it once more and would refuse unknown fields.
  return toJson(schema, fromJsonString(schema, json, { ignoreUnknownFields: true }));
}
