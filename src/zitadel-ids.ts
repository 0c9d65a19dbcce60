import { type Code, codes, PassferryError, type Scope } from './errors.ts';

interface IdFacts {
  code: Code;
  /** Our fixed English text. */
  message: string;
  /** Default `user`: an answer about this user, final. */
  scope?: Scope;
}

const policy = (message: string): IdFacts => ({ code: 'invalid_argument', message });

/** ZITADEL's error ids → what they mean to us. The ids are stable, their texts are translated and never matched. */
export const zitadelIds: Record<string, IdFacts> = {
  'COMMAND-G8dh3': { code: 'failed_precondition', message: 'Password not found' },
  // UpdateUser's 404 is v1's "not found", so that callers see one contract whatever the backend.
  'COMMAND-ugjs0upun6': { code: 'failed_precondition', message: 'Password not found' },
  // Asked to send a reset link.
  'COMMAND-SAF4f': { code: 'not_found', message: 'User could not be found' },
  'COMMAND-Sfe4g': { code: 'failed_precondition', message: 'User is not yet initialized' },
  'COMMAND-M9dse': { code: 'failed_precondition', message: 'User is not yet initialized' },
  'COMMAND-3M0fs': { code: 'invalid_argument', message: 'Password is invalid' },
  'COMMAND-3M9fs': { code: 'invalid_argument', message: 'ID missing' },
  'COMMAND-Mf0sd': { code: 'invalid_argument', message: 'Password is empty' },
  'COMMAND-3klek4sbns': { code: 'invalid_argument', message: 'Password is empty' },
  'COMMAND-2M9fs': { code: 'failed_precondition', message: 'Code not found' },
  'CODE-QvUQ4P': { code: 'failed_precondition', message: 'Code is expired' },
  'CODE-woT0xc': { code: 'invalid_argument', message: 'Code is invalid' },
  'COMMAND-Aesh5': {
    code: 'failed_precondition',
    message: 'New password cannot be the same as your current password',
  },
  'COMMAND-PwReuse': { code: 'failed_precondition', message: 'Password was used before' },
  'COMMAND-Fds3s': { code: 'failed_precondition', message: 'User has not set a password' },
  'COMMAND-3nJ4t': { code: 'failed_precondition', message: 'User has not set a password' },
  'COMMAND-3n77z': { code: 'failed_precondition', message: 'User could not be found' },
  'COMMAND-JLK35': { code: 'failed_precondition', message: 'User is locked' },
  'COMMAND-SFA3t': { code: 'failed_precondition', message: 'User is locked' },
  // A 500 that is final: the hasher refuses this password every time.
  'COMMAND-CahN2': { code: 'internal', message: 'An internal error occurred' },
  'USER-oz74onzvqr': { code: 'invalid_argument', message: 'Password hash encoding not supported' },
  'USER-JDk4t': { code: 'invalid_argument', message: 'Password hash encoding not supported' },
  'CRYPT-2xK7d': { code: 'invalid_argument', message: 'Password hash encoding not supported' },
  'CRYPT-5uV9n': { code: 'invalid_argument', message: 'Password is invalid' },
  'CRYPT-r8Qm2': { code: 'invalid_argument', message: 'Password is invalid' },
  'DOMAIN-HuJf6': policy('Password is too short'),
  'DOMAIN-co3Xw': policy('Password must contain lower case'),
  'DOMAIN-VoaRj': policy('Password must contain upper case'),
  'DOMAIN-ZBv4H': policy('Password must contain number'),
  'DOMAIN-ZDLwA': policy('Password must contain symbol'),
  // About our own account, not about the user.
  'AUTH-5mWD2': { code: 'permission_denied', message: 'No matching permissions found', scope: 'organization' },
  'AUTH-3jknH': { code: 'permission_denied', message: 'No matching permissions found', scope: 'organization' },
  'AUTH-AWfge': { code: 'permission_denied', message: 'No matching permissions found', scope: 'organization' },
  'AUTH-Swrgg2': { code: 'permission_denied', message: 'No matching permissions found', scope: 'organization' },
  'AUTHZ-cdgFk': { code: 'not_found', message: 'membership not found', scope: 'organization' },
  'AUTH-Bs7Ds': { code: 'permission_denied', message: "Organisation doesn't exist", scope: 'organization' },
  'AUTH-DZG21': { code: 'permission_denied', message: 'Origin not allowed', scope: 'backend' },
  'AUTH-toLo1': { code: 'unauthenticated', message: 'invalid auth header', scope: 'backend' },
  'AUTH-7fs1e': { code: 'unauthenticated', message: 'Errors.Token.Invalid', scope: 'backend' },
  'AUTH-oR9nA': { code: 'unauthenticated', message: 'Organisation is not active', scope: 'backend' },
  'AUTHZ-Kl3p0': { code: 'permission_denied', message: 'mfa required', scope: 'backend' },
  'APP-wai8O': { code: 'permission_denied', message: 'This kind of token is not for the API', scope: 'backend' },
  'APP-Shi0J': { code: 'permission_denied', message: 'This kind of token is not for the API', scope: 'backend' },
  'AUTH-GHpw2': { code: 'permission_denied', message: 'could not read projectid by clientid', scope: 'backend' },
  'QUOTA-vjAy8': { code: 'resource_exhausted', message: 'Quota.Access.Exhausted', scope: 'backend' },
  'LIMITS-molsj': { code: 'resource_exhausted', message: 'Instance is blocked', scope: 'backend' },
};

