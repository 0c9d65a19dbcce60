import { create } from '@bufbuild/protobuf';
import {
  CreateSessionRequestSchema,
  DeleteSessionRequestSchema,
  SessionService,
} from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import { PassferryError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';
import type { Call } from './call.ts';

const { createSession, deleteSession } = SessionService.method;

/** Should the end of the session get lost, it ends itself. */
const lifetime = { seconds: 60n };

/** wrong password · no password at all, in two generations */
const doesNotWork = ['COMMAND-3M0fs', 'COMMAND-3nJ4t', 'COMMAND-Fds3s'];

/**
 * Opens a session with the password and ends it. A wrong one counts as a failed login.
 */
export async function prove(call: Call, userId: string, password: Secret, signal: AbortSignal): Promise<boolean> {
  // ZITADEL lets nobody in without a password; as a request it would only be malformed
  if (password.bytes().length === 0) return false;
  const request = create(CreateSessionRequestSchema, {
    checks: { user: { search: { case: 'userId', value: userId } }, password: { password: password.reveal() } },
    lifetime,
  });
  try {
    const { sessionId, sessionToken } = await call(createSession, request, signal);
    // the proof stands, whatever becomes of the session
    await call(deleteSession, create(DeleteSessionRequestSchema, { sessionId, sessionToken }), signal).catch(() => {});
    return true;
  } catch (error) {
    if (error instanceof PassferryError && doesNotWork.includes(error.reason)) return false;
    throw error;
  }
}
