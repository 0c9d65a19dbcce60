import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import type { Listener } from '../../listen.ts';
import type { V1Deps } from '../v1-call.ts';
import { registerHealth } from './health.ts';
import { registerManagement } from './management.ts';

/** Of one request message: a password and two names need no more. */
const messageLimit = 64 * 1024;
/** Longest timeout that a caller may ask for, ms. */
const longestTimeoutMs = 3_600_000;

/**
 * gRPC, gRPC-Web and Connect, told apart by content type and path; everything else goes to `fallback`. The methods of the
 * deprecated management API and gRPC health.
 */
export function rpcListener(deps: V1Deps, fallback: Listener): Listener {
  const adapter = connectNodeAdapter({
    readMaxBytes: messageLimit,
    maxTimeoutMs: longestTimeoutMs,
    fallback: fallback as ReturnType<typeof connectNodeAdapter>,
    routes(router: ConnectRouter) {
      registerManagement(router, deps);
      registerHealth(router, deps);
    },
  });
  return adapter as Listener;
}
