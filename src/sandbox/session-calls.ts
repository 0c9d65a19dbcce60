import { randomBytes } from 'node:crypto';
import type { Checks, CheckUser } from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import { SessionService } from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import type { CallSpec, World } from './calls.ts';
import { defineCall, stamp } from './calls.ts';
import type { SandboxUser } from './state.ts';
import { checkCurrentPassword } from './user-calls.ts';
import { refusal } from './zitadel-errors.ts';

/** Sessions: the only true proof that a password works. Sessions themselves are not kept. */
export const sessionCalls: CallSpec[] = [
  defineCall({
    name: 'CreateSession',
    method: SessionService.method.createSession,
    userOf: (request) => {
      const search = request.checks?.user?.search;
      return search?.case === 'userId' ? search.value : undefined;
    },
    async run(world, _caller, request) {
      await check(world, request.checks);
      return {
        details: sessionDetails(world),
        sessionId: `s-${randomBytes(9).toString('hex')}`,
        sessionToken: randomBytes(24).toString('base64url'),
      };
    },
  }),
  defineCall({
    name: 'DeleteSession',
    method: SessionService.method.deleteSession,
    userOf: () => undefined,
    run: async (world) => ({ details: sessionDetails(world) }),
  }),
];

async function check(world: World, checks: Checks | undefined): Promise<void> {
  const user = checks?.user && findUser(world, checks.user);
  if (user && user.state !== 'active' && user.state !== 'initial') throw refusal('SESSION-Gj4ko');
  if (!checks?.password) return;
  if (!user || user.machine || user.state === 'initial') throw refusal('COMMAND-3n77z');
  await checkCurrentPassword(user, checks.password.password);
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
