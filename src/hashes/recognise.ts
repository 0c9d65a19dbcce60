import { parseArgon2 } from './argon2.ts';
import { parseAspNet } from './aspnet.ts';
import { parseBcrypt } from './bcrypt.ts';
import { fromBase64, fromHex } from './bytes.ts';
import { parseCrypt, parsePhpass } from './crypt.ts';
import { parseDigest } from './digest.ts';
import { parseJson } from './json.ts';
import type { Found, Hash } from './kinds.ts';
import { parseMarker } from './markers.ts';
import { parsePbkdf2 } from './pbkdf2.ts';
import { parseScrypt } from './scrypt.ts';
import { judge } from './targets.ts';

export interface RecogniseOptions {
  /** The source adds a secret to every password: nothing in a hash shows it. */
  peppered?: boolean;
}

/** Longer than any hash, also as a credential in JSON. Characters. */
const longest = 8192;

/**
 * Text of a hash → what it is, what it costs, which target takes it and how it is written there. Computes no hash, never
 * throws, whatever the text.
 */
export function recognise(text: string, { peppered = false }: RecogniseOptions = {}): Hash {
  const found: Found = find(text, 0) ?? { kind: 'unknown', refused: unknown(text) };
  if (!peppered || found.refused) return judge(found);
  const { recipe: _, ...rest } = found;
  return judge({ ...rest, refused: 'peppered' });
}

/** Wrappers whose inside is a hash with a mark of its own. */
const wrapper =
  /^(?:\{(?:CRYPT|BCRYPT|ARGON2|(?:BLF|MD5|SHA256|SHA512)-CRYPT)\}|argon2(?=\$argon2)|bcrypt\$(?=\$2))(.*)$/is;

function find(text: string, depth: number): Found | undefined {
  if (text.length > longest || depth > 2) return { kind: 'unknown', refused: 'hash_unknown' };
  const [, inner] = wrapper.exec(text) ?? [];
  if (inner !== undefined) return unwrapped(text, inner, depth);
  const again = (inside: string) => find(inside, depth + 1);
  return (
    parseMarker(text) ??
    parseJson(text, again) ??
    parseBcrypt(text) ??
    parseArgon2(text) ??
    parseScrypt(text) ??
    parsePbkdf2(text) ??
    parsePhpass(text) ??
    parseDigest(text) ??
    parseCrypt(text) ??
    parseAspNet(text) ??
    based(text, again)
  );
}

function unwrapped(text: string, inner: string, depth: number): Found {
  const form = text.startsWith('{') ? 'LDAP' : 'Django';
  // Without a mark it is the DES of 1976, or one of BSD's.
  if (/^[./0-9A-Za-z_]{13,20}$/.test(inner)) return { kind: 'des-crypt', form, refused: 'no_verifier' };
  const found = find(inner, depth + 1) ?? { kind: 'unknown', refused: 'hash_malformed' };
  return { ...found, form: found.form ?? form };
}

/** LDIF writes `userPassword::` as base64 of the whole value; some tools base64 of hex. */
function based(text: string, again: (inside: string) => Found | undefined): Found | undefined {
  if (!/^[A-Za-z0-9+/_-]{16,}={0,2}$/.test(text)) return undefined;
  const inside = fromBase64(text)?.toString('latin1');
  if (inside === undefined || !/^(?:[{$][\x20-\x7e]+|[0-9a-f]{32,128})$/i.test(inside)) return undefined;
  const found = again(inside);
  return found && { ...found, form: `base64 of ${found.form ?? 'it'}` };
}

function unknown(text: string): 'hash_recipe_unknown' | 'hash_unknown' | 'hash_malformed' {
  if (text.length > longest) return 'hash_unknown';
  if (/^[${][\w-]/.test(text)) return 'hash_malformed';
  const bytes = fromHex(text) ?? (/[a-z]/.test(text) && /[A-Z]/.test(text) ? fromBase64(text) : undefined);
  // Shorter, or no byte count of a digest: more likely a word that somebody typed.
  return bytes && bytes.length >= 16 && bytes.length % 4 === 0 ? 'hash_recipe_unknown' : 'hash_unknown';
}
