import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Environment } from './config.ts';
import { spawnGuarded } from './embedded/spawn-guarded.ts';
import type { QuarantineWay } from './worker/quarantine.ts';

/**
 * Quarantined jobs run in `passferry work --quarantine`, with the configuration of this worker; it cannot outlive us. Its
 * log goes where ours goes. Where our command line is not beside us (a bundle), jobs are held for a person at once.
 */
export function quarantineProcess(environment: Environment): QuarantineWay {
  const main = fileURLToPath(new URL(`./cli/main${extname(fileURLToPath(import.meta.url))}`, import.meta.url));
  if (!existsSync(main)) return { kind: 'none' };
  const env: Environment = {
    ...process.env,
    ...environment,
    // One job at a time: the usual pool is enough, and `work` need not start itself again to get another.
    UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '4',
  };
  // The ports are ours.
  delete env.PASSFERRY_HEALTH_LISTEN;
  delete env.PASSFERRY_ADMIN_LISTEN;
  return {
    kind: 'process',
    start() {
      const args = [...process.execArgv, main, 'work', '--quarantine'];
      const { child, stdout, stderr, exited } = spawnGuarded(process.execPath, args, { env });
      stdout.pipe(process.stdout, { end: false });
      stderr.pipe(process.stderr, { end: false });
      return { exited, stop: () => void child.kill('SIGTERM') };
    },
  };
}
