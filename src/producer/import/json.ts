import { isUtf8 } from 'node:buffer';
import {
  type ColumnName,
  checkMap,
  columnLimit,
  columnName,
  columnNames,
  nameColumns,
  resolveColumns,
  secretColumns,
} from './columns.ts';
import type { Cutter } from './csv-cut.ts';
import { cutJsonArray } from './json-cut.ts';
import { cutLines, type Frame } from './lines.ts';
import type { Reader, ReaderInput, ReaderOptions, SourceRecord } from './reader.ts';
import { fileError, type ImportReason } from './reasons.ts';
import type { RowValues } from './row.ts';

/** One object a line. */
export const readNdjson: Reader = (source, input) => readJson(source, input, cutLines(input.place));

/** One list of objects. */
export const readJsonArray: Reader = (source, input) => readJson(source, input, cutJsonArray(input.place));

async function* readJson(source: Parameters<Reader>[0], input: ReaderInput, cutter: Cutter<Frame>): ReturnType<Reader> {
  checkMap(input.options.map ?? {});
  const records = jsonReader(input);
  try {
    for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
      yield records(cutter.take(chunk, false));
    }
    yield records(cutter.take(Buffer.alloc(0), true));
  } finally {
    cutter.close();
  }
}

export const isBlank = (bytes: Buffer) => bytes.every((byte) => byte === 32 || (byte >= 9 && byte <= 13));

type Parsed = Record<string, unknown> | ImportReason;

function jsonReader({ options, detected, place }: ReaderInput) {
  const nameOf = keyNames(options);
  const keeps = (key: string) => hasKey((options.keepColumns as string[] | undefined) ?? [], key);
  const undecodable: ImportReason = place.width ? 'row_not_encoded' : 'row_not_utf8';
  let first = true;
  let named = new Map<ColumnName, string>();

  return function* records(frames: Iterable<Frame>): Generator<SourceRecord> {
    for (const frame of frames) {
      if ('bytes' in frame && isBlank(frame.bytes)) continue;
      const { line, byte } = frame;
      const parsed: Parsed = 'reason' in frame ? frame.reason : parseObject(frame.bytes, undecodable);
      if (first) {
        first = false;
        if ('bytes' in frame) checkFirst(frame.bytes, parsed, options.map !== undefined);
        const { named: names, ...found } = describe(typeof parsed === 'string' ? [] : Object.keys(parsed), options);
        named = names;
        detected(found);
      }
      yield typeof parsed === 'string' ? { line, byte, reason: parsed } : toRecord(line, byte, parsed);
    }
  };

  function toRecord(line: number, byte: number, parsed: Record<string, unknown>): SourceRecord {
    const values: RowValues = {};
    const columns: Record<string, string> = {};
    for (const [key, value] of Object.entries(parsed)) {
      const { column, kept } = nameOf(key);
      if (column && Object.hasOwn(values, column)) return { line, byte, reason: 'field_repeated', field: column };
      if (column) values[column] = value;
      const isOther = nameColumns.includes(column as (typeof nameColumns)[number]) && !named.has(column as ColumnName);
      if (kept && !secretColumns.has(column) && !(isOther && !keeps(key)) && value !== null) {
        columns[(column && named.get(column)) ?? key] =
          typeof value === 'object' ? JSON.stringify(value) : String(value);
      }
    }
    return { line, byte, values, columns };
  }
}

export function parseObject(bytes: Buffer, undecodable: ImportReason): Parsed {
  if (!isUtf8(bytes)) return undecodable;
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString('utf8'));
  } catch {
    return 'row_not_json';
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'row_not_object';
  const keys = Object.keys(parsed).length;
  if (keys > columnLimit) return 'row_too_many_fields';
  // JSON.parse takes the last of two without a word.
  return topLevelKeys(bytes) === keys ? (parsed as Record<string, unknown>) : 'field_repeated';
}

