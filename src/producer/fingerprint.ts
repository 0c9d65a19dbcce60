import { createHmac, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import type { FingerprintKey } from '../key-files.ts';
import type { SetPasswordRequest } from './validate.ts';

const stretch = promisify(scrypt) as (
  password: Buffer,
  salt: Buffer,
  length: number,
  options: { N: number; r: number; p: number },
) => Promise<Buffer>;

/** Scoped to caller and organization: nobody learns that another caller used the same key. */
export function keyDigest(key: Buffer, caller: string, org: string, idempotencyKey: string): string {
  return createHmac('sha256', key)
    .update(JSON.stringify(['key', caller, org, idempotencyKey]))
    .digest('base64url');
}

/**
 * "Is it the same request?" without a hash of a password that could be guessed off line: an HMAC under a key that only
 * `serve` has, over the stretched password and the rest of the request (F60). `<id of the key>.<base64url>`: the key
 * changes every day, and a later request is compared under the key of the first.
 */
export async function fingerprint(
  { id, key }: FingerprintKey,
  caller: string,
  request: SetPasswordRequest,
): Promise<string> {
  const scope = fingerprintScope(caller, request);
  const salt = createHmac('sha256', key).update(`salt${scope}`).digest();
  const stretched = await stretch(request.password.bytes(), salt, 32, { N: 1024, r: 8, p: 1 });
  const mac = createHmac('sha256', key).update(scope).update(stretched).digest('base64url');
  return `${id}.${mac}`;
}

/** All of a request but its password. */
export function fingerprintScope(caller: string, request: SetPasswordRequest): string {
  return JSON.stringify([
    ...[caller, request.org, request.user, request.changeRequired],
    ...(request.overwriteNewer ? ['overwriteNewer'] : []),
  ]);
}
