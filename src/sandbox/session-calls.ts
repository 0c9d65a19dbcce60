import { randomBytes } from 'node:crypto';
import type { Checks, CheckUser } from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import { SessionService } from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import type { CallSpec, World } from './calls.ts';
import { defineCall, stamp } from './calls.ts';
import type { SandboxUser } from './state.ts';
import { checkCurrentPassword } from './user-calls.ts';
import { refusal } from './zitadel-errors.ts';

/** Sessions: the only true proof that a password works. */
export const sessionCalls: CallSpec[] = [
  defineCall({
    name: 'CreateSession',
    method: SessionService.method.createSession,
    userOf: (request) => {
      const search = request.checks?.user?.search;
      return search?.case === 'userId' ? search.value : undefined;
    },
    async run(world, _caller, request, dry) {
      const user = await check(world, request.checks);
      const sessionId = `s-${randomBytes(9).toString('hex')}`;
      if (user && !dry) world.sessions.set(sessionId, user.id);
      return {
        details: sessionDetails(world),
        sessionId,
        sessionToken: randomBytes(24).toString('base64url'),
      };
    },
  }),
  defineCall({
    name: 'DeleteSession',
    method: SessionService.method.deleteSession,
    userOf: () => undefined,
    run: async (world, _caller, { sessionId }, dry) => {
      if (!dry) world.sessions.delete(sessionId);
      return { details: sessionDetails(world) };
    },
  }),
];

async function check(world: World, checks: Checks | undefined): Promise<SandboxUser | undefined> {
  const user = checks?.user && findUser(world, checks.user);
  if (user && user.state !== 'active' && user.state !== 'initial') throw refusal('SESSION-Gj4ko');
  if (!checks?.password) return user;
  if (!user || user.machine || user.state === 'initial') throw refusal('COMMAND-3n77z');
  await checkCurrentPassword(user, checks.password.password);
  return user;
}

function findUser(world: World, { search }: CheckUser): SandboxUser {
  const { users } = world.store;
  const user =
    search.case === 'loginName'
      ? [...users.values()].find(({ userName }) => userName === search.value)
      : users.get(search.value ?? '');
  if (!user) throw refusal('QUERY-Dfbg2');
  return user;
}

function sessionDetails(world: World) {
  return { sequence: 1n, changeDate: stamp(world.store.now()), resourceOwner: 'sandbox' };
}
