import { create } from '@bufbuild/protobuf';
import {
  AddHumanUserRequestSchema,
  CreateUserRequestSchema,
  UserService,
} from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import type { Backend } from '../port.ts';
import type { Call } from '../zitadel/call.ts';
import { hashError, isUnknownCall } from './hash.ts';

type NewUser = Parameters<NonNullable<Backend['createUser']>>[0];

/**
 * Adds a human with the id it is to have, by CreateUser, or by AddHumanUser where a server does not know that. No mail is sent: of an
 * address that is not verified the code is asked for and forgotten. Errors of scope user: `user_exists`, `hash_refused`,
 * `profile_incomplete` (no e-mail address).
 */
export async function createUser(call: Call, user: NewUser, signal: AbortSignal): Promise<void> {
  const { profile, changeRequired } = user;
  const hash = user.hash.reveal();
  if (hash === '') throw new PassferryError('hash_refused');
  if (!profile.email) throw new PassferryError('profile_incomplete');
  const username = profile.userName || profile.email;
  const common = {
    userId: user.user,
    username,
    profile: { givenName: profile.givenName || username, familyName: profile.familyName || username },
    email: {
      email: profile.email,
      verification: profile.emailVerified
        ? { case: 'isVerified' as const, value: true }
        : { case: 'returnCode' as const, value: {} },
    },
    passwordType: { case: 'hashedPassword' as const, value: { hash, changeRequired } },
  };
  const { userId, username: _, ...human } = common;
  const request = create(CreateUserRequestSchema, {
    ...{ organizationId: user.org, userId, username },
    userType: { case: 'human', value: human },
  });
  const older = create(AddHumanUserRequestSchema, {
    ...common,
    organization: { org: { case: 'orgId', value: user.org } },
  });
  try {
    await call(UserService.method.createUser, request, signal).catch((thrown: unknown) => {
      if (!isUnknownCall(thrown)) throw thrown;
      return call(UserService.method.addHumanUser, older, signal);
    });
  } catch (thrown) {
    if (thrown instanceof PassferryError && thrown.code === 'already_exists') {
      throw new PassferryError('user_exists', { cause: thrown.cause });
    }
    throw hashError(thrown);
  }
}
