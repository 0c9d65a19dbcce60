import { createHash } from 'node:crypto';
import { setImmediate as breathe } from 'node:timers/promises';
import { cryptChars, phpass64 } from './bytes.ts';

/** The kinds that neither Node nor a library here computes. All of them take bytes and give the text after the salt. */

/** Rounds between two breaths of the event loop: some ms. */
const stretch = 2000;

const sum = (digest: string, ...parts: (Buffer | string)[]): Buffer => {
  const hash = createHash(digest);
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** `pattern` again and again, `size` bytes of it. */
const repeat = (pattern: Buffer, size: number): Buffer => (size === 0 ? Buffer.alloc(0) : Buffer.alloc(size, pattern));

/** Which bytes of a digest stand together in four characters of crypt(3); -1: none. */
const groups = {
  sha256: [
    [0, 10, 20],
    [21, 1, 11],
    [12, 22, 2],
    [3, 13, 23],
    [24, 4, 14],
    [15, 25, 5],
    [6, 16, 26],
    [27, 7, 17],
    [18, 28, 8],
    [9, 19, 29],
    [-1, 31, 30],
  ],
  sha512: [
    ...Array.from({ length: 21 }, (_, i) => {
      const three = [i, i + 21, i + 42];
      return [...three.slice(i % 3), ...three.slice(0, i % 3)];
    }),
    [-1, -1, 63],
  ],
  md5: [
    [0, 6, 12],
    [1, 7, 13],
    [2, 8, 14],
    [3, 9, 15],
    [4, 10, 5],
    [-1, -1, 11],
  ],
};

function cryptText(bytes: Buffer, digest: keyof typeof groups): string {
  const at = (index: number | undefined) => (index === undefined || index < 0 ? 0 : (bytes[index] ?? 0));
  return groups[digest]
    .map((three) => {
      const [high, middle, low] = three;
      const value = (at(high) << 16) | (at(middle) << 8) | at(low);
      return cryptChars(value, 4 - three.filter((index) => index === -1).length);
    })
    .join('');
}

/** `$5$` and `$6$`, by the specification that is in the public domain. */
export async function shaCrypt(
  digest: 'sha256' | 'sha512',
  password: Buffer,
  salt: string,
  rounds: number,
): Promise<string> {
  const saltBytes = Buffer.from(salt);
  const inner = sum(digest, password, saltBytes, password);
  const first = createHash(digest).update(password).update(saltBytes).update(repeat(inner, password.length));
  for (let bits = password.length; bits > 0; bits >>>= 1) first.update(bits & 1 ? inner : password);
  let current = first.digest();

  const p = repeat(sum(digest, repeat(password, password.length ** 2)), password.length);
  const s = repeat(sum(digest, repeat(saltBytes, saltBytes.length * (16 + (current[0] ?? 0)))), saltBytes.length);
  for (let i = 0; i < rounds; i++) {
    const hash = createHash(digest).update(i & 1 ? p : current);
    if (i % 3 !== 0) hash.update(s);
    if (i % 7 !== 0) hash.update(p);
    current = hash.update(i & 1 ? current : p).digest();
    if (i % stretch === stretch - 1) await breathe();
  }
  return cryptText(current, digest);
}

/** `$1$`. */
export function md5Crypt(password: Buffer, salt: string): string {
  const inner = sum('md5', password, salt, password);
  const first = createHash('md5').update(password).update('$1$').update(salt).update(repeat(inner, password.length));
  const zero = Buffer.alloc(1);
  for (let bits = password.length; bits > 0; bits >>>= 1) first.update(bits & 1 ? zero : password.subarray(0, 1));
  let current = first.digest();
  for (let i = 0; i < 1000; i++) {
    const hash = createHash('md5').update(i & 1 ? password : current);
    if (i % 3 !== 0) hash.update(salt);
    if (i % 7 !== 0) hash.update(password);
    current = hash.update(i & 1 ? current : password).digest();
  }
  return cryptText(current, 'md5');
}

/** phpass (MD5) and Drupal 7 (SHA-512, its text cut to 43 characters). */
export async function phpass(digest: 'md5' | 'sha512', password: Buffer, salt: string, log2: number): Promise<string> {
  let current = sum(digest, salt, password);
  for (let i = 0; i < 2 ** log2; i++) {
    current = sum(digest, current, password);
    if (i % stretch === stretch - 1) await breathe();
  }
  return phpass64(current).slice(0, digest === 'md5' ? 22 : 43);
}
