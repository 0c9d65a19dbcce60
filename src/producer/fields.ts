import { PassferryError, type Reason } from '../errors.ts';

/** Fields that several routes read. */

const longestReason = 200;

/** `{"reason": …}` → why a person does something: what everyone who asks is told. Error: `invalid` names it. */
export function parseReason(body: unknown, invalid: Reason): string {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new PassferryError('body_not_object');
  const { reason } = body as { reason?: unknown };
  const text = typeof reason === 'string' ? reason.trim() : '';
  if (text === '' || text.length > longestReason || /[\p{Cc}\p{Cs}]/u.test(text)) {
    throw new PassferryError(invalid, { fields: [{ field: 'reason', reason: invalid }] });
  }
  return text;
}

/** A boolean, also as the text of a query or header; absent is false. Error: `field_type`. */
export function parseFlag(value: unknown, field: string): boolean {
  if (value === undefined || value === null || value === false || value === 'false') return false;
  if (value === true || value === 'true') return true;
  throw new PassferryError('field_type', { fields: [{ field, reason: 'field_type' }] });
}
