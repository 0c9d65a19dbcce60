import { setImmediate as breathe } from 'node:timers/promises';
import { type Tried, tryChains, tryDigests, tryMd4 } from './doctor-cheap.ts';
import { type Check, checksOf, checksOfBytes, fitOf } from './doctor-dear.ts';
import { type Form, passwordForms, saltForms } from './doctor-forms.ts';
import { type Aim, aimsOf } from './doctor-targets.ts';
import type { Hash } from './kinds.ts';
import type { HashReason } from './reasons.ts';
import { recognise } from './recognise.ts';
import { judge } from './targets.ts';
import { verifyHash } from './verify.ts';

/** One row of the source. */
export interface DoctorRow {
  hash: string;
  salt?: string;
  /** Rounds that the source says it makes. */
  iterations?: number;
  /** Other columns that may have gone in: user name, e-mail, id, a pepper. Name → value. */
  others?: Record<string, string>;
}

export interface DoctorOptions {
  /** Default 9,000 ms; what is being computed then is waited for. */
  budgetMs?: number;
  onProgress?(tried: number): void;
}

/** What would have to be known to find more. `password`: it may not be the one of this row. */
export type Missing = 'password' | 'salt' | 'pepper' | 'iterations' | 'time';

export interface Diagnosis {
  /** The hash as it is recognised without the password. */
  hash: Hash;
  /** Steps that make this hash of this password, in order; empty: exactly as the kind says. Absent: none was found. */
  how?: string[];
  /** The hash as a target takes it, when one does. */
  carried?: Hash;
  /** Why none does, although the recipe is known. */
  refused?: HashReason;
  missing: Missing[];
  tried: number;
  ms: number;
  /** Every recipe was tried, or one was found. */
  complete: boolean;
}

/** Dear checks that run at once, on threads. */
const atOnce = 4;

/**
 * Searches for the way in which the source made this hash of this password: digest, salt order, encodings, normalisation,
 * hashes of hashes, rounds. Cheap ones first. Hostile costs are not computed. The password is in nothing that is returned.
 */
export async function diagnose(row: DoctorRow, password: string, options: DoctorOptions = {}): Promise<Diagnosis> {
  const start = performance.now();
  const { budgetMs = 9000, onProgress } = options;
  const hash = recognise(row.hash.trim());
  const clock = clockOf(start, budgetMs, onProgress);
  const fit = await search(row, hash, password, clock);
  const ms = Math.round(performance.now() - start);
  const base = { hash, tried: clock.tried, ms, complete: fit !== undefined || !clock.skipped };
  if (!fit) return { ...base, missing: missing(row, hash, clock.skipped) };
  const { how, recipe } = fit;
  const carried = recipe && judge({ kind: nameOf(recipe), recipe });
  if (carried && !carried.refused) return { ...base, how, missing: [], carried };
  return {
    ...base,
    how,
    missing: [],
    refused: carried?.refused ?? whyNot(hash, how),
  };
}

/** Why no target follows a recipe that is no kind of its own. */
function whyNot(hash: Hash, how: string[]): HashReason {
  // A target would take the hash itself, and only the password was changed a little.
  const isLight = how.slice(0, -1).every((step) => /^(?:blanks around|NF|lower|upper)/.test(step));
  if (isLight && hash.encoded !== undefined) return 'password_changed';
  return hash.refused === 'prehashed' ? 'prehashed' : 'recipe_foreign';
}

/** How many were tried, and how long may still be searched. */
interface Clock {
  tried: number;
  /** Something was not tried for want of time. */
  skipped: boolean;
  left(): number;
  /** After each try; lets others run now and then. False: no time is left. */
  count(): Promise<boolean>;
}

function clockOf(start: number, budgetMs: number, onProgress: DoctorOptions['onProgress']): Clock {
  let breath = start;
  const left = () => start + budgetMs - performance.now();
  const clock: Clock = {
    tried: 0,
    skipped: false,
    left,
    async count() {
      clock.tried++;
      const now = performance.now();
      if (now - breath >= 50) {
        breath = now;
        onProgress?.(clock.tried);
        await breathe();
      }
      return left() > 0;
    },
  };
  return clock;
}

