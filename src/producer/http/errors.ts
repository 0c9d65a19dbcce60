import { codes, type PassferryError } from '../../errors.ts';

/** An answer that is ready to be sent. */
export interface ErrorReply {
  status: number;
  headers: Record<string, string>;
  body: object;
}

const zitadelId = /^[A-Z][A-Z0-9]*-[A-Za-z0-9]+$/;

/** HTTP status where the code's own does not say enough. */
const statusOf: Record<string, number> = {
  body_too_large: 413,
  media_type_unsupported: 415,
  idempotency_key_reused: 422,
  idempotency_key_locked: 422,
  method_not_allowed: 405,
};

/** The texts of the v1 validator, which count in runes. */
const validatorTexts: Record<string, string> = {
  password_missing: 'invalid SetHumanPasswordRequest.Password: value length must be between 1 and 72 runes, inclusive',
  password_too_long: 'invalid SetHumanPasswordRequest.Password: value length must be between 1 and 72 runes, inclusive',
  user_id_missing: 'invalid SetHumanPasswordRequest.UserId: value length must be at least 1 runes',
};

function common(error: PassferryError) {
  const headers: Record<string, string> = { 'passferry-reason': error.reason };
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer';
  if (error.code === 'unavailable' || error.code === 'deadline_exceeded') headers['retry-after'] = '2';
  return { status: statusOf[error.reason] ?? codes[error.code].http, headers };
}

/** ZITADEL's shape: numeric code, text with its id; `details` only where there is an id. */
export function v1Error(error: PassferryError): ErrorReply {
  const { status, headers } = common(error);
  const code = codes[error.code].grpc;
  if (!zitadelId.test(error.reason)) {
    return { status, headers, body: { code, message: validatorTexts[error.reason] ?? error.message } };
  }
  const detail = {
    '@type': 'type.googleapis.com/zitadel.v1.ErrorDetail',
    id: error.reason,
    message: error.message,
  };
  return { status, headers, body: { code, message: `${error.message} (${error.reason})`, details: [detail] } };
}

/** RFC 9457 problem details with a stable code, for our own endpoints. */
export function problem(error: PassferryError): ErrorReply {
  const { status, headers } = common(error);
  return {
    status,
    headers: { ...headers, 'content-type': 'application/problem+json' },
    body: {
      type: 'about:blank',
      title: error.message,
      status,
      code: error.code,
      reason: error.reason,
      ...(error.fields.length > 0 && { fields: error.fields }),
    },
  };
}
