import { create, toJson } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import {
  UpdateHumanUserRequestSchema,
  UpdateUserRequestSchema,
  UserService,
} from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import type { Applied, HashChange } from '../port.ts';
import type { Call } from '../zitadel/call.ts';
import { ourDetails } from '../zitadel/details.ts';

/** Whose verifier does not know the hash, whose limits it breaks, or who cannot parse it: of every generation. */
const refusedIds = new Set(['USER-oz74onzvqr', 'USER-JDk4t', 'CRYPT-2xK7d', 'CRYPT-5uV9n', 'CRYPT-r8Qm2']);

/** ZITADEL's answer to a hash → ours. */
export function hashError(thrown: unknown): unknown {
  return thrown instanceof PassferryError && refusedIds.has(thrown.reason)
    ? new PassferryError('hash_refused', { cause: thrown.cause })
    : thrown;
}

/** The server, or what stands before it, does not know the call: nothing was done. */
export function isUnknownCall(thrown: unknown): boolean {
  return thrown instanceof PassferryError && thrown.code === 'unimplemented' && thrown.effect === 'none';
}

/**
 * Does the server know one of both calls that store hashes? Asked without a hash and about a user who does not exist: any answer but
 * "no such call" says yes. Throws when nobody answers.
 */
export async function takesHashes(call: Call, signal: AbortSignal): Promise<boolean> {
  const userId = 'passferry-ping';
  const userType = { case: 'human' as const, value: {} };
  const asked = [
    () => call(UserService.method.updateUser, create(UpdateUserRequestSchema, { userId, userType }), signal),
    () => call(UserService.method.updateHumanUser, create(UpdateHumanUserRequestSchema, { userId }), signal),
  ];
  for (const ask of asked) {
    try {
      await ask();
      return true;
    } catch (thrown) {
      if (isUnknownCall(thrown)) continue;
      if (thrown instanceof PassferryError && thrown.scope !== 'backend') return true;
      throw thrown;
    }
  }
  return false;
}

/**
 * Stores hashes by UpdateUser, or by UpdateHumanUser where a server does not know that: found out once. UpdateUser tells neither a
 * sequence nor the owner: the sequence is "0", and the owner the organization that the caller has compared.
 */
export function createSetHash(call: Call) {
  let older = false;

  return async (change: HashChange, signal: AbortSignal): Promise<Applied> => {
    const hash = change.hash.reveal();
    // Without one the call would be about the rest of the user, and answer well.
    if (hash === '') throw new PassferryError('hash_refused');
    const { changeRequired } = change;
    const password = { passwordType: { case: 'hashedPassword' as const, value: { hash, changeRequired } } };

    const byUpdateHuman = async (): Promise<Applied> => {
      const request = create(UpdateHumanUserRequestSchema, { userId: change.user, password });
      const { details } = await call(UserService.method.updateHumanUser, request, signal);
      return { result: 'set', details: ourDetails(details) };
    };
    try {
      if (older) return await byUpdateHuman();
      const userType = { case: 'human' as const, value: { password } };
      const request = create(UpdateUserRequestSchema, { userId: change.user, userType });
      try {
        const { changeDate } = await call(UserService.method.updateUser, request, signal);
        return { result: 'set', details: detailsOf(changeDate, change.org) };
      } catch (thrown) {
        if (!isUnknownCall(thrown)) throw thrown;
        const applied = await byUpdateHuman();
        older = true;
        return applied;
      }
    } catch (thrown) {
      throw hashError(thrown);
    }
  };
}

function detailsOf(changeDate: Timestamp | undefined, resourceOwner: string) {
  // a good answer that does not say what it did is not believed
  if (!changeDate) throw new PassferryError('backend_error', { scope: 'backend', effect: 'unknown' });
  return { sequence: '0', changeDate: toJson(TimestampSchema, changeDate), resourceOwner };
}
