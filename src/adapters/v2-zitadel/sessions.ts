import { create } from '@bufbuild/protobuf';
import {
  DeleteSessionRequestSchema,
  ListSessionsRequestSchema,
  SessionService,
} from '@zitadel/proto/zitadel/session/v2/session_service_pb';
import type { Call } from '../zitadel/call.ts';
import { isMissing } from '../zitadel/missing.ts';

const pageSize = 100;
/** Nobody has so many; a list that does not get shorter must end. */
const mostPages = 20;

/** Ends the sessions of the session API; returns how many. Tokens that were issued before are not among them. */
export async function endSessions(call: Call, userId: string, signal: AbortSignal): Promise<number> {
  const ended = new Set<string>();
  for (let page = 0; page < mostPages; page++) {
    const request = create(ListSessionsRequestSchema, {
      query: { limit: pageSize },
      queries: [{ query: { case: 'userIdQuery', value: { id: userId } } }],
    });
    const { sessions } = await call(SessionService.method.listSessions, request, signal);
    // The list lags behind: what was ended a moment ago may still be in it.
    const open = sessions.filter(({ id, factors }) => !ended.has(id) && factors?.user?.id === userId);
    if (open.length === 0) break;
    for (const { id: sessionId } of open) {
      await call(SessionService.method.deleteSession, create(DeleteSessionRequestSchema, { sessionId }), signal).catch(
        (error: unknown) => {
          if (!isMissing(error)) throw error;
        },
      );
      ended.add(sessionId);
    }
    if (sessions.length < pageSize) break;
  }
  return ended.size;
}
