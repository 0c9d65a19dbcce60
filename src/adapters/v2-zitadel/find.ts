import { create } from '@bufbuild/protobuf';
import { TextQueryMethod } from '@zitadel/proto/zitadel/object/v2/object_pb';
import { ListUsersRequestSchema, UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import type { UserName } from '../port.ts';
import type { Call } from '../zitadel/call.ts';

/** More than one is refused; a few are read so that those that do not fit can be left out. */
const limit = 10;

/**
 * The one human of this organization with this e-mail address (whatever its case) or exactly this user name. What comes back is compared
 * again: a server that drops a filter must not choose the user. Errors: `user_not_found`, `user_ambiguous`.
 */
export async function findUser(call: Call, org: string, by: UserName, signal: AbortSignal): Promise<string> {
  const named =
    by.email !== undefined
      ? {
          case: 'emailQuery' as const,
          value: { emailAddress: by.email, method: TextQueryMethod.EQUALS_IGNORE_CASE },
        }
      : { case: 'userNameQuery' as const, value: { userName: by.userName, method: TextQueryMethod.EQUALS } };
  const request = create(ListUsersRequestSchema, {
    query: { limit },
    queries: [{ query: { case: 'organizationIdQuery', value: { organizationId: org } } }, { query: named }],
  });
  const { details, result } = await call(UserService.method.listUsers, request, signal);
  const found = result.filter((user) => {
    if (user.type.case !== 'human' || user.details?.resourceOwner !== org) return false;
    if (by.email === undefined) return user.username === by.userName;
    return user.type.value.email?.email.toLowerCase() === by.email.toLowerCase();
  });
  // More than were read: whether the others fit is not known.
  if (found.length > 1 || (details?.totalResult ?? 0n) > BigInt(result.length)) {
    throw new PassferryError('user_ambiguous');
  }
  const [only] = found;
  if (!only) throw new PassferryError('user_not_found');
  return only.userId;
}
