import { PassferryError } from '../../errors.ts';

/** No such user here; the same for a deleted one, a machine and one of another organization. */
export function userMissing(): PassferryError {
  return new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition', message: 'Password not found' });
}

/** Two rows here, or two ids there, claim each other: neither is read or written. */
export function mappedTwice(): PassferryError {
  return new PassferryError('user_mapped_twice');
}
