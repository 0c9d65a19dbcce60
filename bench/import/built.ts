import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { spawnGuarded } from '../../src/embedded/spawn-guarded.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = `${root}node_modules/.cache/passferry-bench`;

/** Compiles the program as it is shipped: what compiles while it runs would be measured with it. */
export function build(): void {
  mkdirSync(folder, { recursive: true });
  copyFileSync(`${root}package.json`, `${folder}/package.json`);
  execFileSync(process.execPath, [
    ...[`${root}node_modules/typescript/bin/tsc`, '-p', `${root}tsconfig.build.json`],
    ...['--outDir', `${folder}/dist`, '--incremental', 'false', '--noEmitOnError', 'false', '--noCheck'],
  ]);
}

/**
 * What `bench/import.ts <args>` prints, compiled: what runs sources gives each closure its name whenever it is made, which nobody's
 * installation does.
 */
export function benchBuilt(args: string[]): unknown {
  const all = `${folder}/all`;
  mkdirSync(all, { recursive: true });
  copyFileSync(`${root}package.json`, `${all}/package.json`);
  execFileSync(process.execPath, [
    ...[`${root}node_modules/typescript/bin/tsc`, '-p', `${root}tsconfig.json`, '--noEmit', 'false', '--noCheck'],
    ...['--rootDir', root, '--outDir', all],
  ]);
  const options = { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] as ['ignore', 'pipe', 'inherit'] };
  return JSON.parse(execFileSync(process.execPath, [`${all}/bench/import.js`, ...args], options).toString());
}

/** `passferry <args>` as a process of its own; ended by `end`. */
export function startBuilt(args: string[], env: Record<string, string>) {
  const { child, stdout, stderr, exited } = spawnGuarded(process.execPath, [`${folder}/dist/cli/main.js`, ...args], {
    signal: 'KILL',
    cwd: root,
    env: { ...process.env, ...env },
  });
  stderr.resume();
  const lines = createInterface({ input: stdout });
  return {
    pid: child.pid as number,
    /** The first line with this text. */
    line: (text: string) =>
      new Promise<string>((resolve, reject) => {
        lines.on('line', (line) => line.includes(text) && resolve(line));
        void exited.then(() => reject(new Error(`passferry ${args[0]} ended too early`)));
      }),
    async end(): Promise<void> {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
