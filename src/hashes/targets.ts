import { adapted64, phc64 } from './bytes.ts';
import { referenceMs, workingBytes } from './estimate.ts';
import type { Found, Hash, HashWarning, Recipe, Taken, Verifier } from './kinds.ts';
import { digestBytes } from './pbkdf2.ts';
import type { HashReason } from './reasons.ts';

/** What the target's API takes. Characters. */
const longest = 200;
/** Dearer than this for one login is refused whatever the kind's own bounds are: ms on an ordinary core, bytes. */
const dearestMs = 20_000;
const mostBytes = 1024 * 1024 * 1024;

type Bounds = Record<string, readonly [min: number, max: number]>;

/** The bounds that ZITADEL's verifiers have by default. */
export const bounds = {
  bcrypt: { cost: [10, 16] },
  argon2: { m: [8192, 524_288], t: [1, 10], p: [1, 16] },
  scrypt: { ln: [14, 20], r: [8, 32], p: [1, 16] },
  pbkdf2: { rounds: [1000, 10_000_000] },
  sha2: { rounds: [1000, 999_999_999] },
  phpass: { log2: [7, 31] },
  drupal7: { rounds: [1000, 500_000] },
} as const satisfies Partial<Record<Verifier, Bounds>>;

/** What was parsed → what can be done with it. Computes nothing. */
export function judge(found: Found): Hash {
  const { kind, form, recipe } = found;
  const warnings: HashWarning[] = [...(found.warnings ?? [])];
  const cost = recipe ? costOf(recipe) : {};
  const base = { kind, ...(form && { form }), cost, ...(recipe && { recipe }) };
  const verifier = recipe && verifierOf(recipe);
  const beyond = recipe && outside(recipe, cost, verifier);
  // A hostile cost is told before anything else: it must not be computed for any purpose.
  const refused =
    (beyond === 'cost_too_high' ? beyond : undefined) ?? found.refused ?? (recipe ? undefined : 'hash_unknown');
  if (refused || !recipe || !verifier) return none(base, refused ?? 'no_verifier');

  const { text, cut } = encode(recipe);
  if (text === undefined) return none(base, 'salt_unusable');
  if (text.length > longest) return none(base, 'hash_too_long');
  if (cut) warnings.push('cut_key');
  const v1: Taken = recipe.kind === 'bcrypt' ? { takes: 'default' } : { takes: 'no', why: 'target_bcrypt_only' };
  if (beyond && v1.takes === 'no') return none(base, beyond);
  if (beyond) warnings.push('cost_low_for_v1');
  const takes: Taken = verifier === 'bcrypt' ? { takes: 'default' } : { takes: 'with-verifier', verifier };
  return { ...base, encoded: text, targets: { v1, v2: beyond ? { takes: 'no', why: beyond } : takes }, warnings };
}

function none(base: Pick<Hash, 'kind' | 'form' | 'cost' | 'recipe'>, why: HashReason): Hash {
  return { ...base, targets: { v1: { takes: 'no', why }, v2: { takes: 'no', why } }, refused: why, warnings: [] };
}

function costOf(recipe: Recipe): Record<string, number> {
  if (recipe.kind === 'bcrypt') return { cost: recipe.log2 };
  if ('m' in recipe) return { m: recipe.m, t: recipe.t, p: recipe.p };
  if ('ln' in recipe) return { ln: recipe.ln, r: recipe.r, p: recipe.p };
  if (recipe.kind === 'drupal7') return { rounds: 2 ** recipe.log2 };
  if ('log2' in recipe) return { log2: recipe.log2 };
  return 'rounds' in recipe ? { rounds: recipe.rounds } : {};
}

function verifierOf(recipe: Recipe): Verifier | undefined {
  if (recipe.kind === 'bcrypt') return recipe.before ? undefined : 'bcrypt';
  if (recipe.kind === 'argon2d') return undefined;
  if ('m' in recipe) return 'argon2';
  if (recipe.kind === 'digest')
    return recipe.digest !== 'md5' ? undefined : recipe.order === 'plain' ? 'md5plain' : 'md5salted';
  if (recipe.kind === 'md5-crypt') return 'md5';
  return recipe.kind === 'sha256-crypt' || recipe.kind === 'sha512-crypt' ? 'sha2' : recipe.kind;
}

function outside(recipe: Recipe, cost: Record<string, number>, verifier: Verifier | undefined): HashReason | undefined {
  if (referenceMs(recipe) > dearestMs || workingBytes(recipe) > mostBytes) return 'cost_too_high';
  const limits: Bounds = verifier && verifier in bounds ? bounds[verifier as keyof typeof bounds] : {};
  const each = Object.entries(limits).map(([name, [min, max]]) => [cost[name] ?? min, min, max] as const);
  if (each.some(([value, , max]) => value > max)) return 'cost_too_high';
  return each.some(([value, min]) => value < min) ? 'cost_too_low' : undefined;
}

/** The target's own way to write it. `cut`: only the first digest of a longer derived key was needed. */
function encode(recipe: Recipe): { text?: string; cut?: boolean } {
  if ('salt' in recipe && recipe.salt.length === 0 && !(recipe.kind === 'digest' && recipe.order === 'plain'))
    return {};
  switch (recipe.kind) {
    case 'bcrypt':
    case 'phpass':
    case 'drupal7':
      return { text: recipe.text };
    case 'argon2d':
    case 'argon2i':
    case 'argon2id': {
      const { kind, m, t, p, salt, hash } = recipe;
      return { text: `$${kind}$v=19$m=${m},t=${t},p=${p}$${phc64(salt)}$${phc64(hash)}` };
    }
    case 'scrypt': {
      const { ln, r, p, salt, hash } = recipe;
      return { text: `$scrypt$ln=${ln},r=${r},p=${p}$${phc64(salt)}$${phc64(hash)}` };
    }
    case 'pbkdf2': {
      const { digest, rounds, salt, hash } = recipe;
      const head = `$pbkdf2${digest === 'sha1' ? '' : `-${digest}`}$${rounds}$${adapted64(salt)}$`;
      // PBKDF2 makes its key block by block, so the beginning of a key is the key of that length.
      const size = digestBytes[digest];
      const cut = head.length + adapted64(hash).length > longest && hash.length > size;
      return { text: head + adapted64(cut ? hash.subarray(0, size) : hash), cut };
    }
    case 'sha256-crypt':
    case 'sha512-crypt':
      return {
        text: `$${recipe.kind === 'sha256-crypt' ? 5 : 6}$rounds=${recipe.rounds}$${recipe.salt}$${recipe.text}`,
      };
    case 'md5-crypt':
      return { text: `$1$${recipe.salt}$${recipe.text}` };
    case 'digest': {
      const { order, salt, hash } = recipe;
      if (order === 'plain') return { text: hash.toString('hex') };
      const name = order === 'salt-last' ? 'suffix' : 'prefix';
      return { text: `$md5salted-${name}$${salt.toString('latin1')}$${hash.toString('base64')}` };
    }
  }
}
