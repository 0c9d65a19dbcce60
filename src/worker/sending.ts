import type { Applied, Backend, Change, HashChange } from '../adapters/port.ts';
import { PassferryError } from '../errors.ts';
import type { SetPasswordData } from '../job.ts';
import type { Secret } from '../secret.ts';

/** A password with its hash, which is sent in its place. */
export type HashedChange = Change & HashChange;
/** One of both is sealed in a job; both are there once a worker has hashed the password itself. */
export type Sending = Change | HashChange | HashedChange;

/** What the backend that follows is given. */
export type Given = { password: Secret; hash?: Secret } | { password?: undefined; hash: Secret };

/** A job and what was sealed in it → the change that is sent. */
export function sendingOf(data: SetPasswordData, secret: Secret): Sending {
  return {
    jobId: data.jobId,
    org: data.org,
    user: data.user,
    seq: BigInt(data.seq),
    acceptedAt: data.acceptedAt,
    ...(data.hash ? { hash: secret } : { password: secret }),
    changeRequired: data.changeRequired,
    overwriteNewer: data.overwriteNewer,
    ...(data.asOf !== undefined && { asOf: data.asOf, ownFrom: BigInt(data.runAt ?? 0) * 1_000n }),
  };
}

/** The change itself: everything around it is the same for a password and a hash. */
export function sendTo(backend: Backend, change: Sending, signal: AbortSignal): Promise<Applied> {
  if (!('hash' in change)) return backend.setPassword(change, signal);
  if (!backend.setHash) throw new PassferryError('ability_missing');
  return backend.setHash(change, signal);
}

/** Of a hash nobody can tell the password. */
export const passwordOf = (change: Sending) => ('password' in change ? change.password : undefined);

export function givenBy(change: Sending): Given {
  if (!('password' in change)) return { hash: change.hash };
  return { password: change.password, ...('hash' in change && { hash: change.hash }) };
}
