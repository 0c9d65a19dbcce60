import { columnName, resolveColumns } from '../columns.ts';
import type { Peekable } from '../peekable.ts';
import type { ReaderOptions } from '../reader.ts';
import { fileError } from '../reasons.ts';
import { suspicion } from '../suspicious.ts';
import { sourceNamed, sources } from './all.ts';
import type { ContainerInput, ContainerReader } from './container.ts';
import { containers } from './containers.ts';
import type { Sample, Source } from './source.ts';

/** How much of a file is looked at, bytes and records. */
const sampleBytes = 64 * 1024;
const sampleRecords = 20;
/** … of a dump, where nothing before was of users. */
const dumpBytes = 4 * 1024 * 1024;

/** A file of another product. */
export interface Foreign {
  source: Source;
  container: ContainerReader;
  sample: Sample;
  headerless: boolean;
}

export interface RecogniseInput {
  /** `auto` (default), `own`, or the name of a source. */
  from?: string | undefined;
  /** One that the caller named: `json` stands for both JSON ones. */
  format?: 'csv' | 'ndjson' | 'json' | undefined;
  options: ReaderOptions;
}

/**
 * Whose file it is, by its beginning; undefined: one of our own formats. Never a guess.
 * @throws source_unclear (its `fields` name the candidates), source_mismatch, source_no_passwords
 */
export async function recogniseSource(text: Peekable, input: RecogniseInput): Promise<Foreign | undefined> {
  const { from = 'auto', options } = input;
  if (from === 'own' || (from === 'auto' && (options.map !== undefined || options.header === false))) return undefined;
  if (from === 'auto' && (await isSurelyOwn(text, input))) return undefined;
  const { candidates, container, sample, bytes, isWhole } = await sampledFrom(text, input, () => true);
  const [named] = from === 'auto' ? [] : candidates;
  if (named) {
    if (named.recognise(sample) === 'no') throw fileError('source_mismatch');
    return judged(named, container, sample, bytes, isWhole);
  }
  const scores = candidates
    .filter((source) => source.containers.includes(container.name))
    .map((source) => ({ source, score: source.recognise(sample) }))
    .filter(({ score }) => score !== 'no');
  const sure = scores.filter(({ score }) => score === 'sure').map(({ source }) => source);
  const mayBeOwn = container.name !== 'sql' && container.name !== 'ldif' && isOwn(sample.names, options);
  if (mayBeOwn && !(sure.length === 1 && holdsHashes(sample))) return undefined;
  if (sure.length === 1) return judged(sure[0] as Source, container, sample, bytes, isWhole);
  // What is no format of ours either.
  if (scores.length === 0 && container.name === 'sql') throw fileError('source_no_users');
  if (scores.length === 0) return undefined;
  const unclear = sure.length > 0 ? sure : scores.map(({ source }) => source);
  throw fileError('source_unclear', {
    fields: unclear.map(({ name }) => ({ field: name, reason: 'source_unclear' })),
  });
}

/**
 * The beginning of a file, and which sources it may be of: the one that was named, or all that are wanted.
 * @throws source_unknown; source_no_join; source_mismatch: what was named has no files like this one
 */
export async function sampledFrom(
  text: Peekable,
  { from = 'auto', format }: RecogniseInput,
  wanted: (source: Source) => boolean,
) {
  const named = from === 'auto' || from === 'own' ? undefined : sourceNamed(from);
  if (from !== 'auto' && !named) throw fileError('source_unknown');
  if (named && !wanted(named)) throw fileError('source_no_join');
  const candidates = named ? [named] : sources.filter(wanted);
  const container = await containerOf(text, candidates, format);
  if (!container) throw fileError('source_mismatch');
  return { candidates, container, ...(await beginning(text, container, listsOf(candidates))) };
}

/** A dump may have other tables before that of the users: more of it is looked at. */
async function beginning(text: Peekable, container: ContainerReader, lists: string[]) {
  for (let size = sampleBytes; ; size *= 8) {
    const bytes = await text.peek(size);
    const isWhole = bytes.length < size;
    const sample = await sampleOf(container, bytes, isWhole, { lists });
    const enough = sample.records.length > 0 || isWhole || container.name !== 'sql' || size >= dumpBytes;
    if (enough) return { bytes, sample, isWhole };
  }
}

async function judged(
  source: Source,
  container: ContainerReader,
  seen: Sample,
  bytes: Buffer,
  isWhole: boolean,
): Promise<Foreign> {
  if (source.resetsOnly) throw fileError('source_resets_only');
  const { positions } = source;
  const headerless = container.name === 'csv' && positions !== undefined && (source.headerless?.(seen) ?? false);
  const sample = headerless ? await sampleOf(container, bytes, isWhole, { lists: [], positions }) : seen;
  if (sample.records.length > 0 && source.hasPasswords?.(sample) === false) throw fileError('source_no_passwords');
  return { source, container, sample, headerless };
}

export const listsOf = (candidates: readonly Source[]) => [...new Set(candidates.flatMap(({ lists = [] }) => lists))];

