import { PassferryError } from '../errors.ts';

/** What an organization asks of a password. */
export interface Policy {
  /** In bytes of UTF-8, as ZITADEL counts. */
  minLength: number;
  lower: boolean;
  upper: boolean;
  number: boolean;
  symbol: boolean;
}

/** ZITADEL's own defaults. */
export const defaultPolicy: Policy = { minLength: 8, lower: true, upper: true, number: true, symbol: true };

const isLower = (byte: number) => byte >= 0x61 && byte <= 0x7a;
const isUpper = (byte: number) => byte >= 0x41 && byte <= 0x5a;
const isNumber = (byte: number) => byte >= 0x30 && byte <= 0x39;
// Everything else: a space or any byte of a non-ASCII character.
const isSymbol = (byte: number) => !isLower(byte) && !isUpper(byte) && !isNumber(byte);

/**
 * Checks a password (UTF-8 bytes) against a policy, in ZITADEL's order; the first rule that fails wins.
 * Classes are ASCII: `é` is a symbol and `É` is no upper case letter.
 *
 * @throws PassferryError `invalid_argument` with ZITADEL's id as its reason, scope `user`.
 */
export function checkPolicy(password: Uint8Array, policy: Policy): void {
  if (password.length < policy.minLength) throw violation('DOMAIN-HuJf6', 'Password is too short');
  if (policy.lower && !password.some(isLower)) throw violation('DOMAIN-co3Xw', 'Password must contain lower case');
  if (policy.upper && !password.some(isUpper)) throw violation('DOMAIN-VoaRj', 'Password must contain upper case');
  if (policy.number && !password.some(isNumber)) throw violation('DOMAIN-ZBv4H', 'Password must contain number');
  if (policy.symbol && !password.some(isSymbol)) throw violation('DOMAIN-ZDLwA', 'Password must contain symbol');
}

function violation(id: string, message: string): PassferryError {
  return new PassferryError(id, { code: 'invalid_argument', message });
}
