import { codes, type PassferryError } from '../errors.ts';

/** How the v1 contract says an error: number, text with its id, and the id by itself where there is one. */
export interface V1Words {
  /** gRPC number. */
  code: number;
  message: string;
  /** Absent for what ZITADEL answers without an id: field checks, a missing token, and what v1 has no word for. */
  detail?: { id: string; message: string };
  /** Headers or metadata. */
  headers: Record<string, string>;
}

const zitadelId = /^[A-Z][A-Z0-9]*-[A-Za-z0-9]+$/;

/** The texts of the v1 validator, which counts in runes. */
const validatorTexts: Record<string, string> = {
  password_missing: 'invalid SetHumanPasswordRequest.Password: value length must be between 1 and 72 runes, inclusive',
  password_too_long: 'invalid SetHumanPasswordRequest.Password: value length must be between 1 and 72 runes, inclusive',
  user_id_missing: 'invalid SetHumanPasswordRequest.UserId: value length must be at least 1 runes',
};

export function v1Words(error: PassferryError): V1Words {
  const code = codes[error.code].grpc;
  const headers = errorHeaders(error);
  const hasId = zitadelId.test(error.reason);
  const message = hasId ? `${error.message} (${error.reason})` : (validatorTexts[error.reason] ?? error.message);
  // The gateway repeats its text there.
  if (error.code === 'unauthenticated') headers['www-authenticate'] = message;
  if (!hasId) return { code, message, headers };
  return { code, message, detail: { id: error.reason, message: error.message }, headers };
}

/** Headers that go with an error of any shape. */
export function errorHeaders(error: PassferryError): Record<string, string> {
  const headers: Record<string, string> = { 'passferry-reason': error.reason };
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer';
  if (error.code === 'unavailable' || error.code === 'deadline_exceeded') headers['retry-after'] = '2';
  if (error.code === 'resource_exhausted') {
    headers['retry-after'] = `${Math.max(1, Math.ceil((error.retryAfterMs ?? 2_000) / 1_000))}`;
  }
  return headers;
}
