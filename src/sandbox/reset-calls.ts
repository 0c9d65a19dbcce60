import { TextQueryMethod } from '@zitadel/proto/zitadel/object/v2/object_pb';
import { SessionService } from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import type { SearchQuery } from '@zitadel/proto/zitadel/user/v2/query_pb';
import { UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { requirePermission } from './auth.ts';
import type { CallSpec } from './calls.ts';
import { defineCall, stamp } from './calls.ts';
import type { SandboxUser } from './state.ts';
import { findHuman } from './state.ts';
import { detailsOf, userOf } from './user-calls.ts';
import { bareError, refusal } from './zitadel-errors.ts';

/** A mail with a reset link that would have been sent. */
export interface Mail {
  user: string;
  to: string | undefined;
  /** ms since the epoch. */
  at: number;
}

/** What a reset of many users asks: mails with links, users by name, sessions. */
export const resetCalls: CallSpec[] = [
  defineCall({
    name: 'PasswordReset',
    method: UserService.method.passwordReset,
    userOf: (request) => request.userId,
    async run(world, caller, request, dry) {
      const user = findHuman(world.store, request.userId);
      if (!user) throw refusal('COMMAND-SAF4f');
      if (user.state === 'initial') throw refusal('COMMAND-Sfe4g');
      if (caller.userId !== user.id) requirePermission(caller, user.org, 'user.write', 'AUTH-AWfge');
      if (request.medium.case === 'returnCode') throw bareError(12, 'codes are not given out here');
      if (!dry) world.mails.push({ user: user.id, to: user.email, at: Date.now() });
      return { details: detailsOf(user, { sequence: user.sequence, at: world.store.now() }) };
    },
  }),
  defineCall({
    name: 'ListUsers',
    method: UserService.method.listUsers,
    userOf: () => undefined,
    async run(world, caller, request) {
      const fitting = [...world.store.users.values()].filter(
        (user) => mayRead(caller, user) && request.queries.every(({ query }) => fits(user, query)),
      );
      const limit = request.query?.limit || 100;
      return {
        details: { totalResult: BigInt(fitting.length), timestamp: stamp(world.store.now()) },
        result: fitting.slice(0, limit).flatMap(({ id }) => {
          const read = world.store.read(id);
          return read ? [userOf(read)] : [];
        }),
      };
    },
  }),
  defineCall({
    name: 'ListSessions',
    method: SessionService.method.listSessions,
    userOf: () => undefined,
    async run(world, _caller, request) {
      const wanted = request.queries.flatMap(({ query }) => (query.case === 'userIdQuery' ? [query.value.id] : []));
      const found = [...world.sessions].filter(([, user]) => wanted.every((id) => id === user));
      const limit = request.query?.limit || 100;
      const sessions = found.slice(0, limit).map(([id, user]) => ({ id, factors: { user: { id: user } } }));
      return { details: { totalResult: BigInt(found.length) }, sessions };
    },
  }),
];

/** What the caller may not see is left out, not refused. */
function mayRead(caller: Parameters<typeof requirePermission>[0], { org }: SandboxUser): boolean {
  try {
    requirePermission(caller, org, 'user.read', 'AUTH-AWfge');
    return true;
  } catch {
    return false;
  }
}

function fits(user: SandboxUser, query: SearchQuery['query']): boolean {
  switch (query.case) {
    case 'organizationIdQuery':
      return user.org === query.value.organizationId;
    case 'emailQuery':
      return textFits(user.email ?? '', query.value.emailAddress, query.value.method);
    case 'userNameQuery':
      return textFits(user.userName, query.value.userName, query.value.method);
    default:
      throw bareError(12, 'this query is not part of the stand-in');
  }
}

function textFits(text: string, wanted: string, method: TextQueryMethod): boolean {
  if (method === TextQueryMethod.EQUALS) return text === wanted;
  if (method === TextQueryMethod.EQUALS_IGNORE_CASE) return text.toLowerCase() === wanted.toLowerCase();
  throw bareError(12, 'this method is not part of the stand-in');
}
