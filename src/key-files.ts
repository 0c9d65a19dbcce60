import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeFingerprintKey } from './key-files/fingerprint.ts';
import { createPairs, writePublicHalves } from './key-files/pairs.ts';
import { files, replaceKeyFile, withKeysLock } from './key-files/store.ts';

export { type FingerprintKey, type FingerprintKeys, readFingerprintKey } from './key-files/fingerprint.ts';
export { describeJobKey, followJobKey, readJobKey, rotateJobKey } from './key-files/job-key.ts';
export {
  addPair,
  destroyPair,
  followPrivateKeys,
  followPublicKeys,
  listPairs,
  readPrivateKeys,
  readPublicKeys,
  retirePair,
} from './key-files/pairs.ts';

/**
 * The files of a keys directory, all 0600:
 * - `public.json`: what `serve` seals to. Read from a file, never from Redis, where a writer could swap it.
 * - `private.json`: what `work` opens with. A producer does not have it.
 * - `shared.json`: the job key of both (ids, signatures): current, previous, and a prepared next one.
 * - `fingerprint.json`: the keys of request fingerprints, one a day; only `serve` has it, and rewrites it.
 *
 * Makes what is missing, touches nothing that is there. Error: `key_refused` while another change is under way.
 * Where there are public keys only, no private ones are made: they would open nothing.
 */
export async function createKeyFiles(dir: string): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const missing = (name: string) => !existsSync(join(dir, name));
  if (!Object.values(files).some(missing)) return;
  await withKeysLock(dir, async () => {
    if (missing(files.private) && missing(files.public)) await createPairs(dir);
    if (missing(files.public)) writePublicHalves(dir);
    if (missing(files.shared)) {
      replaceKeyFile(dir, files.shared, { current: randomBytes(32).toString('base64url') });
    }
    if (missing(files.fingerprint)) replaceKeyFile(dir, files.fingerprint, { keys: [makeFingerprintKey()] });
  });
}
