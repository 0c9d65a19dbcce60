import { adapted64, fromBase64, phc64 } from '../../../hashes/bytes.ts';
import { type Fields, isBlank } from './source.ts';

/**
 * Hash and salt of one user → a hash as `hashes/recognise.ts` reads it. Firebase's own files are its changed scrypt, which is refused
 * there; files made for its import have any of these, which only `hashParams` can tell.
 */
export function firebaseHash({ passwordHash, salt, ...rest }: Fields, hashParams: Fields | undefined): string {
  if (isBlank(passwordHash)) return '';
  const asItIs = JSON.stringify({ ...rest, passwordHash, salt: salt ?? '' });
  const make = hashParams && makers[String(hashParams.algorithm)];
  if (!make || typeof passwordHash !== 'string') return asItIs;
  const [hash, salted] = [fromBase64(passwordHash), isBlank(salt) ? Buffer.alloc(0) : fromBase64(String(salt))];
  // Base64 of two alphabets at once, or none.
  if (!hash || !salted) return passwordHash.startsWith('$2') ? passwordHash : '$invalid';
  return make(hash, salted, hashParams);
}

/** Algorithms by the names that `firebase auth:import --hash-algo` has. SCRYPT is its own. */
const makers: Record<string, (hash: Buffer, salt: Buffer, params: Fields) => string> = {
  BCRYPT: (hash) => hash.toString('latin1'),
  PBKDF_SHA1: (hash, salt, { rounds }) => `$pbkdf2$${rounds}$${adapted64(salt)}$${adapted64(hash)}`,
  PBKDF2_SHA256: (hash, salt, { rounds }) => `$pbkdf2-sha256$${rounds}$${adapted64(salt)}$${adapted64(hash)}`,
  STANDARD_SCRYPT: (hash, salt, { memCost, blockSize, parallelization }) =>
    `$scrypt$ln=${Math.log2(Number(memCost))},r=${blockSize},p=${parallelization}$${phc64(salt)}$${phc64(hash)}`,
  ...Object.fromEntries(['MD5', 'SHA1', 'SHA256', 'SHA512'].map((name) => [name, digest(name.toLowerCase(), false)])),
  ...Object.fromEntries(
    ['MD5', 'SHA1', 'SHA256', 'SHA512'].map((name) => [`HMAC_${name}`, digest(name.toLowerCase(), true)]),
  ),
};

/** As a hash of our own reader, which says what becomes of it. */
function digest(algorithm: string, keyed: boolean) {
  return (hash: Buffer, salt: Buffer, { rounds, passwordHashOrder }: Fields): string => {
    // What is done again and again has no form anywhere.
    if (Number(rounds ?? 1) > 1) return `$${algorithm}-rounds$`;
    const position = passwordHashOrder === 'PASSWORD_FIRST' ? 'suffix' : 'prefix';
    return JSON.stringify({
      algorithm,
      hash: { value: hash.toString('hex'), encoding: 'hex', ...(keyed && { key: {} }) },
      ...(salt.length > 0 && { salt: { value: salt.toString('base64'), encoding: 'base64', position } }),
    });
  };
}

export const firebaseAlgorithms: readonly string[] = ['SCRYPT', ...Object.keys(makers)];
