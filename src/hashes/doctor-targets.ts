import { fromBase64, fromHex } from './bytes.ts';
import { type Form, saltForms } from './doctor-forms.ts';
import type { Recipe } from './kinds.ts';

/** Bytes that a digest should be equal to, and the salt that came with them. */
export interface Aim {
  bytes: Buffer;
  how: string[];
  salts: Form[];
}

const sizes = [16, 20, 28, 32, 48, 64];

/** Text of a hash without a recipe → every way to read it as bytes of a digest, with or without a salt beside it. */
export function aimsOf(text: string, recipe: Recipe | undefined): Aim[] {
  if (recipe?.kind === 'digest') {
    const salts = recipe.salt.length > 0 ? [{ bytes: recipe.salt, how: ['salt of the hash'] }] : [];
    return [{ bytes: recipe.hash, how: [], salts }];
  }
  const plain = text.trim().replace(/^\{[\w-]+\}/, '');
  const [, left, right] = /^([^:$]+)[:$]([^:$]+)$/.exec(plain) ?? [];
  if (left === undefined || right === undefined) return read(plain).flatMap(split);
  const beside = (hash: string, salt: string): Aim[] =>
    read(hash).map((aim) => ({ ...aim, salts: saltForms(salt, 'the part beside it') }));
  return [...beside(left, right), ...beside(right, left)];
}

function read(text: string): Aim[] {
  const found: Aim[] = [];
  const add = (bytes: Buffer | undefined, ...how: string[]) => {
    if (bytes && bytes.length >= 8 && bytes.length <= 256) found.push({ bytes, how, salts: [] });
  };
  add(fromHex(text.replace(/^0x/i, '')), 'hex');
  const decoded = fromBase64(text);
  add(decoded, 'base64');
  // Some tools encode twice.
  add(decoded && fromHex(decoded.toString('latin1')), 'base64 of hex');
  return found;
}

/** Longer than a digest: the rest may be the salt, behind or before it. */
function split(aim: Aim): Aim[] {
  const { bytes, how } = aim;
  if (sizes.includes(bytes.length)) return [aim];
  const parts = sizes
    .filter((size) => bytes.length > size && bytes.length - size <= 64)
    .flatMap((size): Aim[] => {
      const rest = (salt: Buffer, name: string): Form[] => [{ bytes: salt, how: [name] }];
      const behind = rest(bytes.subarray(size), `salt: the last ${bytes.length - size} bytes`);
      const front = rest(bytes.subarray(0, -size), `salt: the first ${bytes.length - size} bytes`);
      return [
        { bytes: bytes.subarray(0, size), how, salts: behind },
        { bytes: bytes.subarray(-size), how, salts: front },
      ];
    });
  return [...parts, aim];
}
