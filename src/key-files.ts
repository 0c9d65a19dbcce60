import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
 * - `fingerprint.json`: the key of request fingerprints; only `serve` has it.
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
    write(dir, files.fingerprint, { current: randomBytes(32).toString('base64url') });
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

export function readFingerprintKey(dir: string): Buffer {
  return keyOf(read(dir, files.fingerprint)).current;
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