/** Kept from the derivations for the digests of digests that come after them. ms. */
const forChains = 1500;

async function search(row: DoctorRow, hash: Hash, password: string, clock: Clock): Promise<Tried['fit']> {
  const passwords = passwordForms(password);
  const others = Object.entries(row.others ?? {}).filter(([, value]) => value !== '' && value.length <= 256);
  const extras: Form[] = [
    ...(row.salt ? saltForms(row.salt) : []),
    ...others.flatMap(([name, value]) => saltForms(value, `column ${name}`)),
  ];
  const { recipe } = hash;
  if (recipe && recipe.kind !== 'digest') {
    if (hash.refused === 'cost_too_high') return undefined;
    return drive(checksOf(recipe, passwords, extras), clock, 0);
  }
  const aims = aimsOf(row.hash, recipe);
  const saltsOf = (aim: Aim) => [...aim.salts, ...extras];
  const plain = passwords.filter(({ how }) => how.length <= 1);
  for (const aim of aims) {
    const fit = await first(tryDigests(aim, passwords, saltsOf(aim)), clock);
    if (fit) return fit;
    const old = await first(await tryMd4(aim, passwords), clock);
    if (old) return old;
  }
  // Digests of digests cost ms, derivations with many rounds tenths of seconds.
  const most = Math.min(Math.max(row.iterations ?? 0, 5000) + 1, 200_000);
  const chains = async (forms: Form[], salts: number): Promise<Tried['fit']> => {
    for (const aim of aims) {
      const fit = await first(tryChains(aim, forms, saltsOf(aim).slice(0, salts), most), clock);
      if (fit) return fit;
    }
    return undefined;
  };
  const likely = await chains(plain.slice(0, 1), 2);
  if (likely) return likely;
  for (const aim of aims) {
    const fit = await drive(checksOfBytes(aim, passwords, saltsOf(aim), row.iterations), clock, forChains);
    if (fit) return fit;
  }
  return chains(plain.slice(1, 3), 3);
}

async function first(all: Iterable<Tried>, clock: Clock): Promise<Tried['fit']> {
  for (const { fit } of all) {
    const more = await clock.count();
    if (fit) return fit;
    if (more) continue;
    clock.skipped = true;
    return undefined;
  }
  return undefined;
}

/** Some checks at once; those that would take longer than what is left, less `kept` ms, are not begun. */
async function drive(checks: Iterable<Check>, clock: Clock, kept: number): Promise<Tried['fit']> {
  let group: Check[] = [];
  const run = async (): Promise<Check | undefined> => {
    const maxMs = Math.max(clock.left() - kept, 0);
    const verdicts = await Promise.all(group.map(({ recipe, password }) => verifyHash(recipe, password, { maxMs })));
    const found = group.find((_, index) => verdicts[index] === 'match');
    for (const verdict of verdicts) {
      if (verdict === 'too_costly') clock.skipped = true;
      else await clock.count();
    }
    group = [];
    return found;
  };
  for (const check of checks) {
    group.push(check);
    if (group.length < atOnce) continue;
    const found = await run();
    if (found) return fitOf(found);
    if (clock.left() > kept) continue;
    clock.skipped = true;
    return undefined;
  }
  const found = await run();
  return found && fitOf(found);
}

function nameOf(recipe: NonNullable<Hash['recipe']>): string {
  if (recipe.kind === 'pbkdf2') return `pbkdf2-${recipe.digest}`;
  return recipe.kind === 'digest'
    ? `${recipe.digest}${recipe.order === 'plain' ? '' : `-${recipe.order}`}`
    : recipe.kind;
}

function missing(row: DoctorRow, hash: Hash, over: boolean): Missing[] {
  const isDigest = !hash.recipe || hash.recipe.kind === 'digest';
  const salted = row.salt || (hash.recipe && hash.recipe.kind !== 'digest') || /[:$]/.test(row.hash);
  return [
    'password',
    ...(salted ? [] : (['salt'] as const)),
    'pepper',
    ...(isDigest && row.iterations === undefined ? (['iterations'] as const) : []),
    ...(over ? (['time'] as const) : []),
  ];
}
