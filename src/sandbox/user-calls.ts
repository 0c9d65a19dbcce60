import type { SetPassword } from '@zitadel/proto/zitadel/user/v2/password_pb';
import { UserState } from '@zitadel/proto/zitadel/user/v2/user_pb';
import { UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import type { Caller } from './auth.ts';
import { requirePermission } from './auth.ts';
import type { CallSpec, World } from './calls.ts';
import { defineCall, stamp } from './calls.ts';
import { checkHash, checkHashPrefix, verifyPassword } from './passwords.ts';
import type { NewPassword, PasswordChange, ReadUser, SandboxUser } from './state.ts';
import { findHuman, requireHuman } from './state.ts';
import { refusal, wrongPassword } from './zitadel-errors.ts';

type Verification = SetPassword['verification'];

const states = {
  active: UserState.ACTIVE,
  inactive: UserState.INACTIVE,
  locked: UserState.LOCKED,
  initial: UserState.INITIAL,
};

/** The v2 calls on users. */
export const userCalls: CallSpec[] = [
  defineCall({
    name: 'SetPassword',
    method: UserService.method.setPassword,
    userOf: (request) => request.userId,
    async run(world, caller, request, dry) {
      // a missing newPassword reads as the empty password, and the policy is not asked about that one: the trap is real
      const plain = request.newPassword?.password ?? '';
      refuseEmpty(request.verification, plain);
      const user = requireHuman(world.store, request.userId);
      await requireProof(caller, user, request.verification, plain);
      const changeRequired = request.newPassword?.changeRequired ?? false;
      const change = { plain, changeRequired, call: 'SetPassword', by: caller.userId };
      return { details: detailsOf(user, await world.store.change(user, change, dry)) };
    },
  }),
  defineCall({
    name: 'UpdateUser',
    method: UserService.method.updateUser,
    userOf: (request) => request.userId,
    async run(world, caller, request, dry) {
      const password = request.userType.case === 'human' ? request.userType.value.password : undefined;
      const { change } = await update(world, caller, request.userId, password, 'UpdateUser', dry);
      return { changeDate: stamp(change?.at ?? world.store.now()) };
    },
  }),
  defineCall({
    name: 'UpdateHumanUser',
    method: UserService.method.updateHumanUser,
    userOf: (request) => request.userId,
    async run(world, caller, request, dry) {
      const { user, change } = await update(world, caller, request.userId, request.password, 'UpdateHumanUser', dry);
      const { sequence } = user;
      return { details: detailsOf(user, change ?? { sequence, at: world.store.now() }) };
    },
  }),
  defineCall({
    name: 'GetUserByID',
    method: UserService.method.getUserByID,
    userOf: (request) => request.userId,
    async run(world, caller, request) {
      const read = world.store.read(request.userId);
      if (!read) throw refusal('QUERY-Dfbg2');
      if (caller.userId !== read.user.id) requirePermission(caller, read.user.org, 'user.read', 'AUTH-AWfge');
      const details = readDetails(read);
      return { details, user: userOf(read) };
    },
  }),
];

async function update(
  world: World,
  caller: Caller,
  userId: string,
  password: SetPassword | undefined,
  call: string,
  dry: boolean,
): Promise<{ user: SandboxUser; change?: PasswordChange }> {
  const wanted = password && newPassword(password);
  if (wanted?.hash) checkHashPrefix(wanted.hash, world.verifiers, 'USER-oz74onzvqr');
  if (wanted && !wanted.hash && !wanted.plain) throw refusal('COMMAND-3klek4sbns');
  const user = findHuman(world.store, userId);
  if (!user) throw refusal('COMMAND-ugjs0upun6');
  if (caller.userId !== user.id) requirePermission(caller, user.org, 'user.write', 'AUTH-AWfge');
  // other fields of the user are accepted and not kept: this stand-in is about passwords
  if (!password || !wanted) return { user };
  if (user.state === 'initial') throw refusal('COMMAND-M9dse');
  await requireProof(caller, user, password.verification, wanted.plain);
  if (wanted.hash) checkHash(wanted.hash, world.hashCosts);
  return { user, change: await world.store.change(user, { ...wanted, call, by: caller.userId }, dry) };
}

function newPassword({ passwordType }: SetPassword): Pick<NewPassword, 'plain' | 'hash' | 'changeRequired'> {
  if (passwordType.case === 'password') {
    return { plain: passwordType.value.password, changeRequired: passwordType.value.changeRequired };
  }
  if (passwordType.case === 'hashedPassword') {
    return { hash: passwordType.value.hash, changeRequired: passwordType.value.changeRequired };
  }
  return { changeRequired: false };
}

function refuseEmpty(verification: Verification, plain: string): void {
  if (plain) return;
  if (verification.case === 'currentPassword') throw refusal('COMMAND-3M0fs');
  if (verification.case === 'verificationCode') throw refusal('COMMAND-Mf0sd');
}

/** Without proof the permission is needed; with proof only the proof counts. */
async function requireProof(caller: Caller, user: SandboxUser, verification: Verification, plain?: string) {
  switch (verification.case) {
    case undefined:
      return requirePermission(caller, user.org, 'user.write', 'AUTH-AWfge');
    case 'verificationCode':
      throw refusal('COMMAND-2M9fs');
    case 'currentPassword':
      await checkCurrentPassword(user, verification.value);
      if (verification.value === plain) throw refusal('COMMAND-Aesh5');
  }
}

/** Compares for real; a wrong one counts. */
export async function checkCurrentPassword(user: SandboxUser, password: string): Promise<void> {
  if (!password) throw refusal('COMMAND-3M0fs');
  if (user.hash === undefined) throw refusal('COMMAND-3nJ4t');
  if (user.state === 'locked') throw refusal('COMMAND-JLK35');
  const right = await verifyPassword(password, user.hash);
  user.failedAttempts = right ? 0 : user.failedAttempts + 1;
  if (!right) throw wrongPassword(user.failedAttempts);
}

function readDetails({ user, sequence, changeDate }: ReadUser) {
  return { ...detailsOf(user, { sequence, at: changeDate }), creationDate: stamp(user.createdAt) };
}

/** A user as the reading calls show it. */
export function userOf(read: ReadUser) {
  return { ...userFields(read.user), details: readDetails(read), type: typeOf(read) };
}

/** Calls that change leave `creationDate` out. */
export function detailsOf(user: SandboxUser, change: Pick<PasswordChange, 'at' | 'sequence'>) {
  return { sequence: BigInt(change.sequence), changeDate: stamp(change.at), resourceOwner: user.org };
}

function userFields(user: SandboxUser) {
  const { id, userName } = user;
  return {
    userId: id,
    state: states[user.state],
    username: userName,
    loginNames: [userName],
    preferredLoginName: userName,
  };
}

function typeOf({ user, passwordChanged, changeRequired }: ReadUser) {
  if (user.machine) return { case: 'machine' as const, value: { name: user.userName } };
  const human = {
    ...userFields(user),
    profile: {
      givenName: user.givenName ?? user.userName,
      familyName: user.familyName ?? user.userName,
      displayName: user.userName,
    },
    ...(user.email !== undefined && { email: { email: user.email, isVerified: user.emailVerified } }),
    passwordChangeRequired: changeRequired,
    ...(passwordChanged !== undefined && { passwordChanged: stamp(passwordChanged) }),
  };
  return { case: 'human' as const, value: human };
}
