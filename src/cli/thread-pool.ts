import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';

/**
 * bcrypt, WebCrypto and DNS share libuv's pool, and its size is fixed when the process starts: cores for hashing and two
 * to spare. Starts this same command again with the size set; resolves with its exit code, or undefined when the size is
 * set already. The second process ends with the first, also when that is killed without a word.
 */
export async function withThreadPool(): Promise<number | undefined> {
  if (process.env.UV_THREADPOOL_SIZE) {
    process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
    process.channel?.unref();
    return undefined;
  }
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, UV_THREADPOOL_SIZE: String(availableParallelism() + 2) },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
