import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { under } from '../../src/worker/under.ts';

const listeners = (source: AbortSignal) => getEventListeners(source, 'abort').length;

test('a signal fires with the first of its sources, for its reason', async () => {
  const [stopping, other] = [new AbortController(), new AbortController()];
  const seen = await under([stopping.signal, other.signal], async (signal) => {
    expect(signal.aborted).toBe(false);
    other.abort('enough');
    stopping.abort('later');
    return signal.reason;
  });
  expect(seen).toBe('enough');
  expect(await under([stopping.signal], async ({ aborted, reason }) => [aborted, reason])).toEqual([true, 'later']);
});

test('nothing of it stays with a source that lives on, however the work ends', async () => {
  const stopping = new AbortController();
  for (const end of [async () => 'well', async () => Promise.reject(new Error('badly'))]) {
    await under([stopping.signal, AbortSignal.timeout(1_000)], async () => {
      expect(listeners(stopping.signal)).toBe(1);
      return end();
    }).catch(() => {});
    expect(listeners(stopping.signal)).toBe(0);
  }
});
