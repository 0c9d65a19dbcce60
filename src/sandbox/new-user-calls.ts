import { create } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import type { AddHumanUserRequest } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { CreateUserResponseSchema, UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import type { Caller } from './auth.ts';
import { requirePermission } from './auth.ts';
import type { CallSpec, World } from './calls.ts';
import { defineCall, stamp } from './calls.ts';
import { checkHash, checkHashPrefix, checkPolicy } from './passwords.ts';
import type { SandboxUser } from './state.ts';
import { findHuman } from './state.ts';
import { detailsOf } from './user-calls.ts';
import { bareError, refusal } from './zitadel-errors.ts';

type NewHuman = Pick<AddHumanUserRequest, 'userId' | 'username' | 'profile' | 'email' | 'passwordType'>;

/** Adding users, and taking one out of service. */
export const newUserCalls: CallSpec[] = [
  defineCall({
    name: 'CreateUser',
    method: UserService.method.createUser,
    userOf: (request) => request.userId,
    async run(world, caller, { organizationId, userId, username, userType }, dry) {
      if (userType.case !== 'human') throw bareError(Code.Unimplemented, 'machines are not added here');
      const { profile, email, passwordType } = userType.value;
      const human = { userId, username, profile, email, passwordType } as NewHuman;
      const { id, createdAt } = await add(world, caller, organizationId, human, dry);
      return create(CreateUserResponseSchema, { id, creationDate: stamp(createdAt) });
    },
  }),
  defineCall({
    name: 'AddHumanUser',
    method: UserService.method.addHumanUser,
    userOf: (request) => request.userId,
    async run(world, caller, request, dry) {
      const { org } = request.organization ?? {};
      const user = await add(world, caller, org?.case === 'orgId' ? org.value : caller.org, request, dry);
      return { userId: user.id, details: detailsOf(user, { sequence: 1, at: user.createdAt }) };
    },
  }),
  defineCall({
    name: 'DeactivateUser',
    method: UserService.method.deactivateUser,
    userOf: (request) => request.userId,
    async run(world, caller, { userId }, dry) {
      const user = findHuman(world.store, userId);
      if (!user) throw refusal('COMMAND-ugjs0upun6');
      requirePermission(caller, user.org, 'user.write', 'AUTH-AWfge');
      if (user.state === 'inactive') throw refusal('COMMAND-3M9sf');
      if (!dry) user.state = 'inactive';
      return { details: detailsOf(user, { sequence: user.sequence, at: world.store.now() }) };
    },
  }),
];

async function add(
  world: World,
  caller: Caller,
  org: string,
  { userId, username, profile, email, passwordType }: NewHuman,
  dry: boolean,
): Promise<SandboxUser> {
  const { store } = world;
  const hash = passwordType.case === 'hashedPassword' ? passwordType.value.hash : undefined;
  if (hash !== undefined) {
    checkHashPrefix(hash, world.verifiers, 'USER-JDk4t');
    checkHash(hash, world.hashCosts);
  }
  requirePermission(caller, org, 'user.write', 'AUTH-AWfge');
  const id = userId ?? `n-${store.now()}`;
  const userName = username ?? email?.email ?? id;
  const isTaken = [...store.users.values()].some((user) => user.org === org && user.userName === userName);
  if (store.users.has(id) || isTaken) throw refusal('COMMAND-7yiox1isql');
  const password = passwordType.case === 'password' ? passwordType.value.password : undefined;
  if (password !== undefined) checkPolicy(store.policyOf(org), password);
  const seed = {
    ...{ id, org, userName, changeRequired: passwordType.value?.changeRequired ?? false },
    ...(email && { email: email.email, emailVerified: email.verification.case === 'isVerified' }),
    ...(profile && { givenName: profile.givenName, familyName: profile.familyName }),
    ...(hash !== undefined && { hash }),
    ...(password !== undefined && { password }),
  };
  return store.addUser(seed, dry);
}
