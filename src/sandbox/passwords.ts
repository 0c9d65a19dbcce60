import { hash, verify } from '@node-rs/bcrypt';
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
  return Buffer.byteLength(password) <= 72 && verify(password, storedHash);
}

/** First stage: does any enabled verifier know the prefix? Only bcrypt is enabled by default. */
export function checkHashPrefix(storedHash: string): void {
  if (!storedHash.startsWith('$2')) throw refusal('USER-oz74onzvqr');
}

/** Second stage: does it parse, and does its cost lie within the limits? */
export function checkHash(storedHash: string, costs: { min: number; max: number }): void {
  if (!/^\$2[aby]\$/.test(storedHash)) throw refusal('CRYPT-2xK7d');
  const parts = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(storedHash);
  if (!parts) throw refusal('CRYPT-r8Qm2');
  const cost = Number(parts[1]);
  if (cost < costs.min || cost > costs.max) throw refusal('CRYPT-5uV9n');
}
