import { expect, test } from 'vitest';
import { spawnNode } from './kit/processes.ts';

/** The short form of `npm run chaos`: real workers killed, Redis and PostgreSQL restarted, v2 faulty; P1 to P4, P6, P7. */
test('what is accepted under fire ends once, in order, with nothing lost and nothing leaked', async () => {
  const seed = 1 + Math.floor(Math.random() * 1e6);
  console.log(`chaos seed ${seed}`);
  const args = ['--jobs', '240', '--users', '48', '--seconds', '10', '--seed', String(seed), '--json'];
  const child = spawnNode(['chaos/chaos.ts', ...args]);
  const { code } = await child.exited;
  const report = child.lines().find((line) => line.startsWith('{')) ?? child.lines().join('\n');
  expect(code, report).toBe(0);
  const { kills, freezes, accepted } = JSON.parse(report);
  expect(accepted).toBe(240);
  expect(kills + freezes).toBeGreaterThan(0);
});
