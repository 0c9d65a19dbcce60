import type { DeviationName } from './parity-deviations.ts';
import type { ParityUser, ParityWorld } from './parity-world.ts';

export const oldPassword = 'Old-password-1';
export const newPassword = 'New-password-1';

/** HTTP status, gRPC number, id, text of the message without its id. An id absent: no details. */
export interface Refusal {
  status: number;
  code: number;
  id?: string;
  /** Absent: the contract does not fix it. */
  message?: string;
}

export type Expected = 'set' | Refusal;

/** One request and its answer, the same for every backend and protocol. */
export interface ParityCase {
  name: string;
  /** Default: an active human of acme with a password. `null`: no such user. */
  user?: Partial<ParityUser> | null;
  /** Makes the user's id from a unique text. Default: that text. */
  id?: (unique: string) => string;
  /** Beside the caller's token; null takes one away. */
  headers?: Record<string, string | null>;
  /** SetHumanInitialPassword. */
  initial?: boolean;
  /** Default: the new password and `noChangeRequired`. */
  fields?: Record<string, unknown>;
  /** Body as it is sent: REST and Connect only. `ID` becomes the user's id. */
  text?: string;
  /** What only REST can say: no other protocol is tried. */
  rest?: { method?: string; path?: (id: string) => string; type?: string | null; latin1?: boolean };
  expect: Expected;
  /** The answer has no body to compare. */
  bodiless?: boolean;
  /** What ZITADEL's own API answers, where Passferry deviates on purpose. */
  reference?: Expected;
  deviation?: DeviationName;
  /** Default: that of `fields`, after success. */
  works?: string;
  /** Default false. */
  changeRequired?: boolean;
  /** Worlds that cannot show it, and why. */
  unable?: Partial<Record<ParityWorld['name'], string>>;
}

export const bad = (message?: string): Refusal => ({ status: 400, code: 3, ...(message !== undefined && { message }) });
export const withId = (status: number, code: number, id: string, message: string) => ({ status, code, id, message });
export const length = bad(
  'invalid SetHumanPasswordRequest.Password: value length must be between 1 and 72 runes, inclusive',
);
export const noUser = withId(400, 9, 'COMMAND-G8dh3', 'Password not found');
export const badToken = withId(401, 16, 'AUTH-7fs1e', 'Errors.Token.Invalid');
export const badScheme = withId(401, 16, 'AUTH-toLo1', 'invalid auth header');
export const noOrg = withId(403, 7, 'AUTH-Bs7Ds', "Organisation doesn't exist");
export const noMember = withId(404, 5, 'AUTHZ-cdgFk', 'membership not found');
export const noPermission = withId(403, 7, 'AUTH-5mWD2', 'No matching permissions found');
export const notFound: Refusal = { status: 404, code: 5, message: 'Not Found' };
export const wrongMethod: Refusal = { status: 405, code: 12, message: 'Method Not Allowed' };
export const hasher = withId(500, 13, 'COMMAND-CahN2', 'An internal error occurred');

export const org = (value: string | null) => ({ 'x-zitadel-orgid': value });
export const auth = (value: string | null) => ({ authorization: value });
export const password = (value: unknown) => ({ password: value, noChangeRequired: true });
export const pathOf = (id: string) => `/management/v1/users/${encodeURIComponent(id)}/password`;
export const body = (rest: string) => `{"password":"${newPassword}",${rest}}`;
export const noReference = 'the sandbox serves no such call';
