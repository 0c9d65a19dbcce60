import { expect, test } from 'vitest';
import { spawnNode } from './kit/processes.ts';

/** The short form of `npm run rehearsal`: everybody from v1 to v2, back, and to v2 for good, while passwords are set and workers killed. */
test('a whole organization goes to v2 and back under fire: everybody logs in with the last password, wherever they stand', {
  timeout: 900_000,
}, async () => {
  const seed = 1 + Math.floor(Math.random() * 1e6);
  console.log(`rehearsal seed ${seed}`);
  const child = spawnNode(['chaos/rehearsal.ts', '--users', '60', '--seed', String(seed), '--json']);
  const { code } = await child.exited;
  const lines = child.lines();
  expect(code, lines.join('\n')).toBe(0);
  const report = JSON.parse(lines.find((line) => line.startsWith('{')) ?? '{}');
  expect(report).toMatchObject({ wrong: 0, disagree: 0, divergence: 0, uncounted: 0, callersFailed: 0 });
  expect(report.kills).toBeGreaterThan(2);
});
