import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

test('what was started again for its thread pool ends with the first process, also when that is killed', async () => {
  const first = spawnNode(['src/cli/main.ts', 'sandbox', '--port', '0'], { UV_THREADPOOL_SIZE: '' });
  await first.waitForLine(/http:/);
  const second = Number(
    execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(first.pid)], { encoding: 'utf8' })
      .split('\n')
      .find((line) => line.includes('sandbox'))
      ?.trim()
      .split(' ')[0],
  );
  expect(second).toBeGreaterThan(0);
  first.kill9();
  await first.exited;
  const isThere = () => {
    try {
      return process.kill(second, 0);
    } catch {
      return false;
    }
  };
  await waitFor(() => !isThere(), { what: 'the second process to end' });
});
