import { create } from '@bufbuild/protobuf';
import { UserState } from '@zitadel/proto/zitadel/user/v2/user_pb';
import { GetUserByIDRequestSchema, UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import type { BackendUser, UserState as OurState } from '../port.ts';
import type { Call } from '../zitadel/call.ts';
import { epochMs, isMissing, noSuchUser } from '../zitadel/missing.ts';

const states: Record<UserState, OurState> = {
  [UserState.UNSPECIFIED]: 'unknown',
  [UserState.ACTIVE]: 'active',
  [UserState.INACTIVE]: 'inactive',
  [UserState.DELETED]: 'deleted',
  [UserState.LOCKED]: 'locked',
  [UserState.INITIAL]: 'initial',
};

/** v2 knows no organization in this call: the owner comes back in `org`, and the caller compares. */
export async function readUser(call: Call, userId: string, signal: AbortSignal): Promise<BackendUser> {
  const user = await readAnyUser(call, userId, signal);
  if (user === 'machine') throw noSuchUser();
  return user;
}

/** The same, for whoever asks what kind of user it is. */
export async function readAnyUser(call: Call, userId: string, signal: AbortSignal): Promise<BackendUser | 'machine'> {
  const request = create(GetUserByIDRequestSchema, { userId });
  const { details, user } = await call(UserService.method.getUserByID, request, signal).catch((error: unknown) => {
    throw isMissing(error) ? noSuchUser() : error;
  });
  if (user?.type.case === 'machine') return 'machine';
  if (user?.type.case !== 'human') throw noSuchUser();
  const human = user.type.value;
  const org = user.details?.resourceOwner || details?.resourceOwner;
  // without an owner nobody can tell whether the write would cross an organization
  if (!org) throw new PassferryError('backend_error', { scope: 'backend' });
  const userName = user.preferredLoginName || user.username;
  return {
    user: userId,
    org,
    state: states[user.state] ?? 'unknown',
    changeRequired: human.passwordChangeRequired,
    ...(human.passwordChanged && { passwordChangedAt: epochMs(human.passwordChanged) }),
    ...(userName && { userName }),
    ...(human.email?.email && { email: human.email.email }),
  };
}
