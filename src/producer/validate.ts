import { type FieldError, PassferryError, type Reason } from '../errors.ts';
import { Secret } from '../secret.ts';

/** A validated request to set one password. The password is in clear: it never leaves this process. */
export interface SetPasswordRequest {
  org: string;
  user: string;
  password: Secret;
  changeRequired: boolean;
  /** A person's later choice in the backend is overwritten. Needs the permission admin. Default false. */
  overwriteNewer?: boolean;
}

/** bcrypt reads no further; ZITADEL v1 counts code points, its hasher bytes. Longer ones are refused, never cut (F70). */
const passwordLimit = 72;

const idPattern = /^[^\p{Cc}]{1,200}$/u;

export function checkUserId(id: string): Reason | undefined {
  if (id === '') return 'user_id_missing';
  return idPattern.test(id) && id.isWellFormed() ? undefined : 'user_id_invalid';
}

export function checkOrgId(id: string): Reason | undefined {
  return idPattern.test(id) && id.isWellFormed() ? undefined : 'org_id_invalid';
}

/** The rules that hold for every backend. Complexity is the backend's own and an outcome of the job. */
export function checkPassword(password: string): Reason | undefined {
  if (password === '') return 'password_missing';
  if (!password.isWellFormed()) return 'password_ill_formed';
  if ([...password].length > passwordLimit) return 'password_too_long';
  if (Buffer.byteLength(password, 'utf8') > passwordLimit) return 'password_too_many_bytes';
  if (password.includes('\0')) return 'password_nul';
  return undefined;
}

/** Idempotency-Key: 1 to 255 visible ASCII characters (a quoted string of the IETF draft loses its quotes). */
export function parseIdempotencyKey(header: string): string {
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) throw new PassferryError('idempotency_key_invalid');
  return key;
}

/**
 * Body of the v1 call → request. Takes lowerCamelCase and snake_case, drops unknown keys, reads null as absent; the
 * path's user id wins over one in the body.
 */
export function parseSetPassword(body: unknown, org: string, user: string): SetPasswordRequest {
  const record = toRecord(body);
  const errors: FieldError[] = [];
  const note = (field: string, reason: Reason | undefined) => {
    if (reason) errors.push({ field, reason });
  };

  const password = own(record, 'password') ?? '';
  const noChangeRequired = own(record, 'noChangeRequired') ?? own(record, 'no_change_required') ?? false;
  note('userId', checkUserId(user));
  note('password', typeof password === 'string' ? checkPassword(password) : 'field_type');
  note('noChangeRequired', typeof noChangeRequired === 'boolean' ? undefined : 'field_type');

  const first = errors[0];
  if (first) throw new PassferryError(first.reason, { fields: errors });
  return { org, user, password: Secret.fromString(password as string), changeRequired: !noChangeRequired };
}

/**
 * What v1's JSON decoder refuses before it asks who is calling: no object, a value of the wrong type, half of a surrogate
 * pair. Returns the body.
 */
export function checkTypes(body: unknown): unknown {
  const record = toRecord(body);
  const errors: FieldError[] = [];
  for (const [key, type] of Object.entries(types)) {
    const value = own(record, key) ?? undefined;
    if (value === undefined) continue;
    const field = type === 'boolean' ? 'noChangeRequired' : key === 'password' ? key : 'userId';
    if (typeof value !== type) errors.push({ field, reason: 'field_type' });
    else if (key === 'password' && !(value as string).isWellFormed()) {
      errors.push({ field, reason: 'password_ill_formed' });
    }
  }
  const first = errors[0];
  if (first) throw new PassferryError(first.reason, { fields: errors });
  return body;
}

/** Names in both spellings. */
const types = {
  userId: 'string',
  user_id: 'string',
  password: 'string',
  noChangeRequired: 'boolean',
  no_change_required: 'boolean',
};

function toRecord(body: unknown): Record<string, unknown> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new PassferryError('body_not_object');
  return body as Record<string, unknown>;
}

function own(record: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
