import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { PassferryError } from '../errors.ts';
import type { JobKey } from '../signature.ts';
import { files, followKeyFile, readKeyFile, replaceKeyFile, withKeysLock } from './store.ts';

/** `shared.json`; all base64url, times RFC 3339. */
interface StoredJobKey {
  current: string;
  previous?: string;
  /** Accepted already, signs after the next rotation. */
  next?: string;
  rotatedAt?: string;
}

/** The job key as its file is now. Error: `config_invalid`. */
export function readJobKey(dir: string): JobKey {
  return decode(dir);
}

/** The job key of a process that stays: follows its file, within 2 s, and at once when a signature does not fit. */
export function followJobKey(dir: string): JobKey {
  const file = followKeyFile(dir, files.shared, () => decode(dir));
  let seen = file.get();
  return {
    // Only here, so that whoever reads `current` first sees three that belong together.
    get current() {
      seen = file.get();
      return seen.current;
    },
    get previous() {
      return seen.previous;
    },
    get next() {
      return seen.next;
    },
    refresh: file.refresh,
  };
}

/** Nothing signed lives longer: 30 days of a job, 7 of its outcome, a day's margin of each. */
const longestUseMs = 39 * 86_400_000;

export interface JobKeyChange {
  /** Only adds the next key, which everybody accepts from then on: the first half for copies on several machines. */
  prepare?: boolean;
  /** Drops a previous key that may still be needed. */
  force?: boolean;
}

/**
 * Current → previous, and the prepared or a new one → current. Errors: `key_refused` while something signed under the
 * present previous key may live, `config_invalid`.
 */
export function rotateJobKey(dir: string, { prepare = false, force = false }: JobKeyChange = {}): Promise<void> {
  return withKeysLock(dir, () => {
    const stored = readKeyFile<StoredJobKey>(dir, files.shared);
    const next = stored.next ?? randomBytes(32).toString('base64url');
    if (prepare) {
      if (!stored.next) replaceKeyFile(dir, files.shared, { ...stored, next });
      return;
    }
    if (stored.previous && !force) {
      const since = stored.rotatedAt ? Date.parse(stored.rotatedAt) : statSync(join(dir, files.shared)).mtimeMs;
      if (Date.now() - since < longestUseMs) {
        throw new PassferryError('key_refused', {
          message:
            'The job key was changed less than 39 days ago: jobs, outcomes and holds signed before that would count as forged. --force changes it all the same.',
        });
      }
    }
    const rotatedAt = new Date().toISOString();
    replaceKeyFile(dir, files.shared, { current: next, previous: stored.current, rotatedAt } satisfies StoredJobKey);
  });
}

/** When it was changed last, and whether a next one is prepared; undefined where there is no `shared.json`. */
export function describeJobKey(dir: string): { rotatedAt?: string; prepared: boolean } | undefined {
  if (!statSync(join(dir, files.shared), { throwIfNoEntry: false })) return undefined;
  const { rotatedAt, next } = readKeyFile<StoredJobKey>(dir, files.shared);
  return { ...(rotatedAt && { rotatedAt }), prepared: next !== undefined };
}

function decode(dir: string): JobKey {
  const { current, previous, next } = readKeyFile<StoredJobKey>(dir, files.shared);
  if (typeof current !== 'string' || current === '') {
    throw new PassferryError('config_invalid', {
      scope: 'backend',
      message: `The key file ${join(dir, files.shared)} holds no key.`,
    });
  }
  return {
    current: Buffer.from(current, 'base64url'),
    ...(previous && { previous: Buffer.from(previous, 'base64url') }),
    ...(next && { next: Buffer.from(next, 'base64url') }),
  };
}