async function containerOf(
  text: Peekable,
  candidates: readonly Source[],
  format: RecogniseInput['format'],
): Promise<ContainerReader | undefined> {
  const bytes = await text.peek(1);
  const start = String.fromCharCode(bytes[0] ?? 0);
  const enough = /[[{]/.test(start) ? sampleBytes : /[-#/\\\s]/.test(start) ? 4_096 : 64;
  const head = (await firstLine(text, enough)).trimStart();
  const fits = ({ name }: ContainerReader) =>
    format === undefined || name === format || (format !== 'csv' && (name === 'json' || name === 'ndjson'));
  return containers.find(
    (each) => fits(each) && candidates.some((source) => source.containers.includes(each.name)) && each.begins(head),
  );
}

/** Of SQL, LDIF and CSV. */
const leadingComments = /^(?:\s+|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/;?|$)|\\[^\n]*(?:\n|$))+/;

/** Up to its end, or so many bytes: a sender may stop there for a while. */
async function firstLine(text: Peekable, most: number): Promise<string> {
  for (let wanted = 1; ; ) {
    const bytes = await text.peek(wanted);
    const ended = bytes.length < wanted;
    const line = bytes.toString('latin1', 0, Math.min(bytes.length, sampleBytes));
    // Not by one pattern: it would look at a long line from each of its characters.
    const isLine = /[\r\n]/.test(line.replace(leadingComments, '').trimStart());
    if (ended || isLine || bytes.length >= most) return line;
    wanted = bytes.length + (bytes.length < 2_048 ? 1 : bytes.length >> 1);
  }
}

/** Are the first names ours, without a doubt? Then nothing further is waited for. */
async function isSurelyOwn(text: Peekable, { format, options }: RecogniseInput): Promise<boolean> {
  const container = await containerOf(text, sources, format);
  // Nothing of another product comes so, or only of others.
  if (!container) return true;
  if (container.name === 'sql' || container.name === 'ldif') return false;
  for (let wanted = 1; ; ) {
    const bytes = await text.peek(wanted);
    const ended = bytes.length < wanted;
    const { names } = await sampleOf(container, bytes, ended, { lists: [] }, 1);
    if (names.length > 0) return surelyOwn(names, options);
    if (ended || bytes.length >= sampleBytes) return false;
    wanted = bytes.length + (bytes.length < 2_048 ? 1 : bytes.length >> 1);
  }
}

/** Under the very names that we gave them, or nothing but columns of ours. */
function surelyOwn(names: readonly string[], options: ReaderOptions): boolean {
  if (names.includes('userId') && (names.includes('password') || names.includes('passwordHash'))) return true;
  return isOwn(names, options) && names.every((name) => columnName(name) !== undefined);
}

function isOwn(names: readonly string[], { keepColumns = [] }: ReaderOptions): boolean {
  try {
    resolveColumns([...names], { keep: keepColumns });
    return true;
  } catch {
    return false;
  }
}

/** Hashes, and not only passwords in clear: then a mark of another product counts more than what its columns happen to be called. */
function holdsHashes({ records, names }: Sample): boolean {
  if (names.some((name) => columnName(name) === 'passwordHash')) return true;
  return records.some((fields) =>
    Object.entries(fields).some(
      ([name, value]) => columnName(name) === 'password' && suspicion(String(value)) === 'password_is_hash',
    ),
  );
}

const stop = Symbol('the sample ends here');

/** Reads a copy of the beginning; what is wrong with it is told by whoever reads the file. */
async function sampleOf(
  container: ContainerReader,
  bytes: Buffer,
  ended: boolean,
  input: Pick<ContainerInput, 'lists' | 'positions'>,
  most = sampleRecords,
): Promise<Sample> {
  const sample: Sample = { container: container.name, names: [], records: [], of: [], outer: [] };
  const batches = container.read(copied(bytes, ended), {
    ...input,
    place: { line: 1, byte: 0 },
    names: (names) => {
      sample.names = names;
    },
    outer: (name) => {
      if (sample.outer.length < 256) sample.outer.push(name);
    },
    list: (name) => {
      sample.list = name;
    },
  });
  try {
    for await (const batch of batches) {
      for (const record of batch) {
        if (!('fields' in record)) continue;
        sample.records.push(record.fields);
        sample.of.push(record.of);
        if (sample.records.length >= most) break;
      }
      if (sample.records.length >= most) break;
    }
  } catch (thrown) {
    if (thrown !== stop && !isFileError(thrown)) throw thrown;
  }
  if (container.name !== 'csv') sample.names = Object.keys(sample.records[0] ?? {});
  return sample;
}

const isFileError = (thrown: unknown) => thrown instanceof Error && 'reason' in thrown;

function copied(bytes: Buffer, ended: boolean): Peekable {
  let copy: Buffer | undefined = Buffer.from(bytes);
  return {
    async peek(atLeast) {
      if (copy !== undefined && atLeast <= copy.length) return copy;
      if (!ended) throw stop;
      return copy ?? Buffer.alloc(0);
    },
    async next() {
      const first = copy;
      copy = undefined;
      if (first === undefined && !ended) throw stop;
      return first;
    },
    async close() {
      copy?.fill(0);
    },
  };
}