/** Keys of an object that parsed: colons outside of strings at its first level. */
function topLevelKeys(bytes: Buffer): number {
  let depth = 0;
  let keys = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 34) {
      for (i++; bytes[i] !== 34; i++) if (bytes[i] === 92) i++;
    } else if (byte === 58 && depth === 1) keys++;
    else if (byte === 123 || byte === 91) depth++;
    else if (byte === 125 || byte === 93) depth--;
  }
  return keys;
}

/** A file whose first line or element shows that it is something else. */
function checkFirst(bytes: Buffer, parsed: Parsed, mapped: boolean): void {
  if (bytes.includes(0)) throw fileError('file_not_text');
  if (parsed === 'row_not_json' && /^\s*\{(?:\s*|.*[[{,]\s*)$/s.test(bytes.toString('latin1'))) {
    throw fileError('file_json_object');
  }
  if (
    typeof parsed !== 'string' &&
    !mapped &&
    !Object.keys(parsed).some(columnName) &&
    Object.values(parsed).some(isList)
  ) {
    throw fileError('file_json_object');
  }
}

const isList = (value: unknown) => Array.isArray(value) && value.length > 0 && typeof value[0] === 'object';

/**
 * What the keys of the first row say of the file. Others may come later: only those of a mapping of userId and password must be
 * there, and rows hand on all of ours, each under one name.
 */
function describe(keys: string[], { map = {}, keepColumns = [], by }: ReaderOptions) {
  const names = [...keys];
  const required = ['userId', 'password', 'passwordHash', 'email', 'userName'];
  const has = (...names: ColumnName[]) =>
    names.some((name) => map[name] !== undefined || keys.some((key) => columnName(key) === name));
  // One of these is enough, and which is seen in the first row.
  const absent = new Set<ColumnName>(['passwordHash', 'email', 'userName']);
  if (has('passwordHash')) absent.add('password');
  if (has('email', 'userName')) absent.add('userId');
  for (const name of columnNames) {
    const mapped = map[name];
    const there = mapped === undefined ? keys.some((key) => columnName(key) === name) : hasKey(keys, mapped);
    const mustBe = mapped !== undefined && required.includes(name) && keys.length > 0;
    // Never both of the two that exclude each other.
    const excluded = name === 'changeRequired' || name === 'noChangeRequired';
    const isWanted = !excluded && !absent.has(name);
    if (!there && !mustBe && (isWanted || mapped !== undefined)) names.push(mapped ?? name);
  }
  for (const name of keepColumns) if (!hasKey(names, name)) names.push(name);
  const { at, kept } = resolveColumns(names, { map, keep: keepColumns, by });
  const nameOf = ([name, index]: [string, number]): [string, string] => [name, names[index] as string];
  const all = Object.entries(at).map(nameOf) as [ColumnName, string][];
  return {
    header: keys,
    columns: Object.fromEntries(all.filter(([, name]) => keys.includes(name))),
    kept: [...kept.map((column) => column.at), at.password, at.passwordHash]
      .filter((index) => index !== undefined)
      .sort((a, b) => a - b)
      .map((i) => names[i] as string),
    named: new Map(all),
  };
}

const hasKey = (keys: string[], name: string) => keys.some((key) => key.toLowerCase() === name.toLowerCase());

/** Key → our column and whether rows hand it on; remembered, since all rows have the same keys. */
function keyNames({ map = {}, keepColumns = [] }: ReaderOptions) {
  const known = new Map<string, { column: ColumnName | undefined; kept: boolean }>();
  const mapped = columnNames.filter((name) => map[name] !== undefined);
  const find = (key: string) => {
    const plain = key.trim().toLowerCase();
    const named = mapped.find((name) => map[name]?.trim().toLowerCase() === plain);
    const usual = columnName(key);
    const column = named ?? (usual !== undefined && map[usual] === undefined ? usual : undefined);
    const kept =
      key !== '__proto__' && (column !== undefined || keepColumns.some((name) => name.toLowerCase() === plain));
    return { column, kept };
  };
  return (key: string) => {
    const before = known.get(key);
    if (before) return before;
    const found = find(key);
    // Keys that differ in every row are not remembered for ever.
    if (known.size < 1_000) known.set(key, found);
    return found;
  };
}
