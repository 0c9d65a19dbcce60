import { expect, test } from 'vitest';
import type { PassferryError } from '../src/errors.ts';
import { errorFromZitadel, zitadelIds } from '../src/zitadel-ids.ts';

const facts = ({ reason, code, scope, effect }: PassferryError) => ({ reason, code, scope, effect });

test.each(Object.entries(zitadelIds))('%s has its code, a text of ours and a scope', (id, { code, message, scope }) => {
  const error = errorFromZitadel({ grpcCode: 2, id });
  expect(error.scope).toBe(scope ?? 'user');
  if (error.scope === 'user') expect(error).toMatchObject({ code, message });
  else expect(error.reason).toMatch(/^backend_(forbidden|limited|unauthenticated)$/);
});

test.each([
  // grpc, id, reason, code, scope
  [9, 'COMMAND-M9dse', 'COMMAND-M9dse', 'failed_precondition', 'user'],
  [5, 'COMMAND-ugjs0upun6', 'COMMAND-G8dh3', 'failed_precondition', 'user'],
  [5, 'COMMAND-G8dh3', 'COMMAND-G8dh3', 'failed_precondition', 'user'],
  [3, 'COMMAND-3M0fs', 'COMMAND-3M0fs', 'invalid_argument', 'user'],
  [9, 'COMMAND-3M0fs', 'COMMAND-G8dh3', 'failed_precondition', 'user'],
  [13, 'COMMAND-CahN2', 'COMMAND-CahN2', 'internal', 'user'],
  [3, 'NEW-abc12', 'NEW-abc12', 'invalid_argument', 'user'],
  [9, 'NEW-abc12', 'NEW-abc12', 'failed_precondition', 'user'],
  [5, 'QUERY-Dfbg2', 'QUERY-Dfbg2', 'not_found', 'user'],
  [3, undefined, 'refused', 'invalid_argument', 'user'],
  [9, 'not an id: canary', 'refused', 'failed_precondition', 'user'],
  [5, 'AUTHZ-cdgFk', 'backend_forbidden', 'permission_denied', 'organization'],
  [7, 'AUTH-AWfge', 'backend_forbidden', 'permission_denied', 'organization'],
  [7, 'NEW-abc12', 'backend_forbidden', 'permission_denied', 'organization'],
  [5, undefined, 'backend_error', 'internal', 'backend'],
  [12, undefined, 'backend_error', 'unimplemented', 'backend'],
  [16, 'AUTH-7fs1e', 'backend_unauthenticated', 'unauthenticated', 'backend'],
  [16, undefined, 'backend_unauthenticated', 'unauthenticated', 'backend'],
  [8, 'QUOTA-vjAy8', 'backend_limited', 'resource_exhausted', 'backend'],
  [14, undefined, 'backend_down', 'unavailable', 'backend'],
  [4, undefined, 'backend_timeout', 'deadline_exceeded', 'backend'],
  [10, undefined, 'backend_error', 'internal', 'backend'],
  [13, undefined, 'backend_error', 'internal', 'backend'],
  [13, 'NEW-abc12', 'backend_error', 'internal', 'backend'],
  [99, undefined, 'backend_error', 'internal', 'backend'],
])('gRPC %s with id %s is %s (%s, scope %s)', (grpcCode, id, reason, code, scope) => {
  const effect = scope === 'user' ? 'none' : 'unknown';
  const error = errorFromZitadel({ grpcCode, id, ...(effect === 'unknown' && { effect, retryAfterMs: 7 }) });
  expect(facts(error)).toEqual({ reason, code, scope, effect });
  expect(error.retryAfterMs).toBe(effect === 'unknown' ? 7 : undefined);
  expect(JSON.stringify(error)).not.toContain('canary');
});
