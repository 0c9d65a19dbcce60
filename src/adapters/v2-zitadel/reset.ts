import { create } from '@bufbuild/protobuf';
import { NotificationType } from '@zitadel/proto/zitadel/user/v2/password_pb';
import { PasswordResetRequestSchema, UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import type { Call } from '../zitadel/call.ts';
import { isMissing, noSuchUser } from '../zitadel/missing.ts';

/** ZITADEL mails the link itself: the code in it is never asked for, so nobody here can use it. */
export async function sendResetLink(call: Call, userId: string, signal: AbortSignal): Promise<void> {
  const request = create(PasswordResetRequestSchema, {
    userId,
    medium: { case: 'sendLink', value: { notificationType: NotificationType.Email } },
  });
  await call(UserService.method.passwordReset, request, signal).catch((error: unknown) => {
    throw isMissing(error) ? noSuchUser() : error;
  });
}
