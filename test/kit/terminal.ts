import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { atEnd } from './files.ts';
import { waitFor } from './wait.ts';

/** `script` of util-linux gives a program a terminal of its own; undefined: it is here. */
export const noTerminal: string | undefined =
  spawnSync('script', ['-qec', 'true', '/dev/null'], { stdio: 'ignore' }).status === 0
    ? undefined
    : 'no script(1) of util-linux, which gives a program a terminal';

const root = fileURLToPath(new URL('../..', import.meta.url));
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** `passferry …args` as somebody at a terminal sees it. */
export function atTerminal(args: string[], env: Record<string, string>) {
  const command = [process.execPath, '--import', 'tsx', 'src/cli/main.ts', ...args].map(quoted).join(' ');
  const child = spawn('script', ['-qfec', `exec ${command}`, '/dev/null'], {
    cwd: root,
    env: { PATH: process.env.PATH, TERM: 'xterm', SHELL: '/bin/sh', ...env },
  });
  let screen = '';
  child.stdout.on('data', (bytes: Buffer) => {
    screen += bytes.toString();
  });
  child.stdin.on('error', () => {});
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  const shown = () => stripVTControlCharacters(screen);
  let over = false;
  exited.then(() => {
    over = true;
  });
  atEnd(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return {
    /** Everything that was written to the terminal, without colours and moves. */
    screen: shown,
    /** Waits for it; says at once when the program ended without it. */
    async sees(pattern: RegExp): Promise<void> {
      await waitFor(() => over || pattern.test(shown()), { what: `${pattern} on the screen` }).catch(() => {});
      if (!pattern.test(shown())) throw new Error(`no ${pattern} on the screen:\n${shown()}`);
    },
    /** As typed; `\r` is Enter, `\u0003` Ctrl-C. */
    type: (keys: string) => void child.stdin.write(keys),
    exited,
  };
}
