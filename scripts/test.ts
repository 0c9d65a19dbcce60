/** `npm test`: servers first, then Vitest with the given arguments; the last line is `N passed, N failed`. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePostgres, ensureRedis } from './servers.ts';

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  testResults: { status: string; assertionResults: { status: string }[] }[];
}

const root = fileURLToPath(new URL('..', import.meta.url));
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');

const redis = await ensureRedis(process.env.REDIS_URL);
const postgres = await ensurePostgres(process.env.DATABASE_URL);
const folder = mkdtempSync(join(tmpdir(), 'passferry-report-'));
const report = join(folder, 'report.json');
try {
  const code = await run();
  const { passed, failed } = count(code);
  process.exitCode = code;
  console.log(`${passed} passed, ${failed} failed`);
} finally {
  rmSync(folder, { recursive: true, force: true });
  await Promise.all([redis.stop(), postgres.stop()]);
}

function run(): Promise<number> {
  const args = [
    'run',
    ...process.argv.slice(2),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ];
  const child = spawn(process.execPath, [vitest, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      // Hashing, sealing and name look-ups share these threads; libuv reads the number only at the start of a process.
      UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? String(availableParallelism() + 2),
      ...(redis.url && { PASSFERRY_TEST_REDIS_URL: redis.url }),
      ...(postgres.url && { PASSFERRY_TEST_DATABASE_URL: postgres.url }),
    },
  });
  // A terminal sends Ctrl-C to both of us; Vitest ends, and then we do.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve) => {
    child.once('error', () => resolve(1));
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}

/** A file that cannot be loaded has no failed test but is a failure, and so is a bad exit with nothing else to show. */
function count(code: number): { passed: number; failed: number } {
  let read: Report;
  try {
    read = JSON.parse(readFileSync(report, 'utf8')) as Report;
  } catch {
    return { passed: 0, failed: 1 };
  }
  const unloaded = read.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((each) => each.status === 'failed'),
  );
  const failed = read.numFailedTests + unloaded.length;
  return { passed: read.numPassedTests, failed: code === 0 ? failed : Math.max(1, failed) };
}
