import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { DescService } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { createContextKey, createContextValues } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import type { CallSpec, Wire, World } from './calls.ts';
import { runCall } from './calls.ts';

export type Request = IncomingMessage | Http2ServerRequest;
export type Response = ServerResponse | Http2ServerResponse;
type NodeHandlerFn = ReturnType<typeof connectNodeAdapter>;
export type Listener = (request: Request, response: Response) => void;

const wireKey = createContextKey<Wire | undefined>(undefined);

/** The raw end of one request. */
export function wireOf(request: Request, response: Response, over: Wire['over']): Wire {
  return {
    over,
    cut() {
      // Not within the parser's own callback: destroying a session there corrupts memory in Node 20.
      setImmediate(() => {
        if ('stream' in request) request.stream.session?.destroy();
        else request.socket.destroy();
      });
    },
    raw(status, headers, body) {
      (response as ServerResponse).writeHead(status, headers).end(body);
    },
  };
}

/**
 * gRPC and gRPC-Web (and Connect, unless `connect` is false) for the given calls, everything else to `fallback`.
 */
export function rpcListener(world: World, specs: CallSpec[], connect: boolean, fallback: Listener): Listener {
  const wires = new WeakMap<object, Wire>();
  const adapter = connectNodeAdapter({
    connect,
    fallback: fallback as NodeHandlerFn,
    contextValues: (request) => createContextValues().set(wireKey, wires.get(request)),
    routes(router) {
      for (const [service, own] of byService(specs)) router.service(service, implementation(world, own));
    },
  });
  return (request, response) => {
    wires.set(request, wireOf(request, response, 'rpc'));
    (adapter as Listener)(request, response);
  };
}

function byService(specs: CallSpec[]): Map<DescService, CallSpec[]> {
  const services = new Map<DescService, CallSpec[]>();
  for (const spec of specs) services.set(spec.method.parent, [...(services.get(spec.method.parent) ?? []), spec]);
  return services;
}

function implementation(world: World, specs: CallSpec[]): Partial<ServiceImpl<DescService>> {
  const methods: Record<string, unknown> = {};
  for (const spec of specs) {
    methods[spec.method.localName] = (request: never, handler: HandlerContext) => {
      const wire = handler.values.get(wireKey);
      if (!wire) throw new Error('request without a wire');
      return runCall(world, spec, request, handler.requestHeader, wire);
    };
  }
  return methods as Partial<ServiceImpl<DescService>>;
}
