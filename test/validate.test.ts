import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { PassferryError } from '../src/errors.ts';
import {
  checkOrgId,
  checkPassword,
  checkUserId,
  parseIdempotencyKey,
  parseSetPassword,
} from '../src/producer/validate.ts';

test.each([
  ['', 'password_missing'],
  ['a', undefined],
  ['a'.repeat(72), undefined],
  ['a'.repeat(73), 'password_too_long'],
  ['ä'.repeat(36), undefined],
  ['ä'.repeat(37), 'password_too_many_bytes'],
  ['🐎'.repeat(18), undefined],
  ['🐎'.repeat(19), 'password_too_many_bytes'],
  // Both limits broken: the one of the v1 contract is named.
  ['🐎'.repeat(73), 'password_too_long'],
  ['a\0b', 'password_nul'],
  ['a\ud83d', 'password_ill_formed'],
  [' \t\n', undefined],
])('checkPassword %j: %s', (password, reason) => {
  expect(checkPassword(password)).toBe(reason);
});

test.each([
  ['', 'user_id_missing', 'org_id_invalid'],
  ['u', undefined, undefined],
  ['a/b:c d%', undefined, undefined],
  ['u'.repeat(200), undefined, undefined],
  ['🐎'.repeat(200), undefined, undefined],
  ['u'.repeat(201), 'user_id_invalid', 'org_id_invalid'],
  ['a\nb', 'user_id_invalid', 'org_id_invalid'],
  ['a\x7f', 'user_id_invalid', 'org_id_invalid'],
  ['a\x85', 'user_id_invalid', 'org_id_invalid'],
  ['\udc0e', 'user_id_invalid', 'org_id_invalid'],
])('ids %j: %s, %s', (id, user, org) => {
  expect([checkUserId(id), checkOrgId(id)]).toEqual([user, org]);
});

test.each([
  ['a', 'a'],
  ['"a-b"', 'a-b'],
  ['"', '"'],
  ['k'.repeat(255), 'k'.repeat(255)],
  ['k'.repeat(256), undefined],
  ['', undefined],
  ['""', undefined],
  ['a b', undefined],
  ['ä', undefined],
  ['a\n', undefined],
])('Idempotency-Key %j', (header, key) => {
  if (key !== undefined) expect(parseIdempotencyKey(header)).toBe(key);
  else
    expect(() => parseIdempotencyKey(header)).toThrow(expect.objectContaining({ reason: 'idempotency_key_invalid' }));
});

/** What a body becomes, or the reasons by field. */
function outcome(body: unknown, user = 'u') {
  try {
    const { password, ...rest } = parseSetPassword(body, 'o', user);
    return { ...rest, password: password.reveal() };
  } catch (error) {
    const { reason, fields } = error as PassferryError;
    return fields.length > 0 ? fields.map((field) => `${field.field} ${field.reason}`) : reason;
  }
}

const good = { org: 'o', user: 'u', password: 'pw', changeRequired: true };
test.each([
  [{ password: 'pw' }, good],
  [
    { password: 'pw', noChangeRequired: true },
    { ...good, changeRequired: false },
  ],
  [
    { password: 'pw', no_change_required: true },
    { ...good, changeRequired: false },
  ],
  [{ password: 'pw', noChangeRequired: false, no_change_required: true }, good],
  [{ password: 'pw', noChangeRequired: null, other: { deep: 1 } }, good],
  [{ password: 'pw', userId: 'someone else', user_id: 7 }, good],
  [JSON.parse('{"password":"pw","__proto__":{"noChangeRequired":true}}'), good],
  [{ password: null }, ['password password_missing']],
  [{}, ['password password_missing']],
  [{ password: 7, noChangeRequired: 'true' }, ['password field_type', 'noChangeRequired field_type']],
  [null, 'body_not_object'],
  [[], 'body_not_object'],
  ['pw', 'body_not_object'],
  [undefined, 'body_not_object'],
])('parseSetPassword %j', (body, expected) => {
  expect(outcome(body)).toEqual(expected);
});

test('every bad field is told at once, the first one is the reason', () => {
  expect(outcome({ password: '' }, '')).toEqual(['userId user_id_missing', 'password password_missing']);
  expect(() => parseSetPassword({}, 'o', '')).toThrow(expect.objectContaining({ reason: 'user_id_missing' }));
});

test('whatever comes in: what is taken keeps both limits, what is refused is not echoed', () => {
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 90 }), fc.string({ maxLength: 90 }));
  const property = fc.property(text, (password) => {
    try {
      const taken = parseSetPassword({ password }, 'o', 'u').password;
      expect(taken.reveal()).toBe(password);
      expect(taken.bytes().length).toBeLessThanOrEqual(72);
    } catch (error) {
      if (!('reason' in (error as object))) throw error;
      if (password.length > 12) expect(JSON.stringify(error)).not.toContain(JSON.stringify(password).slice(1, -1));
    }
  });
  fc.assert(property, { numRuns: 500, seed: 7 });
});
