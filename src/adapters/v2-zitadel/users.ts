import { create } from '@bufbuild/protobuf';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { ListUserMembershipsRequestSchema, ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { UserState } from '@zitadel/proto/zitadel/user/v2/user_pb';
import { GetUserByIDRequestSchema, UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import { errorFromZitadel } from '../../zitadel-ids.ts';
import type { BackendUser, UserState as OurState } from '../port.ts';
import type { Call } from './call.ts';

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
  const request = create(GetUserByIDRequestSchema, { userId });
  const { details, user } = await call(UserService.method.getUserByID, request, signal).catch((error: unknown) => {
    throw isMissing(error) ? noSuchUser() : error;
  });
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

/** Role names of the memberships that are visible from this organization: instance, organization, projects. */
export async function readRoles(call: Call, org: string, userId: string, signal: AbortSignal): Promise<string[]> {
  const request = create(ListUserMembershipsRequestSchema, { userId, query: { limit: pageSize } });
  const { details, result } = await call(ManagementService.method.listUserMemberships, request, signal, {
    'x-zitadel-orgid': org,
  }).catch((error: unknown) => {
    throw cannotRead(error) ? unreadable() : error;
  });
  // half of the roles would look like no protection
  if ((details?.totalResult ?? 0n) > BigInt(result.length)) throw unreadable();
  return [...new Set(result.flatMap(({ roles }) => roles))];
}

const pageSize = 1000;

function isMissing(error: unknown): boolean {
  return error instanceof PassferryError && error.scope === 'user' && error.code === 'not_found';
}

function cannotRead(error: unknown): boolean {
  return error instanceof PassferryError && (error.code === 'permission_denied' || error.code === 'unimplemented');
}

function unreadable(): PassferryError {
  return new PassferryError('backend_forbidden', { scope: 'organization' });
}

function noSuchUser(): PassferryError {
  return errorFromZitadel({ grpcCode: 9, id: 'COMMAND-G8dh3' });
}

/** With the fraction below the millisecond. */
function epochMs({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}
