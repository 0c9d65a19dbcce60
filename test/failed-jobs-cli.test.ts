import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import type { Passferry } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
let pf: Passferry;

beforeAll(async () => {
  pf = await startPassferry();
});

function cli(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token };
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], { cwd: root, env });
  const printed = { out: '', err: '' };
  child.stdout.on('data', (part) => (printed.out += part));
  child.stderr.on('data', (part) => (printed.err += part));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...printed }));
  });
}

async function fail(user: string): Promise<string> {
  const { body } = await pf.set('acme', user, newPassword(), { headers: { prefer: 'respond-async' } });
  expect((await pf.done(body.id)).state).toBe('failed');
  return body.id;
}

it('jobs tells who and why, retry takes all that match, drop gives one up', async () => {
  expect((await cli('jobs', '--org', 'acme')).out).toBe('no failed jobs\n');
  const [user, other] = [randomUUID(), randomUUID()];
  const [first, second] = [await fail(user), await fail(other)];

  const listed = await cli('jobs');
  expect(listed.code).toBe(0);
  expect(listed.out).toMatch(new RegExp(`${first}  .* UTC  user ${user}: Password not found \\(COMMAND-G8dh3\\)`));
  expect(listed.out).toContain('can be retried until');
  expect(listed.err).toContain('2 failed jobs: 2 COMMAND-G8dh3');
  const lines = (await cli('jobs', '--json', '--user', other)).out.trim().split('\n');
  expect(lines.map((line) => JSON.parse(line).id)).toEqual([second]);

  await pf.addV1({ id: user, org: 'acme' });
  expect((await cli('retry', '--all', '--reason', 'COMMAND-G8dh3', '--user', user)).out).toBe(
    '1 of 1 failed job on their way again\n',
  );
  expect(await pf.done(first)).toMatchObject({ outcome: { result: 'set' } });

  expect(await cli('drop', second, '--reason', 'left')).toMatchObject({ code: 0 });
  const again = await cli('retry', second, first);
  expect(again.code).toBe(1);
  expect(again.out).toContain(`${second}: NOT retried`);
  expect(again.out).toContain('(secret_destroyed)');
  expect(again.out).toContain('(job_not_failed)');
});

it('retry wants ids or --all, not both and not neither', async () => {
  expect(await cli('retry')).toMatchObject({ code: 2 });
  expect(await cli('retry', 'j0-x', '--all')).toMatchObject({ code: 2 });
  expect(await cli('retry', 'j0-x', '--reason', 'x')).toMatchObject({ code: 2 });
});
