import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { findProgram } from '../src/embedded/find-program.ts';

const policy = '/usr/sbin/policy-rc.d';
let updated = false;

/** May we install Debian packages here? */
export function aptAvailable(): boolean {
  return process.getuid?.() === 0 && findProgram(['apt-get']) !== undefined;
}

/** Installs a package without letting it start a server. The output of apt-get goes to stderr. False when it failed. */
export function aptInstall(name: string): boolean {
  // Ctrl-C ends apt-get; we live on to remove the guard.
  const ignore = () => {};
  process.on('SIGINT', ignore).on('SIGTERM', ignore);
  const guarded = !existsSync(policy);
  try {
    // 101 = "not allowed": what packages ask before they start what they installed.
    if (guarded) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
    // An update that fails may still leave a usable list.
    if (!updated) apt(['update']);
    updated = true;
    return apt(['install', '-y', '--no-install-recommends', name]);
  } finally {
    if (guarded) rmSync(policy, { force: true });
    process.off('SIGINT', ignore).off('SIGTERM', ignore);
  }
}

function apt(args: string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}
