import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { spawnGuarded } from '../../src/embedded/spawn-guarded.ts';
import { atEnd } from './files.ts';
import { waitFor } from './wait.ts';

export interface TestProcess {
  pid: number;
  /** Everything it printed so far, both streams, in order of arrival. */
  lines(): string[];
  /** The first line, past or to come, that matches; default within 120 s. Says at once when it ended without one. */
  waitForLine(pattern: RegExp, timeoutMs?: number): Promise<string>;
  kill9(): void;
  /** SIGTERM. */
  term(): void;
  /** SIGSTOP: frozen until {@link cont}. */
  stop(): void;
  cont(): void;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** `node --import tsx …args` in the project's folder, with `env` on top of ours; killed after the test file. */
export function spawnNode(args: string[], env: Record<string, string> = {}): TestProcess {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST') && name !== 'NODE_ENV');
  const { child, stdout, stderr, exited } = spawnGuarded(process.execPath, ['--import', tsx, ...args], {
    signal: 'KILL',
    cwd: root,
    env: { ...Object.fromEntries(inherited), ...env },
  });
  const seen: string[] = [];
  let closed = false;
  for (const input of [stdout, stderr]) createInterface({ input }).on('line', (line) => seen.push(line));
  child.once('close', () => {
    closed = true;
  });
  atEnd(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return {
    pid: child.pid as number,
    lines: () => [...seen],
    async waitForLine(pattern, timeoutMs = 120_000) {
      const found = await waitFor(
        () => {
          const line = seen.find((each) => pattern.test(each));
          if (line !== undefined) return { line };
          return closed ? { line: undefined } : undefined;
        },
        { timeoutMs, what: `a line like ${pattern}; seen so far:\n${seen.join('\n')}` },
      );
      if (found.line === undefined) throw new Error(`ended without a line like ${pattern}; seen:\n${seen.join('\n')}`);
      return found.line;
    },
    kill9: () => void child.kill('SIGKILL'),
    term: () => void child.kill('SIGTERM'),
    stop: () => void child.kill('SIGSTOP'),
    cont: () => void child.kill('SIGCONT'),
    exited,
  };
}
