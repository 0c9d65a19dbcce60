import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { CompactEncrypt, compactDecrypt, importJWK, type JWK } from 'jose';
import { PassferryError } from './errors.ts';
import { Secret } from './secret.ts';
import { type JobKey, sign, verify } from './signature.ts';

/** What a sealed password is bound to: opened under another identity it is unreadable. */
export interface Identity {
  jobId: string;
  org: string;
  user: string;
  seq: string;
}

/** Where wrapped data keys live: `put` keeps one until `until` (ms since the epoch); later puts may lengthen that. */
export interface DataKeyStore {
  put(id: string, wrapped: string, until: number): Promise<void>;
  get(id: string): Promise<string | undefined>;
}

/** A key of the workers' pair set. `active` encrypts, `accept` only decrypts. */
export interface KeyPair {
  kid: string;
  state: 'active' | 'accept';
  jwk: JWK;
  /** RFC 3339. */
  madeAt?: string;
}

/** What is left of a pair that was destroyed on purpose. */
export interface DestroyedPair {
  kid: string;
  state: 'destroyed';
  madeAt?: string;
  destroyedAt: string;
}

export type StoredPair = KeyPair | DestroyedPair;

/** Fixed, or asked each time; `now` asks for what the file holds at this moment. */
export type KeyPairs = readonly StoredPair[] | ((now?: boolean) => readonly StoredPair[]);

export interface SealedPassword {
  dataKey: string;
  sealed: string;
}

interface DataKey {
  id: string;
  bytes: Buffer;
  madeAt: number;
  /** Until when the store keeps it. */
  keptUntil: number;
}

/** Every plaintext is padded to this, so that the ciphertext does not tell the password's length. */
const paddedBytes = 256;
/** A new data key per producer process and hour. */
const dataKeyLifeMs = 3_600_000;
/** A data key outlives the last job under it by this: settling and retries by hand need it. */
const graceMs = 25 * 3_600_000;

/** When the key of a run goes, ms since the epoch. */
export const runKeyUntil = (expiresAt: number) => expiresAt + graceMs;

export type Sealer = (password: Secret, identity: Identity, expiresAt: number) => Promise<SealedPassword>;

async function wrapNew(publicKeys: KeyPairs, jobKey: JobKey) {
  const pair = pairsOf(publicKeys, true).find((key) => key.state === 'active');
  if (pair?.state !== 'active') throw new PassferryError('config_invalid', { scope: 'backend' });
  const bytes = randomBytes(32);
  const id = randomBytes(12).toString('base64url');
  const wrapped = await new CompactEncrypt(bytes)
    .setProtectedHeader({ alg: 'ECDH-ES+A256KW', enc: 'A256GCM', kid: pair.kid })
    .encrypt(await importJWK(pair.jwk, 'ECDH-ES+A256KW'));
  return { id, bytes, wrapped: `${wrapped}~${sign(jobKey, 'data-key', [id, wrapped])}` };
}

/** A data key of a run's own, stored until the run is over: without it nothing of the run can be opened. */
export async function makeRunKey(
  publicKeys: KeyPairs,
  jobKey: JobKey,
  store: DataKeyStore,
  expiresAt: number,
): Promise<{ id: string; bytes: Buffer }> {
  const { id, bytes, wrapped } = await wrapNew(publicKeys, jobKey);
  await store.put(id, wrapped, runKeyUntil(expiresAt));
  return { id, bytes };
}

/** Producers hold public keys only: what they have sealed they cannot open again. */
export function createSealer(publicKeys: KeyPairs, jobKey: JobKey, store: DataKeyStore): Sealer {
  let current: Promise<DataKey> | undefined;

  async function makeDataKey(): Promise<DataKey> {
    const { id, bytes, wrapped } = await wrapNew(publicKeys, jobKey);
    const key: DataKey = { id, bytes, madeAt: Date.now(), keptUntil: 0 };
    wrappedOf.set(key, wrapped);
    return key;
  }
  const wrappedOf = new WeakMap<DataKey, string>();

  async function dataKey(): Promise<DataKey> {
    const key = await current?.catch(() => undefined);
    if (key && Date.now() - key.madeAt < dataKeyLifeMs) return key;
    current = makeDataKey();
    return current;
  }

  return async (password, identity, expiresAt) => {
    const key = await dataKey();
    const until = expiresAt + graceMs;
    // Stored before anything is sealed under it, and again when a job outlives what was promised.
    if (until > key.keptUntil) {
      const keptUntil = until + dataKeyLifeMs;
      await store.put(key.id, wrappedOf.get(key) as string, keptUntil);
      key.keptUntil = keptUntil;
    }
    const plain = Buffer.alloc(paddedBytes);
    const bytes = password.bytes();
    plain.writeUInt16BE(bytes.length, 0);
    bytes.copy(plain, 2);
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce).setAAD(aad(key.id, identity));
    const sealed = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    plain.fill(0);
    return { dataKey: key.id, sealed: sealed.toString('base64url') };
  };
}

