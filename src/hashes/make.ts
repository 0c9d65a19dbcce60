import { createHash, pbkdf2, randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { hash as bcrypt } from '@node-rs/bcrypt';
import { argon2i, argon2id } from 'hash-wasm';
import { md5Crypt, phpass, shaCrypt } from './compute-crypt.ts';
import { referenceMs, workingBytes } from './estimate.ts';
import type { Digest, Recipe } from './kinds.ts';
import { digestBytes } from './pbkdf2.ts';
import { judge } from './targets.ts';
import type { VerifyLimits } from './verify.ts';

const derive = promisify(pbkdf2);
const deriveScrypt = promisify<Buffer, Buffer, number, { N: number; r: number; p: number; maxmem: number }, Buffer>(
  scrypt,
);
/** Characters that crypt(3) has in salts. */
const saltText = (length: number) => randomBytes(length).toString('hex').slice(0, length);

/**
 * A hash of a password, of the kind and cost that others have, as the target takes it. Undefined: of a kind that is not made here, or it
 * would cost more than the limits allow; then nothing was computed.
 */
export async function makeHash(
  kind: string,
  cost: Record<string, number>,
  password: Buffer,
  { maxMs = 10_000, maxBytes = 512 * 1024 * 1024 }: VerifyLimits = {},
): Promise<string | undefined> {
  const draft = draftOf(kind, cost);
  if (!draft || referenceMs(draft) > maxMs || workingBytes(draft) > maxBytes) return undefined;
  return judge({ kind, recipe: await filled(draft, password) }).encoded;
}

/** Everything but the digest itself. */
function draftOf(kind: string, cost: Record<string, number>): Recipe | undefined {
  const { cost: log2 = 10, m = 0, t = 0, p = 1, ln = 0, r = 8, rounds = 0 } = cost;
  const [salt, hash] = [randomBytes(16), Buffer.alloc(32)];
  const [, digest] = /^pbkdf2-(sha(?:1|224|256|384|512))$/.exec(kind) ?? [];
  if (digest) {
    const length = digestBytes[digest as Digest];
    return { kind: 'pbkdf2', digest: digest as Digest, rounds, salt, hash: Buffer.alloc(length) };
  }
  switch (kind) {
    case 'bcrypt':
      return { kind, log2, text: '' };
    case 'argon2i':
    case 'argon2id':
      return { kind, m, t, p, salt, hash };
    case 'scrypt':
      return { kind, ln, r, p, salt, hash };
    case 'sha256-crypt':
    case 'sha512-crypt':
      return { kind, rounds, salt: saltText(16), text: '' };
    case 'md5-crypt':
      return { kind, salt: saltText(8), text: '' };
    case 'phpass':
      return { kind, log2: cost.log2 ?? 8, salt: saltText(8), text: '' };
    case 'drupal7':
      return { kind, log2: Math.log2(rounds), salt: saltText(8), text: '' };
    default: {
      const order = ({ md5: 'plain', 'md5-salt-last': 'salt-last', 'md5-salt-first': 'salt-first' } as const)[kind];
      if (!order) return undefined;
      const text = order === 'plain' ? Buffer.alloc(0) : Buffer.from(saltText(8));
      return { kind: 'digest', digest: 'md5', order, salt: text, hash };
    }
  }
}

async function filled(draft: Recipe, password: Buffer): Promise<Recipe> {
  switch (draft.kind) {
    case 'bcrypt':
      return { ...draft, text: await bcrypt(password, draft.log2) };
    case 'argon2i':
    case 'argon2id': {
      const { kind, m, t, p, salt, hash } = draft;
      const options = { password, salt, iterations: t, parallelism: p, memorySize: m, hashLength: hash.length };
      const made = await (kind === 'argon2i' ? argon2i : argon2id)({ ...options, outputType: 'binary' });
      return { ...draft, hash: Buffer.from(made) };
    }
    case 'scrypt': {
      const { ln, r, p, salt, hash } = draft;
      const maxmem = workingBytes(draft) + 1024 * 1024;
      return { ...draft, hash: await deriveScrypt(password, salt, hash.length, { N: 2 ** ln, r, p, maxmem }) };
    }
    case 'pbkdf2':
      return { ...draft, hash: await derive(password, draft.salt, draft.rounds, draft.hash.length, draft.digest) };
    case 'sha256-crypt':
    case 'sha512-crypt': {
      const digest = draft.kind === 'sha256-crypt' ? 'sha256' : 'sha512';
      return { ...draft, text: await shaCrypt(digest, password, draft.salt, draft.rounds) };
    }
    case 'md5-crypt':
      return { ...draft, text: md5Crypt(password, draft.salt) };
    case 'phpass':
    case 'drupal7': {
      const [id, digest] = draft.kind === 'phpass' ? (['$P$', 'md5'] as const) : (['$S$', 'sha512'] as const);
      const head = `${id}${'./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'[draft.log2]}${draft.salt}`;
      return { ...draft, text: head + (await phpass(digest, password, draft.salt, draft.log2)) };
    }
    case 'digest': {
      const { salt, digest, order } = draft;
      const parts = order === 'salt-first' ? [salt, password] : [password, salt];
      return { ...draft, hash: createHash(digest).update(Buffer.concat(parts)).digest() };
    }
    case 'argon2d':
      return draft;
  }
}
