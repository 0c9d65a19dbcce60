import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { ReadStream } from 'node:tty';
import { type Hash, type HashWarning, hashWarnings, type Taken } from '../hashes/kinds.ts';
import { createMeter } from '../hashes/measure.ts';
import { hashReasons } from '../hashes/reasons.ts';
import { recognise } from '../hashes/recognise.ts';
import { cliError, exits } from './exit.ts';
import { hashesOf, type Line } from './hash-read.ts';
import { counted, duration, grouped, note, printable, say, sayJson } from './output.ts';
import { askHidden } from './password-input.ts';

export interface InspectOptions {
  column?: string;
  peppered?: boolean;
  encoded?: string;
  json?: boolean;
}

/** Hashes that are told in one line. `first`: the line of the first one. */
interface Group {
  hash: Omit<Hash, 'recipe' | 'encoded'>;
  count: number;
  first: number;
  ms?: number;
}

/** More different costs than this in one file are told without their costs. */
const mostGroups = 500;
/** Lines of a summary; the rest is counted. */
const shown = 40;

/** Exit code 0 when some target takes every hash. */
export async function inspect(file: string | undefined, options: InspectOptions): Promise<number> {
  const meter = createMeter();
  const groups = new Map<string, Group>();
  const out = options.encoded === undefined ? undefined : await openOut(options.encoded);
  let total = 0;
  try {
    for await (const { line, text } of hashesOf(source(file), options.column)) {
      const hash = recognise(text.trim(), { peppered: options.peppered ?? false });
      total++;
      await out?.write(`${hash.encoded ?? ''}\n`);
      const group = groupOf(groups, hash, line);
      if (hash.recipe) group.ms ??= await meter(hash.recipe);
    }
    await out?.end();
  } finally {
    await out?.close();
  }
  if (total === 0) throw cliError(exits.usage, 'there is nothing to inspect: the input is empty');
  const sorted = [...groups.values()].sort(
    (a, b) => Number(!!a.hash.refused) - Number(!!b.hash.refused) || b.count - a.count,
  );
  const refused = sorted.reduce((sum, { hash, count }) => sum + (hash.refused ? count : 0), 0);
  // With - the hashes are the result, and what is said about them is not.
  const tell = options.encoded === '-' ? note : say;
  if (options.json) {
    const told = { total, taken: total - refused, refused, kinds: sorted.map(jsonOf) };
    if (options.encoded === '-') note(JSON.stringify(told));
    else sayJson(told);
  } else show(sorted, total, refused, tell);
  if (options.encoded !== undefined && options.encoded !== '-')
    note(
      `${grouped(total - refused)} written to ${printable(options.encoded)}; a line is empty where there is no form for a target`,
    );
  return refused === 0 ? exits.ok : exits.notInEffect;
}

async function* source(file: string | undefined): AsyncGenerator<Buffer | string> {
  if (file === undefined && process.stdin.isTTY) {
    yield await askHidden(process.stdin as ReadStream, 'Hash: ');
    return;
  }
  try {
    yield* file === undefined ? process.stdin : createReadStream(file);
  } catch (thrown) {
    const { code } = thrown as { code?: string };
    if (code === undefined || file === undefined) throw thrown;
    throw cliError(exits.usage, `cannot read ${file} (${code})`);
  }
}

function groupOf(groups: Map<string, Group>, { recipe: _r, encoded: _e, ...hash }: Hash, line: Line['line']): Group {
  const named = [hash.kind, hash.form, hash.refused];
  const exact = JSON.stringify([...named, hash.cost]);
  const [key, told] =
    groups.has(exact) || groups.size < mostGroups ? [exact, hash] : [JSON.stringify(named), { ...hash, cost: {} }];
  const group = groups.get(key) ?? { hash: told, count: 0, first: line };
  group.count++;
  groups.set(key, group);
  return group;
}

