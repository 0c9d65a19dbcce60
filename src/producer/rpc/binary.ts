import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip } from 'node:zlib';
import { type DescMessage, fromBinary } from '@bufbuild/protobuf';

const expand = { gzip: promisify(gunzip), br: promisify(brotliDecompress) };
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
  return { body, readable: size > limit + frameHead || (await canDecode(body, request, schema, limit)) };
}

async function canDecode(body: Buffer, { headers }: IncomingMessage, schema: DescMessage, limit: number) {
  const framed = /^application\/grpc/i.test(headers['content-type'] ?? '');
  if (framed && !isOneFrame(body)) return true;
  const encoding = framed ? headers['grpc-encoding'] : headers['content-encoding'];
  const compressed = framed ? body[0] === 1 : encoding !== undefined && encoding !== 'identity';
  let bytes = framed ? body.subarray(frameHead) : body;
  try {
    if (compressed) {
      if (encoding !== 'gzip' && encoding !== 'br') return true;
      bytes = await expand[encoding](bytes, { maxOutputLength: limit });
    }
  } catch {
    return true;
  }
  try {
    fromBinary(schema, bytes);
    return true;
  } catch {
    return false;
  }
}

function isOneFrame(body: Buffer): boolean {
  return body.length >= frameHead && (body[0] ?? 2) <= 1 && body.readUInt32BE(1) === body.length - frameHead;
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
