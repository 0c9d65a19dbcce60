import { createHash, createHmac, pbkdf2, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { verify as verifyBcrypt } from '@node-rs/bcrypt';
import { argon2d, argon2i, argon2id } from 'hash-wasm';
import { md5Crypt, phpass, shaCrypt } from './compute-crypt.ts';
import { referenceMs, workingBytes } from './estimate.ts';
import type { Recipe } from './kinds.ts';

export interface VerifyLimits {
  /** The dearest check that is made, as {@link referenceMs} estimates it. Default 10,000 ms. */
  maxMs?: number;
  /** Memory of one check. Default 512 MiB. */
  maxBytes?: number;
}

/** `too_costly`: nothing was computed. */
export type Verdict = 'match' | 'no_match' | 'too_costly';

const derivePbkdf2 = promisify(pbkdf2);
const deriveScrypt = promisify<Buffer, Buffer, number, { N: number; r: number; p: number; maxmem: number }, Buffer>(
  scrypt,
);
const argon2 = { argon2d, argon2i, argon2id };

/** Longer than any target takes; sha-crypt would need its square in memory. Bytes. */
const longest = 1024;
/** bcrypt reads no further. Bytes. */
const bcryptBytes = 72;

/**
 * Does the password match? Passwords are bytes, usually UTF-8; nothing is kept. A password over 72 bytes never matches
 * bcrypt: the targets refuse it too.
 */
export async function verifyHash(recipe: Recipe, password: Buffer, limits: VerifyLimits = {}): Promise<Verdict> {
  const { maxMs = 10_000, maxBytes = 512 * 1024 * 1024 } = limits;
  // An empty password is never one, although every algorithm would take it.
  if (password.length === 0 || password.length > longest) return 'no_match';
  if (referenceMs(recipe) > maxMs || workingBytes(recipe) > maxBytes) return 'too_costly';
  return (await matches(recipe, password)) ? 'match' : 'no_match';
}

async function matches(recipe: Recipe, password: Buffer): Promise<boolean> {
  switch (recipe.kind) {
    case 'bcrypt': {
      const input = before(recipe.before, password);
      return input.length <= bcryptBytes && (await verifyBcrypt(input, recipe.text));
    }
    case 'argon2d':
    case 'argon2i':
    case 'argon2id': {
      const { kind, m, t, p, salt, hash } = recipe;
      const options = { password, salt, iterations: t, parallelism: p, memorySize: m, hashLength: hash.length };
      // The library wants at least 8 KiB for each lane.
      if (m < 8 * p || p < 1 || t < 1) return false;
      return same(Buffer.from(await argon2[kind]({ ...options, outputType: 'binary' })), hash);
    }
    case 'scrypt': {
      const { ln, r, p, salt, hash } = recipe;
      const maxmem = workingBytes(recipe) + 1024 * 1024;
      return same(await deriveScrypt(password, salt, hash.length, { N: 2 ** ln, r, p, maxmem }), hash);
    }
    case 'pbkdf2': {
      const { digest, rounds, salt, hash } = recipe;
      return same(await derivePbkdf2(password, salt, rounds, hash.length, digest), hash);
    }
    case 'sha256-crypt':
      return sameText(await shaCrypt('sha256', password, recipe.salt, recipe.rounds), recipe.text);
    case 'sha512-crypt':
      return sameText(await shaCrypt('sha512', password, recipe.salt, recipe.rounds), recipe.text);
    case 'md5-crypt':
      return sameText(md5Crypt(password, recipe.salt), recipe.text);
    case 'phpass':
      return sameText(await phpass('md5', password, recipe.salt, recipe.log2), recipe.text.slice(12));
    case 'drupal7':
      return sameText(await phpass('sha512', password, recipe.salt, recipe.log2), recipe.text.slice(12));
    case 'digest': {
      const { digest, order, salt, hash } = recipe;
      const parts = order === 'salt-first' ? [salt, password] : [password, salt];
      return same(createHash(digest).update(Buffer.concat(parts)).digest(), hash);
    }
  }
}

/** What WordPress and Django do before bcrypt. */
function before(how: 'wp-sha384' | 'sha256-hex' | undefined, password: Buffer): Buffer {
  if (how === 'sha256-hex') return Buffer.from(createHash('sha256').update(password).digest('hex'));
  if (how === undefined) return password;
  const trimmed = Buffer.from(phpTrim(password.toString('latin1')), 'latin1');
  return Buffer.from(createHmac('sha384', 'wp-sha384').update(trimmed).digest('base64'));
}

/** PHP's trim() knows six bytes; the one of JavaScript would take more. */
function phpTrim(text: string): string {
  const blank = (at: number) => ' \t\n\r\0\v'.includes(text[at] as string);
  let [start, end] = [0, text.length];
  while (start < end && blank(start)) start++;
  while (end > start && blank(end - 1)) end--;
  return text.slice(start, end);
}

function same(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

const sameText = (one: string, other: string) => same(Buffer.from(one), Buffer.from(other));
