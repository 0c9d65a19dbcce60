import { createPublicKey, type KeyObject } from 'node:crypto';
import { CompactEncrypt, calculateJwkThumbprint, type JWK } from 'jose';
import { PassferryError } from '../../errors.ts';

/** Whoever hands generated passwords out: their public key. Only they can open what is sealed to it. */
export interface Recipient {
  /** RFC 7638, SHA-256. */
  thumbprint: string;
  /** Bytes → a compact JWE; they are wiped. */
  seal(bytes: Buffer): Promise<string>;
}

const leastRsaBits = 2_048;

/** JWK (JSON) or PEM (SPKI) of a public key: X25519, or RSA of 2,048 bits or more. Error: `recipient_invalid`. */
export async function parseRecipient(text: string): Promise<Recipient> {
  const key = publicKey(text);
  const jwk = key.export({ format: 'jwk' }) as JWK;
  const alg = key.asymmetricKeyType === 'x25519' ? 'ECDH-ES+A256KW' : 'RSA-OAEP-256';
  const thumbprint = await calculateJwkThumbprint(jwk);
  return {
    thumbprint,
    async seal(bytes) {
      try {
        return await new CompactEncrypt(bytes)
          .setProtectedHeader({ alg, enc: 'A256GCM', kid: thumbprint })
          .encrypt(key);
      } finally {
        bytes.fill(0);
      }
    },
  };
}

function publicKey(text: string): KeyObject {
  let key: KeyObject;
  try {
    // Made from a private key it would be its public half; but a private key must not come here at all.
    if (/PRIVATE/.test(text)) throw new PassferryError('recipient_invalid');
    const jwk = text.trimStart().startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : undefined;
    if (jwk && 'd' in jwk) throw new PassferryError('recipient_invalid');
    key = createPublicKey(jwk ? { key: jwk as never, format: 'jwk' } : { key: text, format: 'pem', type: 'spki' });
  } catch {
    // The text of a foreign error may hold the key.
    throw invalid();
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  const fits = key.asymmetricKeyType === 'x25519' || (key.asymmetricKeyType === 'rsa' && bits >= leastRsaBits);
  if (!fits) throw invalid();
  return key;
}

function invalid(): PassferryError {
  return new PassferryError('recipient_invalid', { fields: [{ field: 'recipient', reason: 'recipient_invalid' }] });
}
