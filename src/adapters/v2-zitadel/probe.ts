import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { DeactivateUserRequestSchema, UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';
import type { Backend } from '../port.ts';
import type { Call } from '../zitadel/call.ts';
import { prove } from '../zitadel/prove.ts';
import { createUser } from './create.ts';

/** Their read model lags: a user made just now may not be there yet. */
const tries = 12;
const pauseMs = 250;

/**
 * Does a login work with this hash? Tried on a user made for it, without any grant and out of service afterwards; or on `user`, whom an
 * operator has named for it; `false`: on nobody, which is `ability_missing`.
 */
export async function probeHash(
  call: Call,
  setHash: NonNullable<Backend['setHash']>,
  user: string | false | undefined,
  at: { org: string; hash: Secret; password: Secret },
  signal: AbortSignal,
): Promise<boolean> {
  const { org, hash, password } = at;
  if (user === false) throw new PassferryError('ability_missing');
  if (user !== undefined) {
    const change = { jobId: randomUUID(), org, user, seq: 0n, acceptedAt: 0, changeRequired: false };
    await setHash({ ...change, hash, overwriteNewer: true }, signal);
    return works(call, user, password, signal);
  }
  const id = `passferry-probe-${randomUUID()}`;
  const profile = { userName: id, email: `${id}@probe.invalid`, emailVerified: true };
  await createUser(call, { org, user: id, profile, hash, changeRequired: false }, signal);
  try {
    return await works(call, id, password, signal);
  } finally {
    const request = create(DeactivateUserRequestSchema, { userId: id });
    // Nobody knows its password: what stays in service lets nobody in.
    await call(UserService.method.deactivateUser, request, AbortSignal.timeout(5_000)).catch(() => {});
  }
}

async function works(call: Call, user: string, password: Secret, signal: AbortSignal): Promise<boolean> {
  for (let left = tries; ; left--) {
    try {
      return await prove(call, user, password, signal);
    } catch (thrown) {
      const isMissing = thrown instanceof PassferryError && thrown.scope === 'user';
      if (!isMissing || left <= 1) throw thrown;
      await sleep(pauseMs, undefined, { signal });
    }
  }
}
