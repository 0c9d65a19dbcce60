import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { PassferryError } from '../errors.ts';
import type { KeyPair, KeyPairs, StoredPair } from '../seal.ts';
import { files, followKeyFile, readKeyFile, replaceKeyFile, withKeysLock } from './store.ts';

/** What passwords are sealed to. Error: `config_invalid`. */
export function readPublicKeys(dir: string): StoredPair[] {
  return readPairs(dir, files.public);
}

/** What opens them; destroyed pairs stand there without their key. Error: `config_invalid`. */
export function readPrivateKeys(dir: string): StoredPair[] {
  return readPairs(dir, files.private);
}

/** Both for processes that stay: they follow their file. */
export function followPublicKeys(dir: string): KeyPairs {
  return follow(dir, files.public);
}
export function followPrivateKeys(dir: string): KeyPairs {
  return follow(dir, files.private);
}

function follow(dir: string, name: string): KeyPairs {
  const file = followKeyFile(dir, name, () => readPairs(dir, name));
  return (now) => {
    if (now) file.refresh();
    return file.get();
  };
}

/** Makes the pair of a new directory. */
export async function createPairs(dir: string): Promise<void> {
  store(dir, [await makePair()]);
}

/** A new active pair; the one before goes on opening. Returns its kid. Errors: `config_invalid`, `key_refused`. */
export function addPair(dir: string): Promise<string> {
  return withKeysLock(dir, async () => {
    const pairs = readPrivateKeys(dir);
    const made = await makePair();
    store(dir, [
      made,
      ...pairs.map((pair) => (pair.state === 'active' ? { ...pair, state: 'accept' as const } : pair)),
    ]);
    return made.kid;
  });
}

/** Active → accept. Errors: `key_unknown`; `key_refused` for the only active one. */
export function retirePair(dir: string, kid: string): Promise<void> {
  return withKeysLock(dir, () => {
    const pairs = readPrivateKeys(dir);
    const pair = find(pairs, kid);
    if (pair.state === 'destroyed') throw refused('This pair is destroyed already.');
    if (!pairs.some((each) => each.kid !== kid && each.state === 'active')) {
      throw refused('No active pair would be left to seal to: make a new one first ("passferry keys new").');
    }
    store(
      dir,
      pairs.map((each) => (each.kid === kid ? { ...pair, state: 'accept' as const } : each)),
    );
  });
}

/**
 * Removes a private half for good; the entry stays, so that a worker knows the key as gone and does not wait for it.
 * `check` runs under the lock, before. Errors: `key_unknown`; `key_refused` for an active pair; what `check` throws.
 */
export function destroyPair(dir: string, kid: string, check: () => Promise<void> = async () => {}): Promise<void> {
  return withKeysLock(dir, async () => {
    const pairs = readPrivateKeys(dir);
    const pair = find(pairs, kid);
    if (pair.state === 'active') throw refused('This pair is active: "passferry keys new" makes its successor first.');
    if (pair.state === 'accept') await check();
    const gone: StoredPair =
      pair.state === 'destroyed'
        ? pair
        : {
            kid,
            state: 'destroyed',
            ...(pair.madeAt && { madeAt: pair.madeAt }),
            destroyedAt: new Date().toISOString(),
          };
    store(
      dir,
      pairs.map((each) => (each.kid === kid ? gone : each)),
    );
  });
}

/** The pairs of a directory without their keys; a folder of `serve` tells its public half. Error: `config_invalid`. */
export function listPairs(dir: string): Omit<StoredPair, 'jwk'>[] {
  const pairs = existsSync(join(dir, files.private)) ? readPrivateKeys(dir) : readPublicKeys(dir);
  return pairs.map((pair) => {
    const { jwk: _, ...told } = pair as KeyPair;
    // The first version did not write when; its day stands in the name.
    const day = /^\d{4}-\d\d-\d\d(?=-)/.exec(pair.kid)?.[0];
    return { ...told, ...(!pair.madeAt && day && { madeAt: day }) } as Omit<StoredPair, 'jwk'>;
  });
}

async function makePair(): Promise<KeyPair> {
  const { privateKey } = await generateKeyPair('ECDH-ES+A256KW', { crv: 'X25519', extractable: true });
  const madeAt = new Date().toISOString();
  const kid = `${madeAt.slice(0, 10)}-${randomBytes(4).toString('hex')}`;
  return { kid, state: 'active', madeAt, jwk: await exportJWK(privateKey) };
}

/** The private halves first: what nobody could open must never be sealed to. */
function store(dir: string, pairs: StoredPair[]): void {
  replaceKeyFile(dir, files.private, { keys: pairs });
  writePublicHalves(dir, pairs);
}

/** Made from the private ones each time, so that a crash between the two is mended by the next change. */
export function writePublicHalves(dir: string, pairs = readPrivateKeys(dir)): void {
  replaceKeyFile(dir, files.public, {
    keys: pairs.map((pair) => (pair.state === 'destroyed' ? pair : { ...pair, jwk: publicHalf(pair.jwk) })),
  });
}

/** Named one by one: nothing of a private key may slip through. */
function publicHalf({ kty, crv, x }: JWK): JWK {
  return { kty, crv, x } as JWK;
}

function readPairs(dir: string, name: string): StoredPair[] {
  const { keys } = readKeyFile<{ keys?: StoredPair[] }>(dir, name);
  if (Array.isArray(keys)) return keys;
  throw new PassferryError('config_invalid', {
    scope: 'backend',
    message: `The key file ${join(dir, name)} holds no keys.`,
  });
}

function find(pairs: StoredPair[], kid: string): StoredPair {
  const found = pairs.find((pair) => pair.kid === kid);
  if (!found) throw new PassferryError('key_unknown');
  return found;
}

function refused(message: string): PassferryError {
  return new PassferryError('key_refused', { message });
}
