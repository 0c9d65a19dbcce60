import type { IncomingMessage, ServerResponse } from 'node:http';
import { createConnectRouter, createContextValues } from '@connectrpc/connect';
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import { PassferryError } from '../../errors.ts';
import type { Listener } from '../../listen.ts';
import { noteRoute } from '../count-requests.ts';
import { refusedAtGuard } from '../guard.ts';
import type { V1Deps } from '../v1-call.ts';
import { readBinary, withoutQuotes } from './binary.ts';
import { decodeJson, refusedJson } from './connect-json.ts';
import { registerHealth } from './health.ts';
import { registerManagement } from './management.ts';
import { peerAddress } from './peer.ts';

/** Of one request message, bytes: a password and two names need no more. */
const messageLimit = 64 * 1024;
/** Longest timeout that a caller may ask for, ms. */
const longestTimeoutMs = 3_600_000;

type Handler = ReturnType<typeof createConnectRouter>['handlers'][number];

/**
 * gRPC, gRPC-Web and Connect, told apart by path and content type; everything else goes to `fallback`. The methods of the
 * deprecated management API and gRPC health.
 */
export function rpcListener(deps: V1Deps, fallback: Listener): Listener {
  const router = createConnectRouter({
    readMaxBytes: messageLimit,
    maxTimeoutMs: longestTimeoutMs,
    acceptCompression: [compressionGzip, compressionBrotli],
  });
  registerManagement(router, deps);
  registerHealth(router, deps);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = handlers.get((request.url ?? '').split('?', 1)[0] ?? '');
    if (!handler) return fallback(request, response);
    noteRoute(request, handler.requestPath);
    // The library throws here what must not end the process: an authority that is none, a caller that has gone.
    answer(handler, request as IncomingMessage, response as ServerResponse, deps).catch((err) => {
      deps.log.debug({ err }, 'a call could not be answered');
      if (response.headersSent) response.destroy();
      else (response as ServerResponse).writeHead(400).end();
    });
  };
}

async function answer(
  handler: Handler,
  request: IncomingMessage,
  response: ServerResponse,
  deps: V1Deps,
): Promise<void> {
  const type = request.headers['content-type'] ?? '';
  // The library's own errors about JSON quote the value.
  if (/^application\/(grpc|grpc-web|grpc-web-text|connect)\+json\b/i.test(type)) {
    response.writeHead(415).end();
    return;
  }
  const values = createContextValues();
  values.set(peerAddress, deps.addressOf?.(request));
  const universal = universalRequestFromNodeRequest(request, response, undefined, values);
  const refused = refusedAtGuard(request);
  if (refused) {
    values.set(refusedJson, refused);
    universal.header.delete('content-encoding');
    universal.body = /^application\/json\b/i.test(type) ? {} : bytesOf(emptyLike(type));
    // Nobody reads it.
    request.resume();
  } else if (request.method === 'POST' && /^application\/json\b/i.test(type)) {
    const decoded = await decodeJson(request, handler.method.input, messageLimit);
    if ('refused' in decoded) values.set(refusedJson, decoded.refused);
    universal.body = 'refused' in decoded ? {} : decoded.json;
  } else if (request.method === 'POST') {
    const { body, readable } = await readBinary(request, handler.method.input, messageLimit);
    if (!readable) {
      values.set(refusedJson, new PassferryError('body_not_protobuf'));
      universal.header.delete('content-encoding');
    }
    universal.body = bytesOf(readable ? body : emptyLike(type));
  }
  withoutQuotes(universal.header);
  await universalResponseToNodeResponse(await handler(universal), response);
}

async function* bytesOf(body: Uint8Array): AsyncGenerator<Uint8Array> {
  yield body;
}

/** A body without fields: one frame, where the protocol has frames. */
function emptyLike(type: string): Uint8Array {
  return new Uint8Array(/^application\/grpc/i.test(type) ? 5 : 0);
}
