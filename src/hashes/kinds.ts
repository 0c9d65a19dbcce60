import type { HashReason } from './reasons.ts';

/** Digests that PBKDF2 and salted digests are made with, as `node:crypto` names them. */
export type Digest = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';

/** Everything a check of one password needs. Never the password. */
export type Recipe =
  /** `text` always begins `$2b$`; `before`: what the source did to the password first. */
  | { kind: 'bcrypt'; log2: number; text: string; before?: 'wp-sha384' | 'sha256-hex' }
  /** `m` in KiB. */
  | { kind: 'argon2i' | 'argon2id' | 'argon2d'; m: number; t: number; p: number; salt: Buffer; hash: Buffer }
  | { kind: 'scrypt'; ln: number; r: number; p: number; salt: Buffer; hash: Buffer }
  | { kind: 'pbkdf2'; digest: Digest; rounds: number; salt: Buffer; hash: Buffer }
  | { kind: 'sha256-crypt' | 'sha512-crypt'; rounds: number; salt: string; text: string }
  | { kind: 'md5-crypt'; salt: string; text: string }
  /** `id`: `$P$`, `$H$` or `$S$`; `text`: all of it. */
  | { kind: 'phpass' | 'drupal7'; log2: number; salt: string; text: string }
  | { kind: 'digest'; digest: Digest; order: 'plain' | 'salt-last' | 'salt-first'; salt: Buffer; hash: Buffer };

/** What a parser makes of a text. */
export interface Found {
  /** The name people know it by: `bcrypt`, `pbkdf2-sha256`, `ssha`. */
  kind: string;
  /** Where it comes from, when its own form says so: `Keycloak`, `Django`. */
  form?: string;
  recipe?: Recipe;
  /** No target can take it, whatever is configured. */
  refused?: HashReason;
  warnings?: HashWarning[];
}

export type Parser = (text: string) => Found | undefined;

/** Names of verifiers of ZITADEL's hasher configuration; `bcrypt` is the one that is on by default. */
export const verifiers = [
  'bcrypt',
  'argon2',
  'scrypt',
  'pbkdf2',
  'md5',
  'md5plain',
  'md5salted',
  'sha2',
  'phpass',
  'drupal7',
] as const;
export type Verifier = (typeof verifiers)[number];

/** Whether a target takes a hash: as installed, with a verifier switched on, or not and why. */
export type Taken =
  | { takes: 'default' }
  | { takes: 'with-verifier'; verifier: Verifier }
  | { takes: 'no'; why: HashReason };

export const hashWarnings = {
  unmarked: 'nothing in it says MD5: any 32 hexadecimal digits are taken. Prove one known password first.',
  weak: 'cheap to guess: let people log in soon, so that the target hashes anew, or make them change it',
  cost_low_for_v1: 'cheaper than cost 10: v1 takes it, but it is easy to guess',
  argon2_cloud: 'argon2 is switched off on ZITADEL Cloud',
  new_verifier: 'needs a ZITADEL of 2025-10 or later',
  cut_key: 'the derived key is cut to the length of its digest, so that it fits; it means the same',
  sha2_rounds: 'written with its rounds, so that targets before 2026-03 read it too',
  bcrypt_72:
    'passwords over 72 bytes were cut by some sources and are refused by the target: those users cannot log in',
} as const;
export type HashWarning = keyof typeof hashWarnings;

/** What is known of one hash. */
export interface Hash {
  kind: string;
  form?: string;
  /** Parameters by name, e.g. `{ cost: 10 }` or `{ m: 19456, t: 2, p: 1 }`; empty when it has none. */
  cost: Record<string, number>;
  /** As the targets take it; absent when none does. */
  encoded?: string;
  targets: { v1: Taken; v2: Taken };
  /** Why no target takes it; advice: {@link HashReason}. */
  refused?: HashReason;
  warnings: HashWarning[];
  /** Absent when no password can be checked against it here. */
  recipe?: Recipe;
}
