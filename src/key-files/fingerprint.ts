import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassferryError } from '../errors.ts';
import { files, readKeyFile } from './store.ts';

/** One day's key of request fingerprints. */
export interface FingerprintKey {
  id: string;
  key: Buffer;
}

export interface FingerprintKeys {
  /**
   * Today's key; made when the day (UTC) has changed, and then those older than `retentionMs` and 31 days go. Where the
   * file cannot be rewritten, the newest key that is there.
   */
  current(retentionMs: number): FingerprintKey;
  /** Also one that another process has made meanwhile; undefined when it is gone. */
  find(id: string): FingerprintKey | undefined;
}

interface StoredFingerprintKey {
  id: string;
  /** base64url */
  key: string;
  /** UTC, `2026-01-31`. */
  day: string;
}

const dayMs = 86_400_000;
/** Longest expiry of a job and the day's margin of its record. */
const longestExpiryMs = 31 * dayMs;
const retryRotationMs = 60_000;

/** @param now ms since the epoch. Default: this machine's clock. Errors: `config_invalid`. */
export function readFingerprintKey(dir: string, now: () => number = Date.now): FingerprintKeys {
  let known = readStored(dir);
  let triedAt = Number.NEGATIVE_INFINITY;
  const lock = join(dir, `${files.fingerprint}.new`);

  function rotate(retentionMs: number): void {
    let file: number;
    let renamed = false;
    try {
      file = openSync(lock, 'wx', 0o600);
    } catch {
      // Read-only, or another process is at it; what a killed one left behind does not stay.
      if (ageOf(lock) > retryRotationMs) rmSync(lock, { force: true });
      known = readStored(dir);
      return;
    }
    try {
      // Read under the lock: another process may have made today's key.
      const stored = readStored(dir);
      known = stored;
      const today = dayOf(now());
      if (newest(stored).day >= today) return;
      const kept = stored.filter(({ day }) => now() - Date.parse(day) < retentionMs + longestExpiryMs + dayMs);
      const next = [makeFingerprintKey(today), ...kept];
      writeFileSync(file, `${JSON.stringify({ keys: next }, null, 2)}\n`);
      // On the disk before it is used: a lost key would refuse everybody's retries.
      fsyncSync(file);
      renameSync(lock, join(dir, files.fingerprint));
      renamed = true;
      known = next;
    } finally {
      closeSync(file);
      // Once renamed, the name is free for the next process's lock.
      if (!renamed) rmSync(lock, { force: true });
    }
  }

  return {
    current(retentionMs) {
      if (newest(known).day < dayOf(now()) && now() - triedAt >= retryRotationMs) {
        triedAt = now();
        try {
          rotate(retentionMs);
        } catch {
          // Yesterday's key still does its work.
        }
      }
      return usable(newest(known));
    },
    find(id) {
      const here = known.find((each) => each.id === id);
      if (here) return usable(here);
      try {
        known = readStored(dir);
      } catch {
        return undefined;
      }
      const there = known.find((each) => each.id === id);
      return there && usable(there);
    },
  };
}

function readStored(dir: string): StoredFingerprintKey[] {
  const stored = readKeyFile<{ keys?: StoredFingerprintKey[]; current?: string }>(dir, files.fingerprint);
  if (stored.keys?.length) return stored.keys;
  // One key for good, as the first version wrote it: as old as its file.
  if (stored.current) {
    return [{ id: 'first', key: stored.current, day: dayOf(statSync(join(dir, files.fingerprint)).mtimeMs) }];
  }
  throw new PassferryError('config_invalid', {
    scope: 'backend',
    message: `The key file ${join(dir, files.fingerprint)} holds no key.`,
  });
}

function newest(keys: StoredFingerprintKey[]): StoredFingerprintKey {
  return keys.reduce((latest, each) => (each.day > latest.day ? each : latest));
}

function usable({ id, key }: StoredFingerprintKey): FingerprintKey {
  return { id, key: Buffer.from(key, 'base64url') };
}

/** A new key for a day (UTC, `2026-01-31`). Default: today. */
export function makeFingerprintKey(day = dayOf(Date.now())): StoredFingerprintKey {
  return { id: randomBytes(6).toString('hex'), key: randomBytes(32).toString('base64url'), day };
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function ageOf(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}
