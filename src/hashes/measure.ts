import { type Family, familyOf, referenceMs } from './estimate.ts';
import type { Recipe } from './kinds.ts';
import { verifyHash } from './verify.ts';

const bytes = Buffer.alloc(16, 1);
const hash = Buffer.alloc(32);

/** One of each family, cheap enough to be run at any time: about 20 ms. */
const samples: Record<Family, Recipe> = {
  bcrypt: { kind: 'bcrypt', log2: 8, text: `$2b$08$${'.'.repeat(22)}${'.'.repeat(31)}` },
  argon2: { kind: 'argon2id', m: 4096, t: 1, p: 1, salt: bytes, hash },
  scrypt: { kind: 'scrypt', ln: 12, r: 8, p: 1, salt: bytes, hash },
  pbkdf2: { kind: 'pbkdf2', digest: 'sha256', rounds: 50_000, salt: bytes, hash },
  digest: { kind: 'sha256-crypt', rounds: 5000, salt: 'saltsalt', text: '.'.repeat(43) },
};

/**
 * Estimates what checks cost on this machine. Each family is measured once, with a small sample; the hash that is asked
 * about is never computed. ms.
 */
export function createMeter(): (recipe: Recipe) => Promise<number> {
  const factors = new Map<Family, Promise<number>>();
  const measure = async (family: Family): Promise<number> => {
    const sample = samples[family];
    // The first run pays for what is loaded.
    await verifyHash(sample, bytes);
    const start = performance.now();
    await verifyHash(sample, bytes);
    return (performance.now() - start) / referenceMs(sample);
  };
  return async (recipe) => {
    const family = familyOf(recipe);
    const factor = factors.get(family) ?? measure(family);
    factors.set(family, factor);
    return referenceMs(recipe) * (await factor);
  };
}
