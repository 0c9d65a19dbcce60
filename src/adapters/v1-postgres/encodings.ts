import { createHash } from 'node:crypto';
import { PassferryError } from '../../errors.ts';
import { recognise } from '../../hashes/recognise.ts';
import { verifyHash } from '../../hashes/verify.ts';
import { Secret } from '../../secret.ts';
import { checkHashable, hashPassword } from './hash.ts';

/** What stands before the salt and key of a bcrypt hash, by the name of how an application writes it. */
const heads = {
  'bcrypt-2b': '$2b$',
  'bcrypt-2y': '$2y$',
  'bcrypt-2a': '$2a$',
  'django-bcrypt': 'bcrypt$$2b$',
  'django-bcrypt-sha256': 'bcrypt_sha256$$2b$',
} as const;

export type Encoding = keyof typeof heads;
export const encodings = Object.keys(heads) as Encoding[];

/** Letters of bcrypt without its head. */
const tail = /^\d\d\$[./A-Za-z0-9]{53}$/;

/** Characters of a hash so written. */
export const lengthOf = (encoding: Encoding) => heads[encoding].length + 56;

/** How a stored text is written, or undefined for one that we do not write. */
function encodingOf(stored: string): Encoding | undefined {
  return encodings.find((each) => stored.startsWith(heads[each]) && tail.test(stored.slice(heads[each].length)));
}

/**
 * Password → text to store.
 *
 * @throws PassferryError `password_missing`, `password_too_many_bytes` or `password_nul`, scope `user`.
 */
export async function makeHash(password: Secret, cost: number, encoding: Encoding): Promise<string> {
  const bytes = checkHashable(password);
  // Django hashes the hexadecimal digits of SHA-256, so that no length of a password is too long for bcrypt.
  const input =
    encoding === 'django-bcrypt-sha256'
      ? new Secret(Buffer.from(createHash('sha256').update(bytes).digest('hex')))
      : password;
  const made = await hashPassword(input, cost);
  if (input !== password) input.wipe();
  return heads[encoding] + made.slice(4);
}

/**
 * A hash, plain or as some application writes it → the text to store.
 *
 * @throws PassferryError `hash_refused`, scope `user`: no bcrypt, or not of the password itself where the store wants that (and the other way).
 */
export function storable(hash: Secret, encoding: Encoding): string {
  const { recipe, refused } = recognise(hash.reveal());
  const wanted = encoding === 'django-bcrypt-sha256' ? 'sha256-hex' : undefined;
  const fits = recipe?.kind === 'bcrypt' && recipe.before === wanted && (!refused || refused === 'prehashed');
  if (!fits) throw new PassferryError('hash_refused');
  return heads[encoding] + recipe.text.slice(4);
}

/** A text that says that there is no password, as Django's `!…`. */
export function isMarker(stored: string): boolean {
  const { refused } = recognise(stored);
  return refused === 'hash_empty' || refused === 'hash_marker';
}

/** What kind a stored text is, for a person: an encoding, another kind of hash, or `none` for what can never be a password. */
export function kindOf(stored: string): string {
  const encoding = encodingOf(stored);
  if (encoding) return encoding;
  const { kind, refused } = recognise(stored);
  return refused === 'hash_empty' || refused === 'hash_marker' || refused === 'hash_locked' ? 'none' : kind;
}

/**
 * The encoding that an application uses, by what it wrote last: the only kind among the texts, if it is one that we write. Two kinds, or none,
 * tell nothing: the application would perhaps not find our passwords equal.
 */
export function encodingSeen(kinds: Readonly<Record<string, number>>): Encoding | undefined {
  const [only, ...others] = Object.keys(kinds).filter((kind) => kind !== 'none');
  return others.length === 0 ? encodings.find((each) => each === only) : undefined;
}

/** Does the password match? False for what cannot be checked here. */
export async function verifyStored(password: Secret, stored: string): Promise<boolean> {
  const { recipe } = recognise(stored);
  if (!recipe) return false;
  return (await verifyHash(recipe, password.bytes()).catch(() => 'no_match')) === 'match';
}
