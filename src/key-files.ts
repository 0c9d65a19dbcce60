import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import { PassferryError } from './errors.ts';
import type { KeyPair } from './seal.ts';
import type { JobKey } from './signature.ts';

/**
 * The files of a keys directory, all 0600:
 * - `public.json`: what `serve` seals to. Read from a file, never from Redis, where a writer could swap it.
 * - `private.json`: what `work` opens with. A producer does not have it.
 * - `shared.json`: the job key of both (ids, signatures), current and previous.
 * - `fingerprint.json`: the keys of request fingerprints, one a day; only `serve` has it, and rewrites it.
 */
const files = {
  public: 'public.json',
  private: 'private.json',
  shared: 'shared.json',
  fingerprint: 'fingerprint.json',
} as const;

/** Makes what is missing, touches nothing that is there. */
export async function createKeyFiles(dir: string): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (!existsSync(join(dir, files.private))) {
    const pair = await generateKeyPair('ECDH-ES+A256KW', { crv: 'X25519', extractable: true });
    const kid = `${new Date().toISOString().slice(0, 10)}-${randomBytes(4).toString('hex')}`;
    const set = (jwk: unknown) => ({ keys: [{ kid, state: 'active', jwk }] });
    write(dir, files.public, set(await exportJWK(pair.publicKey)));
    write(dir, files.private, set(await exportJWK(pair.privateKey)));
  }
  if (!existsSync(join(dir, files.shared))) {
    write(dir, files.shared, { current: randomBytes(32).toString('base64url') });
  }
  if (!existsSync(join(dir, files.fingerprint))) {
    write(dir, files.fingerprint, { keys: [makeFingerprintKey(dayOf(Date.now()))] });
  }
}

export function readPublicKeys(dir: string): KeyPair[] {
  return read<{ keys: KeyPair[] }>(dir, files.public).keys;
}

export function readPrivateKeys(dir: string): KeyPair[] {
  return read<{ keys: KeyPair[] }>(dir, files.private).keys;
}

export function readJobKey(dir: string): JobKey {
  return keyOf(read(dir, files.shared));
}

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
  const stored = read<{ keys?: StoredFingerprintKey[]; current?: string }>(dir, files.fingerprint);
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

function makeFingerprintKey(day: string): StoredFingerprintKey {
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

function keyOf(stored: { current: string; previous?: string }): JobKey {
  const current = Buffer.from(stored.current, 'base64url');
  return stored.previous ? { current, previous: Buffer.from(stored.previous, 'base64url') } : { current };
}

function write(dir: string, name: string, value: unknown): void {
  writeFileSync(join(dir, name), `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
}

function read<T>(dir: string, name: string): T {
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
