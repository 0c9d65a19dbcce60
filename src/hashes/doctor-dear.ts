import { createHmac } from 'node:crypto';
import type { Tried } from './doctor-cheap.ts';
import { type Form, otherSalts } from './doctor-forms.ts';
import type { Aim } from './doctor-targets.ts';
import { referenceMs } from './estimate.ts';
import type { Digest, Recipe } from './kinds.ts';
import { digestBytes } from './pbkdf2.ts';

/** A check that is dear; whoever drives the search decides when it is run, and with how many others. */
export interface Check {
  recipe: Recipe;
  password: Buffer;
  how: string[];
  /** Only what a target would do too makes a recipe that it may take. */
  asIs: boolean;
}

export const fitOf = ({ recipe, how, asIs }: Check): Tried['fit'] => ({ how, ...(asIs && { recipe }) });

/** The recipe is known: what was done to the password, and how the salt was read, is not. */
export function* checksOf(recipe: Recipe, passwords: Form[], extras: Form[]): Generator<Check> {
  const salts =
    'salt' in recipe && typeof recipe.salt === 'object'
      ? otherSalts(recipe.salt)
      : [{ bytes: undefined, how: [] as string[] }];
  const bare = recipe.kind === 'bcrypt' && recipe.before ? [{ ...recipe }, without(recipe)] : [recipe];
  const known = recipe.kind === 'bcrypt' ? (recipe.before ?? '') : '';
  for (const one of bare) {
    const done = one.kind === 'bcrypt' && one.before ? [known] : [];
    for (const [index, { bytes, how }] of salts.entries()) {
      const salted = bytes ? ({ ...one, salt: bytes } as Recipe) : one;
      // A salt that was misread and a changed password at once: too rare for the time it takes.
      for (const password of index === 0 && done.length === 0 ? passwords : passwords.slice(0, 12))
        yield {
          recipe: salted,
          password: password.bytes,
          how: [...password.how, ...done, ...how, one.kind],
          asIs: password.how.length === 0 && done.length === 0,
        };
    }
    const first = passwords[0]?.bytes ?? Buffer.alloc(0);
    for (const extra of extras) {
      const joined: [string, Buffer][] = [
        ['password + it', Buffer.concat([first, extra.bytes])],
        ['it + password', Buffer.concat([extra.bytes, first])],
        ['HMAC-SHA256 in hex, key: it', Buffer.from(createHmac('sha256', extra.bytes).update(first).digest('hex'))],
        [
          'HMAC-SHA256 in base64, key: it',
          Buffer.from(createHmac('sha256', extra.bytes).update(first).digest('base64')),
        ],
      ];
      for (const [name, password] of joined)
        yield { recipe: one, password, how: [...extra.how, name, one.kind], asIs: false };
    }
  }
}

function without(recipe: Recipe & { kind: 'bcrypt' }): Recipe {
  const { before: _, ...rest } = recipe;
  return rest;
}

/** Rounds that frameworks have as defaults. */
const commonRounds = [
  1000, 10_000, 1, 1024, 2048, 4096, 5000, 100_000, 20_000, 12_000, 15_000, 24_000, 25_000, 27_500, 29_000, 30_000,
  36_000, 50_000, 60_000, 64_000, 65_536, 120_000, 150_000, 180_000, 210_000, 260_000, 310_000, 390_000, 600_000,
];
const commonScrypt = [
  [14, 8, 1],
  [15, 8, 1],
  [14, 8, 5],
  [12, 8, 1],
  [10, 8, 1],
  [16, 8, 1],
] as const;

/** Bytes without a recipe: the derivations that frameworks write so, the cheap and likely first. */
export function checksOfBytes(aim: Aim, passwords: Form[], salts: Form[], rounds?: number): Check[] {
  const hash = aim.bytes;
  if (hash.length < 16) return [];
  const exact = (Object.keys(digestBytes) as Digest[]).filter((name) => digestBytes[name] === hash.length);
  const names = [...new Set<Digest>([...exact, 'sha1', 'sha256', 'sha512'])].filter((name) => name !== 'md5');
  const few = passwords.filter(({ how }) => how.length === 0 || (how.length === 1 && how[0] === 'as utf16le'));
  const checks: { check: Check; weight: number }[] = [];
  const add = (recipe: Recipe, password: Form, salt: number, name: string, unlikely: number) => {
    const how = [...password.how, ...(salts[salt]?.how ?? []), name, ...aim.how.slice(-1)];
    const check = { recipe, password: password.bytes, how, asIs: password.how.length === 0 };
    checks.push({ check, weight: referenceMs(recipe) * (1 + salt) * unlikely * (1 + 3 * password.how.length) });
  };
  for (const [index, salt] of salts.slice(0, 4).entries()) {
    for (const turns of rounds === undefined ? commonRounds : [rounds])
      for (const password of rounds === undefined ? few : passwords.slice(0, 40))
        for (const [place, digest] of names.entries()) {
          const recipe: Recipe = { kind: 'pbkdf2', digest, rounds: turns, salt: salt.bytes, hash };
          add(recipe, password, index, `PBKDF2-${digest}, ${turns} rounds`, 1 + place);
        }
    for (const [ln, r, p] of commonScrypt)
      for (const password of few.slice(0, 1)) {
        const recipe: Recipe = { kind: 'scrypt', ln, r, p, salt: salt.bytes, hash };
        add(recipe, password, index, `scrypt, N=${2 ** ln}`, 1);
      }
  }
  return checks.sort((a, b) => a.weight - b.weight).map(({ check }) => check);
}
