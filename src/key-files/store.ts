import {
  closeSync,
  fchownSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PassferryError, type Reason } from '../errors.ts';

/** Names of the files of a keys directory; see `key-files.ts`. */
export const files = {
  public: 'public.json',
  private: 'private.json',
  shared: 'shared.json',
  fingerprint: 'fingerprint.json',
} as const;

/** A key file → its JSON. Error: `config_invalid`, which names the file. */
export function readKeyFile<T>(dir: string, name: string): T {
  try {
    return JSON.parse(readFileSync(join(dir, name), 'utf8')) as T;
  } catch (cause) {
    // The parser's own text could quote the key.
    throw new PassferryError('config_invalid', {
      scope: 'backend',
      message: `The key file ${join(dir, name)} is missing or not valid JSON. "passferry up" and "passferry keys init" make one.`,
      cause,
    });
  }
}

/** Replaces a key file in one step (0600): after a crash or a power cut the old one or the new one is there, whole. */
export function replaceKeyFile(dir: string, name: string, value: unknown): void {
  const next = join(dir, `${name}.new`);
  // What a killed one left behind: nobody else writes while we have the lock.
  rmSync(next, { force: true });
  const file = openSync(next, 'wx', 0o600);
  try {
    writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
    // Root changes files of another user, who must still be able to read them.
    const old = statSync(join(dir, name), { throwIfNoEntry: false });
    if (old && process.getuid?.() === 0) fchownSync(file, old.uid, old.gid);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(next, join(dir, name));
  const folder = openSync(dir, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

const lockName = 'keys.lock';
const longestWaitMs = 10_000;

/**
 * Runs `change` while nobody else changes the pairs or the job key of this directory. Waits for others up to 10 s. Errors:
 * `key_refused` when the lock stays: it is never taken over, for two writers would lose a key.
 */
export function withKeysLock<T>(dir: string, change: () => T | Promise<T>): Promise<T> {
  return withLock(join(dir, lockName), { what: 'these keys', refused: 'key_refused' }, change);
}

/** The same with a lock of any name; `refused` is the reason when it stays. */
export async function withLock<T>(
  lock: string,
  { what, refused }: { what: string; refused: Reason },
  change: () => T | Promise<T>,
): Promise<T> {
  const until = performance.now() + longestWaitMs;
  for (;;) {
    try {
      closeSync(openSync(lock, 'wx', 0o600));
      break;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== 'EEXIST') throw unwritable(dirname(lock), cause);
      if (performance.now() > until) {
        throw new PassferryError(refused, {
          message: `Another change of ${what} is under way. If none is, one was killed: remove ${lock}.`,
        });
      }
    }
    await pause(20 + Math.random() * 30);
  }
  try {
    return await change();
  } finally {
    rmSync(lock, { force: true });
  }
}

function unwritable(dir: string, cause: unknown): PassferryError {
  return new PassferryError('config_invalid', { message: `The folder ${dir} is missing or cannot be written.`, cause });
}

export interface Followed<T> {
  /** What the file holds, looked at no longer than 2 s ago. */
  get(): T;
  /** Looks at once; true when the file has changed. */
  refresh(): boolean;
}

const followMs = 2_000;

/** A file that may be replaced while we run. One that cannot be read leaves the last value in force. */
export function followKeyFile<T>(dir: string, name: string, read: () => T): Followed<T> {
  const path = join(dir, name);
  let stamp = stampOf(path);
  let value = read();
  let lookedAt = performance.now();

  function refresh(): boolean {
    lookedAt = performance.now();
    const found = stampOf(path);
    if (found === undefined || found === stamp) return false;
    try {
      value = read();
      stamp = found;
      return true;
    } catch {
      // Half copied: looked at again.
      return false;
    }
  }

  return {
    get() {
      if (performance.now() - lookedAt > followMs) refresh();
      return value;
    },
    refresh,
  };
}

function stampOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${found.ino}:${found.mtimeMs}:${found.size}`;
}
