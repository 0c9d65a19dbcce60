import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bytes } from './canary.ts';
import { tempDir } from './files.ts';
import { spawnNode, type TestProcess } from './processes.ts';
import { waitFor } from './wait.ts';

/** The switches by which people make libraries talk. */
export const debugging = { DEBUG: 'ioredis:*', NODE_DEBUG: 'http,http2,net,tls,fetch,undici' };

/** What a process is asked about; see {@link Watched.read}. */
export const watchedPlaces = ['output', 'arguments and environment', 'traces', 'temporary files', 'idle heap'] as const;
export type WatchedPlace = (typeof watchedPlaces)[number];

export interface Watched {
  child: TestProcess;
  /** Everything that can be had of it, as bytes in a text; takes a heap snapshot, so ask when it is idle. */
  read(): Promise<Record<WatchedPlace, string>>;
}

/**
 * `passferry <name>` with debug output, a tracing exporter, and a folder of its own for temporary files.
 *
 * @param control core of the canary that `watched.ts` plants in every place
 */
export function spawnWatched(name: string, control: string, env: Record<string, string>): Watched {
  const dir = tempDir();
  const tmp = join(dir, 'tmp');
  mkdirSync(tmp);
  const hook = fileURLToPath(new URL('watched.ts', import.meta.url));
  const child = spawnNode(['--import', hook, 'src/cli/main.ts', name], {
    ...env,
    ...debugging,
    TMPDIR: tmp,
    WATCH_DIR: dir,
    WATCH_CONTROL: control,
  });
  const file = (path: string) => readFileSync(path).toString('latin1');

  return {
    child,
    async read() {
      process.kill(child.pid, 'SIGWINCH');
      const snapshot = join(dir, 'idle.heapsnapshot');
      await waitFor(() => existsSync(snapshot), { what: `the heap of ${name}` });
      // Its strings as they are, not as JSON writes them.
      const { strings } = JSON.parse(readFileSync(snapshot, 'utf8')) as { strings: string[] };
      const files = readdirSync(tmp, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      return {
        output: bytes(child.lines().join('\n')),
        'arguments and environment': file(`/proc/${child.pid}/cmdline`) + file(`/proc/${child.pid}/environ`),
        traces: file(join(dir, 'traces')),
        'temporary files': files.map((each) => file(join(each.parentPath, each.name))).join('\n'),
        'idle heap': strings.map(bytes).join('\n'),
      };
    },
  };
}
