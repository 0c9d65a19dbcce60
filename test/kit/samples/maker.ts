import { hashSync } from '@node-rs/bcrypt';

/** Numbers of a seed: the same seed, the same files. */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Files of one source in one shape. `source`: its name, `own`, or `none` for what must be refused or asked about, whatever it
 * looks like. Each source has a file in this folder with its makers, and a line in `all.ts`.
 */
export interface SampleMaker {
  source: string;
  shape: string;
  make(random: Random): string | Buffer;
}

/** An invented person. */
export interface Invented {
  given: string;
  family: string;
  email: string;
  userName: string;
  uuid: string;
  hex24: string;
  number: string;
}

const givens = [
  'Ada',
  'Björn',
  'Chloé',
  'Daan',
  'Emre',
  'Fumiko',
  'Gaëlle',
  'Hüseyin',
  'Ines',
  'Jörg',
  'Kiona',
  'Lars',
];
const families = ['Ahlgren', 'Baran', 'Castelo', 'Dvořák', 'Eze', 'Fontaine', 'Grünwald', "O'Hara", 'Ito', 'Jansen'];

export const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
export const chance = (random: Random, share: number) => random() < share;
export const times = <T>(count: number, make: (n: number) => T): T[] =>
  Array.from({ length: count }, (_, n) => make(n));

export function hexOf(random: Random, length: number): string {
  return times(length, () => pick(random, [...'0123456789abcdef'])).join('');
}

export function invent(random: Random): Invented {
  const [given, family] = [pick(random, givens), pick(random, families)];
  const n = Math.floor(random() * 1e6);
  const plain = (text: string) =>
    text
      .normalize('NFD')
      .replace(/[^A-Za-z]/g, '')
      .toLowerCase();
  const userName = `${plain(given)}.${plain(family)}${n}`;
  const hex = hexOf(random, 32);
  return {
    given,
    family,
    email: `${userName}@${pick(random, ['example.com', 'example.org', 'mail.example'])}`,
    userName,
    uuid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    hex24: hexOf(random, 24),
    number: String(100_000_000_000_000_000n + BigInt(Math.floor(random() * 1e15))),
  };
}

/** Costs little: one password, one hash a process and kind. */
const made = new Map<string, string>();
export const knownPassword = 'Zebra-Crossing-7';
export function bcryptOf(letter: 'a' | 'b' | 'y' = 'b', cost = 4): string {
  const key = `${letter}${cost}`;
  const hash = made.get(key) ?? hashSync(knownPassword, cost).replace(/^\$2\w/, `$2${letter}`);
  made.set(key, hash);
  return hash;
}

/** CSV as RFC 4180 has it. */
export function csvOf(
  rows: readonly (readonly string[])[],
  options: { quoted?: boolean; lineEnd?: string } = {},
): string {
  const { quoted = false, lineEnd = '\n' } = options;
  const cell = (text: string) => (quoted || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(cell).join(',') + lineEnd).join('');
}
