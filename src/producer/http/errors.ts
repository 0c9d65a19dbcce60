import { codes, type PassferryError } from '../../errors.ts';
import { errorHeaders, v1Words } from '../v1-texts.ts';

/** An answer that is ready to be sent. */
export interface ErrorReply {
  status: number;
  headers: Record<string, string>;
  body: object;
}

/** HTTP status where the code's own does not say enough. */
const statusOf: Record<string, number> = {
  body_slow: 408,
  body_too_large: 413,
  media_type_unsupported: 415,
  idempotency_key_reused: 422,
  idempotency_key_locked: 422,
  method_not_allowed: 405,
  items_refused: 422,
  as_of_required: 422,
  hash_here_unsupported: 422,
  job_gone: 410,
  job_begun: 409,
  job_done: 409,
  row_of_import: 409,
  run_ended: 409,
  migration_open: 409,
  stage_not_dual: 409,
  stage_refused: 409,
  run_not_over: 409,
  webhook_limit: 409,
  webhook_disabled: 409,
};

function common(error: PassferryError) {
  return { status: statusOf[error.reason] ?? codes[error.code].http, headers: errorHeaders(error) };
}

/** ZITADEL's shape: numeric code, text with its id; `details` only where there is an id. */
export function v1Error(error: PassferryError): ErrorReply {
  const { status } = common(error);
  const { code, message, detail, headers } = v1Words(error);
  const details = detail && [{ '@type': 'type.googleapis.com/zitadel.v1.ErrorDetail', ...detail }];
  return { status, headers, body: { code, message, ...(details && { details }) } };
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
