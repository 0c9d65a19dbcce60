import type { Digest, Recipe } from './kinds.ts';
import { digestBytes } from './pbkdf2.ts';

/** Parts of the work whose speed differs from machine to machine in their own way. */
export type Family = 'bcrypt' | 'argon2' | 'scrypt' | 'pbkdf2' | 'digest';

const pbkdf2Us: Record<Digest, number> = {
  md5: 0.25,
  sha1: 0.25,
  sha224: 0.3,
  sha256: 0.3,
  sha384: 0.85,
  sha512: 0.85,
};

export function familyOf(recipe: Recipe): Family {
  if (recipe.kind === 'bcrypt' || recipe.kind === 'scrypt' || recipe.kind === 'pbkdf2') return recipe.kind;
  return 'm' in recipe ? 'argon2' : 'digest';
}

/** What one check costs on an ordinary core. ms; measured once, scaled from the parameters, nothing is run. */
export function referenceMs(recipe: Recipe): number {
  switch (recipe.kind) {
    case 'bcrypt':
      return 0.085 * 2 ** recipe.log2;
    case 'argon2d':
    case 'argon2i':
    case 'argon2id':
      return 0.0065 * recipe.m * recipe.t;
    case 'scrypt':
      return 0.00047 * 2 ** recipe.ln * recipe.r * recipe.p;
    case 'pbkdf2':
      return (
        (recipe.rounds * Math.ceil(recipe.hash.length / digestBytes[recipe.digest]) * pbkdf2Us[recipe.digest]) / 1000
      );
    case 'sha256-crypt':
    case 'sha512-crypt':
      return 0.004 * recipe.rounds;
    case 'phpass':
      return 0.0025 * 2 ** recipe.log2;
    case 'drupal7':
      return 0.0035 * 2 ** recipe.log2;
    case 'md5-crypt':
      return 3;
    case 'digest':
      return 0.003;
  }
}

/** Memory that one check needs. Bytes. */
export function workingBytes(recipe: Recipe): number {
  if ('m' in recipe) return recipe.m * 1024;
  if (recipe.kind === 'scrypt') return 128 * recipe.r * (2 ** recipe.ln + recipe.p);
  return 4096;
}
