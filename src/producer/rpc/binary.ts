import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip } from 'node:zlib';
import { type DescMessage, fromBinary } from '@bufbuild/protobuf';

/** Encodings of a body that are taken. */
export const expand = { gzip: promisify(gunzip), br: promisify(brotliDecompress) };
const frameHead = 5;

/**
 * Body of a call in protobuf, whole; of more than `limit` bytes only as much as shows it. `readable`: it can be decoded, or
 * is wrong in its framing, of which the library speaks; it calls what it cannot decode a failure of ours. Throws what
 * the connection throws.
 */
export async function readBinary(
  request: IncomingMessage,
  schema: DescMessage,
  limit: number,
): Promise<{ body: Buffer; readable: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Also what is too much is read: else the stream would stay open.
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (size <= limit + frameHead) chunks.push(chunk);
    size += chunk.length;
  }
  const body = Buffer.concat(chunks);
  const framed = /^application\/grpc/i.test(request.headers['content-type'] ?? '');
  // Of frames the first may be whole though all together are too much.
  const tooLarge = !framed && size > limit + frameHead;
  return { body, readable: tooLarge || (await canDecode(body, framed, request.headers, schema, limit)) };
}

async function canDecode(
  body: Buffer,
  framed: boolean,
  headers: IncomingHttpHeaders,
  schema: DescMessage,
  limit: number,
): Promise<boolean> {
  const encoding = framed ? headers['grpc-encoding'] : headers['content-encoding'];
  const parts = framed
    ? framesOf(body)
    : [{ compressed: encoding !== undefined && encoding !== 'identity', bytes: body }];
  for (const { compressed, bytes } of parts) {
    try {
      const plain = compressed ? await expanded(bytes, encoding, limit) : bytes;
      if (plain) fromBinary(schema, plain);
    } catch {
      return false;
    }
  }
  return true;
}

/** Undefined: the library says why not (an encoding that is not known, more than the limit). Throws on what is no such encoding. */
async function expanded(bytes: Buffer, encoding: unknown, limit: number): Promise<Buffer | undefined> {
  if (encoding !== 'gzip' && encoding !== 'br') return undefined;
  return expand[encoding](bytes, { maxOutputLength: limit }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_BUFFER_TOO_LARGE') return undefined;
    throw error;
  });
}

/** Those that are there whole. */
function framesOf(body: Buffer): { compressed: boolean; bytes: Buffer }[] {
  const frames: { compressed: boolean; bytes: Buffer }[] = [];
  for (let at = 0; at + frameHead <= body.length; ) {
    const end = at + frameHead + body.readUInt32BE(at + 1);
    if (end > body.length) break;
    frames.push({ compressed: ((body[at] ?? 0) & 1) === 1, bytes: body.subarray(at + frameHead, end) });
    at = end;
  }
  return frames;
}

/** Headers of which the library's errors quote the value, and what they may be. */
const quoted: Record<string, RegExp> = {
  'content-encoding': /^(identity|gzip|br)?$/,
  'grpc-encoding': /^(identity|gzip|br)?$/,
  'grpc-timeout': /^\d{1,8}[HMSmun]$/,
  'connect-timeout-ms': /^\d{1,10}$/,
  'connect-protocol-version': /^\d$/,
};

/** Nothing that a caller sent is said again: a value that makes no sense is refused under this one. */
export function withoutQuotes(headers: Headers): Headers {
  for (const [name, sensible] of Object.entries(quoted)) {
    const value = headers.get(name);
    if (value !== null && !sensible.test(value)) headers.set(name, 'invalid');
  }
  return headers;
}
