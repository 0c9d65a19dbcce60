import { expect, test } from 'vitest';
import { PassferryError } from '../../src/errors.ts';
import { createBackoff } from '../../src/worker/backoff.ts';

/** A clock that moves when told, and the middle of the jitter: factor 1. */
function make(random = 0.5) {
  let now = 1_000;
  const backoff = createBackoff(
    () => now,
    () => random,
  );
  return {
    backoff,
    pass: (ms: number) => {
      now += ms;
    },
  };
}
const down = (retryAfterMs?: number) =>
  new PassferryError('backend_down', { scope: 'backend', ...(retryAfterMs !== undefined && { retryAfterMs }) });

test('nothing waits before the first fault', () => {
  const { backoff } = make();
  expect([backoff.waitMs(), backoff.reason()]).toEqual([0, undefined]);
});

test('it doubles up to 30 s, and the first success ends it', () => {
  const { backoff, pass } = make();
  const waits = Array.from({ length: 9 }, () => {
    const ms = backoff.failed(down());
    pass(ms);
    return ms;
  });
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  expect(backoff.waitMs()).toBe(0);
  expect(backoff.reason()).toBe('backend_down');
  backoff.succeeded();
  expect([backoff.waitMs(), backoff.reason(), backoff.failed(down())]).toEqual([0, undefined, 500]);
});

test('many jobs that fail together are one fault', () => {
  const { backoff, pass } = make();
  for (let i = 0; i < 50; i++) expect(backoff.failed(down())).toBe(500);
  pass(200);
  expect(backoff.waitMs()).toBe(300);
  pass(300);
  expect(backoff.failed(down())).toBe(1_000);
});

test.each([
  [5_000, 5_000],
  [10, 500],
  [-1, 500],
  [Number.NaN, 500],
  [3_600_000, 600_000],
  [Number.POSITIVE_INFINITY, 600_000],
])('asked to wait %d ms it waits %d', (asked, waits) => {
  expect(make().backoff.failed(down(asked))).toBe(waits);
});

test('a shorter wait does not cut a longer one', () => {
  const { backoff } = make();
  backoff.failed(down(60_000));
  expect(backoff.failed(down())).toBe(60_000);
});

test.each([
  [0, 375],
  [1, 625],
])('jitter: random %d makes it %d ms', (random, ms) => {
  expect(make(random).backoff.failed(down())).toBe(ms);
});

test('when the wait is over one tries; the others wait for what becomes of it', () => {
  const { backoff, pass } = make();
  backoff.failed(down());
  pass(500);
  expect([backoff.waitMs(), backoff.waitMs(), backoff.waitMs()]).toEqual([0, 1_000, 1_000]);
  // It failed as well: that is the second failure.
  expect(backoff.failed(down())).toBe(1_000);
  pass(1_000);
  expect(backoff.waitMs()).toBe(0);
  backoff.succeeded();
  expect([backoff.waitMs(), backoff.waitMs()]).toEqual([0, 0]);
});

test('who tries and says nothing is followed by another one', () => {
  const { backoff, pass } = make();
  backoff.failed(down());
  pass(500);
  expect(backoff.waitMs()).toBe(0);
  pass(1_000);
  expect([backoff.waitMs(), backoff.waitMs()]).toEqual([0, 1_000]);
});
