import { randomBytes } from 'node:crypto';
import { CompactEncrypt, compactDecrypt, importJWK } from 'jose';
import { PassferryError } from '../errors.ts';
import { type KeyPair, type KeyPairs, pairNamedBy, type StoredPair } from '../seal.ts';

/**
 * Secrets of webhooks, sealed straight to the workers' public key: unlike passwords they live as long as their webhook, so
 * they have no data key that ends.
 */

/** A new secret, as Standard Webhooks writes it: `whsec_` and 32 bytes in base64. */
export function makeWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

/** Secret → JWE that only workers open, and only for this webhook. Error: `config_invalid` (there is no active pair). */
export async function sealWebhookSecret(publicKeys: KeyPairs, webhookId: string, secret: string): Promise<string> {
  const pair = activeOf(publicKeys);
  if (!pair) throw new PassferryError('config_invalid', { scope: 'backend' });
  // A worker that seals anew has the whole pair.
  const { d: _private, ...publicPart } = pair.jwk;
  return new CompactEncrypt(Buffer.from(JSON.stringify([webhookId, secret])))
    .setProtectedHeader({ alg: 'ECDH-ES+A256KW', enc: 'A256GCM', kid: pair.kid })
    .encrypt(await importJWK(publicPart, 'ECDH-ES+A256KW'));
}

/** Errors: `sealed_key_unknown` (its pair has not reached this worker, and may), `sealed_key_destroyed`, `sealed_unreadable`. */
export async function openWebhookSecret(privateKeys: KeyPairs, webhookId: string, sealed: string): Promise<string> {
  const kid = pairNamedBy(sealed);
  const find = (now: boolean) => pairsOf(privateKeys, now).find((pair) => pair.kid === kid);
  const pair = find(false) ?? find(true);
  if (!pair) throw new PassferryError('sealed_key_unknown', { scope: 'backend' });
  if (pair.state === 'destroyed') throw new PassferryError('sealed_key_destroyed');
  try {
    const { plaintext } = await compactDecrypt(sealed, await importJWK(pair.jwk, 'ECDH-ES+A256KW'));
    const [id, secret] = JSON.parse(Buffer.from(plaintext).toString()) as [unknown, unknown];
    if (id === webhookId && typeof secret === 'string') return secret;
  } catch (cause) {
    throw new PassferryError('sealed_unreadable', { cause });
  }
  throw new PassferryError('sealed_unreadable');
}

/** Is it sealed to a pair that no longer is the active one? Then whoever can opens it and seals it anew. */
export function isSealedToOldPair(keys: KeyPairs, sealed: string): boolean {
  const kid = activeOf(keys)?.kid;
  return kid !== undefined && kid !== pairNamedBy(sealed);
}

function activeOf(keys: KeyPairs) {
  return pairsOf(keys, true).find((pair) => pair.state === 'active') as KeyPair | undefined;
}

function pairsOf(pairs: KeyPairs, now: boolean): readonly StoredPair[] {
  return typeof pairs === 'function' ? pairs(now) : pairs;
}
