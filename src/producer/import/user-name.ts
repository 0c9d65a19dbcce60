import type { Reason } from '../../errors.ts';
import { checkUserId } from '../validate.ts';

const emailPattern = /^[^\s@\p{Cc}]{1,200}@[^\s@\p{Cc}]{1,200}$/u;

/** What is wrong with an e-mail address or user name that stands for an id. */
export function checkName(by: 'email' | 'username', name: unknown): Reason | undefined {
  if (typeof name !== 'string' || name === '') return 'user_name_missing';
  if (by === 'email') return emailPattern.test(name) && name.isWellFormed() ? undefined : 'email_invalid';
  return checkUserId(name) && 'user_name_invalid';
}
