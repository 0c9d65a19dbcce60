import { hash, verify } from '@node-rs/bcrypt';
import type { Verifier } from '../hashes/kinds.ts';
import { recognise } from '../hashes/recognise.ts';
import { verifyHash } from '../hashes/verify.ts';
import type { RefusalId } from './zitadel-errors.ts';
import { refusal } from './zitadel-errors.ts';

/** Complexity policy of an organization. */
export interface Policy {
  /** Bytes, not characters. */
  minLength: number;
  upper: boolean;
  lower: boolean;
  number: boolean;
  symbol: boolean;
}

/** What a fresh ZITADEL demands. */
export const defaultPolicy: Policy = { minLength: 8, upper: true, lower: true, number: true, symbol: true };

/** Throws the first violation in ZITADEL's order. Classes are ASCII; everything else is a symbol. */
export function checkPolicy(policy: Policy, password: string): void {
  if (Buffer.byteLength(password) < policy.minLength) throw refusal('DOMAIN-HuJf6');
  if (policy.lower && !/[a-z]/.test(password)) throw refusal('DOMAIN-co3Xw');
  if (policy.upper && !/[A-Z]/.test(password)) throw refusal('DOMAIN-VoaRj');
  if (policy.number && !/[0-9]/.test(password)) throw refusal('DOMAIN-ZBv4H');
  if (policy.symbol && !/[^A-Za-z0-9]/.test(password)) throw refusal('DOMAIN-ZDLwA');
}

/** Go's bcrypt refuses what is longer than 72 bytes; this library would cut it off silently. */
export async function hashPassword(password: string, cost: number): Promise<string> {
  if (Buffer.byteLength(password) > 72) throw refusal('COMMAND-CahN2');
  return hash(password, cost);
}

export async function verifyPassword(password: string, storedHash: string): Promise<boolean> {
  if (Buffer.byteLength(password) > 200 * 4) return false;
  if (storedHash.startsWith('$2')) return Buffer.byteLength(password) <= 72 && verify(password, storedHash);
  const { recipe } = recognise(storedHash);
  return recipe !== undefined && (await verifyHash(recipe, Buffer.from(password))) === 'match';
}

/** What a verifier looks at first: the beginning of a hash; of MD5 without a mark, all of it. */
const prefixes: Record<Verifier, RegExp> = {
  bcrypt: /^\$2/,
  argon2: /^\$argon2/,
  scrypt: /^\$(?:scrypt|7)\$/,
  pbkdf2: /^\$pbkdf2/,
  md5: /^\$1\$/,
  md5plain: /^(?:[0-9a-f]{2})+$/i,
  md5salted: /^\$md5salted/,
  sha2: /^\$[56]\$/,
  phpass: /^\$[PH]\$/,
  drupal7: /^\$S\$/,
};

/** First stage: does any enabled verifier know the prefix? Only bcrypt is enabled by default. */
export function checkHashPrefix(storedHash: string, verifiers: readonly Verifier[], id: RefusalId): void {
  if (!verifiers.some((name) => prefixes[name].test(storedHash))) throw refusal(id);
}

/** Second stage: does it parse, and does its cost lie within the limits? */
export function checkHash(storedHash: string, costs: { min: number; max: number }): void {
  if (storedHash.startsWith('$2')) checkBcrypt(storedHash, costs);
  else checkOther(storedHash);
}

function checkBcrypt(storedHash: string, costs: { min: number; max: number }): void {
  if (!/^\$2[aby]\$/.test(storedHash)) throw refusal('CRYPT-2xK7d');
  const parts = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(storedHash);
  if (!parts) throw refusal('CRYPT-r8Qm2');
  const cost = Number(parts[1]);
  if (cost < costs.min || cost > costs.max) throw refusal('CRYPT-5uV9n');
}

function checkOther(storedHash: string): void {
  const { refused, encoded } = recognise(storedHash);
  if (refused === 'cost_too_low' || refused === 'cost_too_high') throw refusal('CRYPT-5uV9n');
  // Another form of the same may be one that no login would ever find equal.
  if (refused || encoded === undefined || encoded.toLowerCase() !== storedHash.toLowerCase()) {
    throw refusal('CRYPT-r8Qm2');
  }
}
