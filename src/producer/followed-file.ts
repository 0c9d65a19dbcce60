import { statSync } from 'node:fs';
import type { PassferryError } from '../errors.ts';

export interface FollowedFile<T> {
  /** What the file held when it was last good. */
  get(): T;
  /** Looks again: at once, or when the last look is 2 s ago. */
  refresh(now: boolean): void;
}

const followMs = 2_000;

/**
 * A file that may be replaced while we run. With an error at the start `read` throws; later the last good value stays and
 * `onError` is told, once for each change.
 */
export function followFile<T>(path: string, read: () => T, onError: (error: PassferryError) => void): FollowedFile<T> {
  // Before reading: what changes meanwhile is seen at the next look.
  let stamp = stampOf(path);
  let value = read();
  let lookedAt = performance.now();
  return {
    get: () => value,
    refresh(now) {
      if (!now && performance.now() - lookedAt < followMs) return;
      lookedAt = performance.now();
      const seen = stampOf(path);
      if (seen === stamp) return;
      stamp = seen;
      try {
        value = read();
      } catch (error) {
        onError(error as PassferryError);
      }
    },
  };
}

function stampOf(path: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return 'missing';
  }
}
