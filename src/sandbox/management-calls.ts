import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { UserState } from '@zitadel/proto/zitadel/user_pb';
import { requirePermission } from './auth.ts';
import type { CallSpec, World } from './calls.ts';
import { defineCall, stamp } from './calls.ts';
import type { ReadUser } from './state.ts';
import { requireHuman } from './state.ts';
import { refusal } from './zitadel-errors.ts';

const states = {
  active: UserState.ACTIVE,
  inactive: UserState.INACTIVE,
  locked: UserState.LOCKED,
  initial: UserState.INITIAL,
};

/** The v1 calls. The organization of the header filters: a user of another one looks missing. */
export const managementCalls: CallSpec[] = [
  defineCall({
    name: 'Healthz',
    method: ManagementService.method.healthz,
    open: true,
    userOf: () => undefined,
    run: async () => ({}),
  }),
  defineCall({
    name: 'SetHumanPassword',
    method: ManagementService.method.setHumanPassword,
    userOf: (request) => request.userId,
    admit: (caller) => requirePermission(caller, caller.org, 'user.write', 'AUTH-5mWD2'),
    async run(world, caller, request, dry) {
      const user = requireHuman(world.store, request.userId, caller.org);
      requirePermission(caller, user.org, 'user.write', 'AUTH-AWfge');
      const change = {
        plain: request.password,
        // v1 forces a new password at the next login unless told otherwise
        changeRequired: !request.noChangeRequired,
        call: 'SetHumanPassword',
        by: caller.userId,
      };
      const { sequence, at } = await world.store.change(user, change, dry);
      return { details: { sequence: BigInt(sequence), changeDate: stamp(at), resourceOwner: user.org } };
    },
  }),
  defineCall({
    name: 'GetUserByID',
    method: ManagementService.method.getUserByID,
    userOf: (request) => request.id,
    admit: (caller) => requirePermission(caller, caller.org, 'user.read', 'AUTH-5mWD2'),
    async run(world, caller, request) {
      const read = world.store.read(request.id);
      if (!read || read.user.org !== caller.org) throw refusal('QUERY-Dfbg2');
      return { user: userFields(read) };
    },
  }),
  defineCall({
    name: 'ListUserMemberships',
    method: ManagementService.method.listUserMemberships,
    userOf: (request) => request.userId,
    admit: (caller) => requirePermission(caller, caller.org, 'user.read', 'AUTH-5mWD2'),
    async run(world, caller, request) {
      const result = memberships(world, request.userId, caller.org);
      return { details: { totalResult: BigInt(result.length), viewTimestamp: stamp(world.store.now()) }, result };
    },
  }),
];

/** Roles of the user in the instance and in the organization of the header; none elsewhere, as in ZITADEL. */
function memberships(world: World, userId: string, org: string) {
  const user = world.store.users.get(userId);
  const grants = Object.values(world.tokens).filter((grant) => grant.userId === userId);
  const own = user?.roles ?? [];
  const inInstance = unique([
    ...own.filter((role) => role.startsWith('IAM_')),
    ...grants.flatMap((grant) => grant.roles.instance ?? []),
  ]);
  const inOrg = unique([
    ...(user?.org === org ? own.filter((role) => !role.startsWith('IAM_')) : []),
    ...grants.flatMap((grant) => grant.roles.orgs?.[org] ?? []),
  ]);
  const displayName = user?.userName ?? userId;
  return [
    ...(inInstance.length > 0
      ? [{ userId, displayName, roles: inInstance, type: { case: 'iam' as const, value: true } }]
      : []),
    ...(inOrg.length > 0 ? [{ userId, displayName, roles: inOrg, type: { case: 'orgId' as const, value: org } }] : []),
  ];
}

function unique(roles: string[]): string[] {
  return [...new Set(roles)];
}

function userFields({ user, sequence, changeDate, passwordChanged }: ReadUser) {
  const { id, userName, machine, email } = user;
  const human = {
    profile: { firstName: userName, lastName: userName, displayName: userName },
    ...(email !== undefined && { email: { email, isEmailVerified: true } }),
    ...(passwordChanged !== undefined && { passwordChanged: stamp(passwordChanged) }),
  };
  return {
    id,
    details: {
      sequence: BigInt(sequence),
      creationDate: stamp(user.createdAt),
      changeDate: stamp(changeDate),
      resourceOwner: user.org,
    },
    state: states[user.state],
    userName,
    loginNames: [userName],
    preferredLoginName: userName,
    type: machine ? { case: 'machine' as const, value: { name: userName } } : { case: 'human' as const, value: human },
  };
}