/** Sets the mode also of a file that was there. */
async function openOut(path: string) {
  if (path === '-') return { write: toOutput, end: async () => {}, close: async () => {} };
  let file: FileHandle;
  try {
    file = await open(path, 'w', 0o600);
    await file.chmod(0o600);
  } catch (thrown) {
    throw cliError(
      exits.usage,
      `cannot write ${path} (${(thrown as { code?: string }).code}); give --encoded another path`,
    );
  }
  let pending = '';
  const flush = async () => {
    await file.write(pending);
    pending = '';
  };
  const write = async (text: string) => {
    pending += text;
    if (pending.length > 64 * 1024) await flush();
  };
  return { write, end: flush, close: () => file.close() };
}

async function toOutput(text: string): Promise<void> {
  process.stdout.write(text);
}

function jsonOf({ hash, count, first, ms }: Group) {
  const { refused } = hash;
  const why = refused && { reason: refused, text: hashReasons[refused][0], advice: hashReasons[refused][1] };
  return {
    ...hash,
    count,
    firstLine: first,
    ...(ms !== undefined && { msHere: rounded(ms) }),
    ...(why && { refused: why }),
  };
}

const rounded = (ms: number) => (ms < 1 ? Number(ms.toPrecision(1)) : Math.round(ms));

function show(groups: Group[], total: number, refused: number, tell: (line: string) => void): void {
  if (total > 1) {
    const verdict =
      refused === 0
        ? 'all can be imported'
        : `${grouped(total - refused)} can be imported, ${grouped(refused)} REFUSED`;
    const by = (target: 'v1' | 'v2') =>
      groups.reduce((sum, { hash, count }) => sum + (hash.targets[target].takes === 'no' ? 0 : count), 0);
    tell(`${grouped(total)} hashes: ${verdict}`);
    tell(`  v1 takes ${grouped(by('v1'))}; v2 takes ${grouped(by('v2'))}, if its verifiers are switched on`);
  }
  for (const group of groups.slice(0, shown)) showGroup(group, total, tell);
  if (groups.length > shown) tell(`and ${counted(groups.length - shown, 'more kind')}; --json has them all`);
  const needed = new Set(
    groups.flatMap(({ hash }) => (hash.targets.v2.takes === 'with-verifier' ? [hash.targets.v2.verifier] : [])),
  );
  if (needed.size > 0)
    tell(`v2 needs ${[...needed].join(', ')} in ZITADEL_SYSTEMDEFAULTS_PASSWORDHASHER_VERIFIERS before the import`);
}

function showGroup({ hash, count, first, ms }: Group, total: number, tell: (line: string) => void): void {
  const { kind, form, cost, refused, targets, warnings } = hash;
  const parameters = Object.entries(cost).map(([name, value]) => `${name} ${grouped(value)}`);
  const named = [`${kind}${form ? ` (${form})` : ''}`, ...parameters].join(', ');
  const many = total > 1 ? `${grouped(count)} × ` : '';
  const where = total > 1 ? `, first in line ${grouped(first)}` : '';
  tell(printable(`${many}${named}${refused ? `: REFUSED ${refused}` : ''}${where}`));
  if (refused) {
    tell(`  ${hashReasons[refused][0]}`);
    tell(`  what to do: ${hashReasons[refused][1]}`);
  } else tell(`  v1: ${takenText(targets.v1)}; v2: ${takenText(targets.v2)}`);
  if (ms !== undefined)
    tell(`  one check takes about ${timeText(ms)} here${refused === 'cost_too_high' ? ' (estimated, not run)' : ''}`);
  for (const warning of warnings as HashWarning[]) tell(`  note: ${hashWarnings[warning]}`);
}

const timeText = (ms: number) => (ms < 1 ? 'no time' : ms < 10_000 ? `${grouped(ms)} ms` : duration(ms));

function takenText(taken: Taken): string {
  if (taken.takes === 'default') return 'takes it';
  if (taken.takes === 'with-verifier') return `takes it with the verifier ${taken.verifier}`;
  return `no (${taken.why}: ${hashReasons[taken.why][0]})`;
}
