import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

/**
 * The watcher reads a pipe that only we hold open: however we die, kill -9 included, it sees the end and signals the
 * program. `exec` makes the program keep the shell's pid. The program is told apart from the watcher by its own session
 * (`detached`), so that Ctrl-C reaches us first and we decide when it stops.
 */
const watch = 'signal=$1; shift; (read _; kill -s "$signal" $$) <&3 >/dev/null 2>&1 & exec "$@" 3<&-';

export interface GuardedOptions {
  /** What the program gets when this process is gone. Default `TERM`. */
  signal?: 'TERM' | 'QUIT' | 'KILL';
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
}

export interface Guarded {
  child: ChildProcess;
  stdout: Readable;
  stderr: Readable;
  /** Settles when the program is gone; never rejects. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Starts a program that cannot outlive this process. Needs a POSIX shell. The program's pid is `child.pid`. */
export function spawnGuarded(program: string, args: string[], options: GuardedOptions = {}): Guarded {
  const { signal = 'TERM', ...rest } = options;
  const child = spawn('/bin/sh', ['-c', watch, 'sh', signal, program, ...args], {
    ...rest,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, by) => {
      child.stdio[3]?.destroy();
      resolve({ code, signal: by });
    });
    child.once('error', () => resolve({ code: null, signal: null }));
  });
  child.stdio[3]?.on('error', () => {});
  const { stdout, stderr } = child;
  if (!stdout || !stderr) throw new Error('a piped child has both streams');
  return { child, stdout, stderr, exited };
}