const idPattern = /^[A-Z][A-Z0-9]*-[A-Za-z0-9]+$/;

const codeByNumber = new Map<number, Code>(
  (Object.keys(codes) as Code[]).filter((code) => code !== 'expired').map((code) => [codes[code].grpc, code]),
);

export interface ZitadelAnswer {
  grpcCode: number;
  /** From the error detail, or the end of the text. */
  id?: string | undefined;
  retryAfterMs?: number | undefined;
  /** Default `none`. */
  effect?: 'none' | 'unknown' | undefined;
  cause?: unknown;
}

/** An answer of ZITADEL → our error. Its own text stays behind. */
export function errorFromZitadel({ grpcCode, id: theirs, retryAfterMs, effect, cause }: ZitadelAnswer): PassferryError {
  const id = theirs !== undefined && idPattern.test(theirs) ? theirs : undefined;
  const more = { ...(effect && { effect }), cause, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  const known = id !== undefined && Object.hasOwn(zitadelIds, id) ? zitadelIds[id] : undefined;
  if (id !== undefined && known) {
    const scope = known.scope ?? 'user';
    if (scope === 'user') {
      // UpdateUser and older builds have ids of their own for a missing user
      const missing =
        id === 'COMMAND-ugjs0upun6' || (id === 'COMMAND-3M0fs' && grpcCode === codes.failed_precondition.grpc);
      if (missing) return errorFromZitadel({ grpcCode, id: 'COMMAND-G8dh3', retryAfterMs, effect, cause });
      return new PassferryError(id, { ...more, code: known.code, message: known.message, scope });
    }
    return new PassferryError(backendReason(known.code), { ...more, scope });
  }
  const code = codeByNumber.get(grpcCode) ?? 'unknown';
  switch (code) {
    case 'unauthenticated':
    case 'resource_exhausted':
    case 'unavailable':
    case 'deadline_exceeded':
    case 'canceled':
      return new PassferryError(backendReason(code), { ...more, scope: 'backend' });
    case 'permission_denied':
      return new PassferryError('backend_forbidden', { ...more, scope: 'organization' });
    case 'invalid_argument':
    case 'failed_precondition':
    case 'out_of_range':
    case 'already_exists':
      return new PassferryError(id ?? 'refused', { ...more, code, scope: 'user' });
    case 'not_found':
      // without an id it comes from an unknown host or route
      if (id !== undefined) return new PassferryError(id, { ...more, code, scope: 'user' });
      return new PassferryError('backend_error', { ...more, scope: 'backend' });
    case 'unimplemented':
      return new PassferryError('backend_error', { ...more, code, scope: 'backend' });
    default:
      // a 500 or a conflict passes; neither is about the user
      return new PassferryError('backend_error', { ...more, scope: 'backend' });
  }
}

function backendReason(code: Code) {
  switch (code) {
    case 'unauthenticated':
      return 'backend_unauthenticated';
    case 'permission_denied':
    case 'not_found':
      return 'backend_forbidden';
    case 'resource_exhausted':
      return 'backend_limited';
    case 'deadline_exceeded':
      return 'backend_timeout';
    default:
      return 'backend_down';
  }
}

/** A cause for the log that holds nothing but a code. */
export function bareCause(code: string): Error {
  return Object.assign(new Error(code), { code });
}
