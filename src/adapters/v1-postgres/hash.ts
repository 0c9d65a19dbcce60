import { hash } from '@node-rs/bcrypt';
import { PassferryError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';

/** What bcrypt looks at; the library would silently cut the rest. */
const maxBytes = 72;

/**
 * Password → `$2b$` hash of the given cost (4 to 31), on a thread of libuv's pool.
 *
 * @throws PassferryError `password_missing`, `password_too_many_bytes` or `password_nul`, scope `user`.
 */
export async function hashPassword(password: Secret, cost: number): Promise<string> {
  const bytes = checkHashable(password);
  try {
    return await hash(bytes, cost);
  } catch {
    throw new PassferryError('backend_error', { scope: 'backend' });
  }
}

/** Its bytes, if `hashPassword` takes them. Errors as there. */
export function checkHashable(password: Secret): Buffer {
  const bytes = password.bytes();
  if (bytes.length === 0) throw new PassferryError('password_missing');
  if (bytes.length > maxBytes) throw new PassferryError('password_too_many_bytes');
  // C versions of bcrypt stop at a NUL, so the hash would mean different passwords to different readers.
  if (bytes.includes(0)) throw new PassferryError('password_nul');
  return bytes;
}
