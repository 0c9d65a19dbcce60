import { getEventListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { under } from '../src/under.ts';

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

test('a hundred at once are no leak', async () => {
  const warnings: string[] = [];
  const note = ({ name }: Error) => warnings.push(name);
  process.on('warning', note);
  const stopping = new AbortController();
  const working = Array.from({ length: 100 }, () => under([stopping.signal, undefined], async () => setImmediate()));
  expect(listeners(stopping.signal)).toBe(100);
  await Promise.all(working);
  await setImmediate();
  process.off('warning', note);
  expect(warnings).toEqual([]);
});
