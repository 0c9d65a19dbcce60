import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { codes, PassferryError, reasons, toPassferryError } from '../src/errors.ts';

test.each(Object.entries(reasons))('%s has a code of ours and a fixed text', (reason, [code, text]) => {
  const error = new PassferryError(reason);
  expect(codes).toHaveProperty(code);
  expect(error).toMatchObject({ code, reason, message: text, scope: 'user', effect: 'none', fields: [] });
  expect(text).toMatch(/\S/);
});

test('every code but our own one has the number and the status of gRPC, each once', () => {
  const { expired, ...canonical } = codes;
  expect(
    Object.values(canonical)
      .map(({ grpc }) => grpc)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
  expect(expired.http).not.toBe(codes.deadline_exceeded.http);
  for (const { exit, http } of Object.values(codes)) {
    expect(exit).toBeGreaterThan(0);
    expect(http).toBeGreaterThanOrEqual(400);
  }
});

test('an id of ZITADEL is a reason too; an unknown one gets a text of ours', () => {
  const known = new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition', message: 'Password not found' });
  expect(known.toJSON()).toEqual({
    code: 'failed_precondition',
    reason: 'COMMAND-G8dh3',
    message: 'Password not found',
  });
  expect(new PassferryError('NEW-abc12')).toMatchObject({ code: 'unknown', message: reasons.refused[1] });
});

test('a cause is never printed and never sent', () => {
  const cause = new Error('ERR near: SET pw hunter22');
  const error = new PassferryError('redis_down', { scope: 'backend', cause });
  for (const text of [JSON.stringify(error), inspect(error), inspect({ error }, { depth: 9 }), `${error}`]) {
    expect(text).toContain(reasons.redis_down[1]);
    expect(text).not.toContain('hunter22');
  }
});

test('what is not ours becomes one of ours whose text says nothing of it', () => {
  const own = new PassferryError('held');
  expect(toPassferryError(own)).toBe(own);
  for (const thrown of [new Error('hunter22'), 'hunter22', undefined, { reason: 'held' }]) {
    const error = toPassferryError(thrown);
    expect(error).toMatchObject({ reason: 'internal', scope: 'backend', message: reasons.internal[1] });
  }
  expect(toPassferryError('x', 'refused', 'user')).toMatchObject({ reason: 'refused', scope: 'user' });
});
