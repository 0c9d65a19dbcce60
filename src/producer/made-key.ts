import { createHmac, timingSafeEqual } from 'node:crypto';
import { makeIdempotencyKey } from '../ids.ts';
import type { FingerprintKey, FingerprintKeys } from '../key-files.ts';
import { fingerprintScope } from './fingerprint.ts';
import type { SetPasswordRequest } from './validate.ts';

/**
 * A key made for a request whose caller sent none: `pf-<random>.<id of a key>.<mac>`. It goes to that caller alone and
 * proves which request it names, so nothing that comes from the password has to be stored, or stretched.
 */
export function makeKeyFor(key: FingerprintKey, caller: string, request: SetPasswordRequest): string {
  return `${makeIdempotencyKey()}.${key.id}.${macOf(key, caller, request)}`;
}

/** Was this key made for this very request? False also when its own key is gone. */
export function namesRequest(
  keys: FingerprintKeys,
  idempotencyKey: string,
  caller: string,
  request: SetPasswordRequest,
): boolean {
  const [, id, given] = /^pf-[0-9a-f]{32}\.(\w+)\.([\w-]{22})$/.exec(idempotencyKey) ?? [];
  const key = id === undefined ? undefined : keys.find(id);
  if (!key || given === undefined) return false;
  return timingSafeEqual(Buffer.from(macOf(key, caller, request)), Buffer.from(given));
}

function macOf({ key }: FingerprintKey, caller: string, request: SetPasswordRequest): string {
  const mac = createHmac('sha256', key).update(`made${fingerprintScope(caller, request)}`);
  return mac.update(request.password.bytes()).digest().toString('base64url', 0, 16);
}

/** What the ledger keeps in the place of a fingerprint for a job under a key that we made, and what another request gives. */
export const madeFingerprint = { same: 'made.same', other: 'made.other' };

/** Open jobs that this process remembers; more than wait at one time. */
const remembered = 20_000;

/** Which request a job of ours was, in this process's memory only: "is this one equal to that?" without anything stored. */
export function createRecent() {
  const macs = new Map<string, string>();
  return {
    remember(jobId: string, madeKey: string): void {
      if (macs.size >= remembered) macs.delete(macs.keys().next().value as string);
      macs.set(jobId, proofOf(madeKey));
    },
    /** Undefined: not known here. */
    isSame(jobId: string, madeKey: string): boolean | undefined {
      const mac = macs.get(jobId);
      return mac === undefined ? undefined : mac === proofOf(madeKey);
    },
  };
}

/** `<id of a key>.<mac>`; on the first requests of a day two equal ones differ, and both are carried out. */
function proofOf(madeKey: string): string {
  return madeKey.slice(madeKey.indexOf('.') + 1);
}