export type Opener = ((sealed: SealedPassword, identity: Identity) => Promise<Secret>) & {
  /** A data key, unwrapped. Errors: those of opening. */
  keyOf(id: string): Promise<Buffer>;
};

/**
 * Opens what a producer sealed. Errors: `sealed_unreadable` (altered, truncated, or moved to another job),
 * `sealed_key_destroyed` (its data key or key pair is gone), `sealed_key_unknown` (scope `backend`: its pair has not reached
 * this worker, and may).
 */
export function createOpener(
  privateKeys: KeyPairs,
  jobKey: JobKey,
  store: DataKeyStore,
  onForged: (dataKey: string) => void = () => {},
): Opener {
  const cache = new Map<string, Promise<{ kid: string; bytes: Buffer }>>();

  function pairOf(kid: string | undefined): KeyPair {
    const find = (now: boolean) => pairsOf(privateKeys, now).find((key) => key.kid === kid);
    const pair = find(false) ?? find(true);
    if (!pair) throw new PassferryError('sealed_key_unknown', { scope: 'backend' });
    if (pair.state === 'destroyed') throw new PassferryError('sealed_key_destroyed');
    return pair;
  }

  async function unwrap(id: string): Promise<{ kid: string; bytes: Buffer }> {
    const stored = await store.get(id);
    const [wrapped, mac] = stored?.split('~') ?? [];
    // A forged data key counts as absent.
    if (!wrapped || !mac || !verify(jobKey, 'data-key', [id, wrapped], mac)) {
      if (stored) onForged(id);
      throw new PassferryError('sealed_key_destroyed');
    }
    const pair = pairOf(pairNamedBy(wrapped));
    try {
      const { plaintext } = await compactDecrypt(wrapped, await importJWK(pair.jwk, 'ECDH-ES+A256KW'));
      return { kid: pair.kid, bytes: Buffer.from(plaintext) };
    } catch (cause) {
      throw new PassferryError('sealed_unreadable', { cause });
    }
  }

  async function keyOf(dataKey: string): Promise<Buffer> {
    let unwrapped = cache.get(dataKey);
    if (!unwrapped) {
      if (cache.size >= 64) cache.delete(cache.keys().next().value as string);
      unwrapped = unwrap(dataKey);
      cache.set(dataKey, unwrapped);
      unwrapped.catch(() => cache.delete(dataKey));
    }
    const { kid, bytes: key } = await unwrapped;
    // A pair that was destroyed since opens nothing more, whatever is remembered.
    pairOf(kid);
    return key;
  }

  const open = async ({ dataKey, sealed }: SealedPassword, identity: Identity): Promise<Secret> => {
    const key = await keyOf(dataKey);
    const raw = Buffer.from(sealed, 'base64url');
    if (raw.length !== 12 + paddedBytes + 16) throw new PassferryError('sealed_unreadable');
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, raw.subarray(0, 12))
        .setAAD(aad(dataKey, identity))
        .setAuthTag(raw.subarray(12 + paddedBytes));
      const plain = Buffer.concat([decipher.update(raw.subarray(12, 12 + paddedBytes)), decipher.final()]);
      const secret = Buffer.from(plain.subarray(2, 2 + plain.readUInt16BE(0)));
      plain.fill(0);
      return new Secret(secret);
    } catch (cause) {
      throw new PassferryError('sealed_unreadable', { cause });
    }
  };
  return Object.assign(open, { keyOf });
}

function aad(dataKey: string, { jobId, org, user, seq }: Identity): Buffer {
  return Buffer.from(JSON.stringify(['passferry-sealed', 1, dataKey, jobId, org, user, seq]));
}

function pairsOf(pairs: KeyPairs, now: boolean): readonly StoredPair[] {
  return typeof pairs === 'function' ? pairs(now) : pairs;
}

/** The kid of the pair that a wrapped data key was made for, as it says itself: nothing is checked. */
export function pairNamedBy(wrapped: string): string | undefined {
  try {
    return JSON.parse(Buffer.from(wrapped.split('.')[0] ?? '', 'base64url').toString()).kid;
  } catch {
    return undefined;
  }
}
