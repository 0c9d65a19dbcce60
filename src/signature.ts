import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SetPasswordData } from './job.ts';

/**
 * The shared job key: producers and workers have it, Redis does not. Only `current` signs; `previous` and a prepared `next`
 * are accepted while it rotates. Read `current` first: one that follows its file is looked up there.
 */
export interface JobKey {
  readonly current: Buffer;
  readonly previous?: Buffer | undefined;
  readonly next?: Buffer | undefined;
  /** Looks at its file again; true when that has changed. */
  refresh?(): boolean;
}

/** All keys that are accepted, the present one first. */
export function acceptedKeys({ current, previous, next }: JobKey): Buffer[] {
  return [current, previous, next].filter((key) => key !== undefined);
}

/** HMAC-SHA-256 over a kind and its parts, so that no record can pass for one of another kind. base64url. */
export function sign(key: JobKey, kind: string, parts: readonly (string | number | boolean | undefined)[]): string {
  return mac(key.current, kind, parts);
}

export function verify(
  key: JobKey,
  kind: string,
  parts: readonly (string | number | boolean | undefined)[],
  given: string,
): boolean {
  const fits = () => acceptedKeys(key).some((candidate) => equal(mac(candidate, kind, parts), given));
  // Another process may have taken a new key a moment before us: that is no forgery.
  return fits() || (key.refresh?.() === true && fits());
}

/** Everything of a job but the signature: an altered expiry, sequence or user is a forgery. */
export function jobParts(data: Omit<SetPasswordData, 'mac'>) {
  return [
    data.v,
    data.name,
    data.jobId,
    data.caller,
    data.org,
    data.user,
    data.seq,
    data.acceptedAt,
    data.expiresAt,
    data.changeRequired,
    data.admin,
    data.overwriteNewer,
    data.dataKey,
    data.sealed,
    data.run,
    data.row,
    ...(data.asOf === undefined ? [] : ['asOf', data.asOf, data.runAt]),
    // Never set as the password itself.
    ...(data.hash === undefined ? [] : ['hash', data.hash.by]),
  ];
}

function mac(key: Buffer, kind: string, parts: readonly (string | number | boolean | undefined)[]): string {
  return createHmac('sha256', key)
    .update(JSON.stringify([kind, ...parts.map((part) => part ?? null)]))
    .digest('base64url');
}

function equal(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}
