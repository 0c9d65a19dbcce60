import { readFileSync, statSync } from 'node:fs';

/** v1 id → v2 user id, and back. An id that is named with two partners has none. */
export interface IdMap {
  readonly toV2: ReadonlyMap<string, string>;
  readonly toV1: ReadonlyMap<string, string>;
  /** Ids, of either side, that have two partners. */
  readonly twice: { readonly v1: ReadonlySet<string>; readonly v2: ReadonlySet<string> };
}

/** Instead of an id: there is more than one. */
export const several = Symbol('several');

type Code = 'id_map_unreadable' | 'id_map_too_large' | 'id_map_header' | 'id_map_line';

const mostBytes = 256 * 1024 * 1024;
const mostLines = 5_000_000;
const mostTold = 10;
const longest = 200;

/** A CSV file with the first line `v1,v2` and two ids a line, in quotes or not. Read whole: both ways are asked for every change. */
export function readIdMap(path: string): IdMap | { problems: { code: Code; at?: string }[] } {
  let text: string;
  try {
    if (statSync(path).size > mostBytes) return { problems: [{ code: 'id_map_too_large' }] };
    text = readFileSync(path, 'utf8');
  } catch {
    return { problems: [{ code: 'id_map_unreadable' }] };
  }
  return parseIdMap(text);
}

export function parseIdMap(text: string): IdMap | { problems: { code: Code; at?: string }[] } {
  const toV2 = new Map<string, string>();
  const toV1 = new Map<string, string>();
  const twice = { v1: new Set<string>(), v2: new Set<string>() };
  const bad: { code: Code; at: string }[] = [];
  let lineNumber = 0;
  for (const line of linesOf(text)) {
    lineNumber += 1;
    if (lineNumber > mostLines + 1) return { problems: [{ code: 'id_map_too_large' }] };
    const ids = idsOf(line);
    if (lineNumber === 1) {
      if (ids?.[0] !== 'v1' || ids[1] !== 'v2') return { problems: [{ code: 'id_map_header', at: 'line 1' }] };
      continue;
    }
    if (line === '') continue;
    if (!ids) {
      if (bad.length < mostTold) bad.push({ code: 'id_map_line', at: `line ${lineNumber}` });
      continue;
    }
    const [v1, v2] = ids;
    if (toV2.has(v1) && toV2.get(v1) !== v2) twice.v1.add(v1);
    if (toV1.has(v2) && toV1.get(v2) !== v1) twice.v2.add(v2);
    toV2.set(v1, v2);
    toV1.set(v2, v1);
  }
  if (bad.length > 0) return { problems: bad };
  if (lineNumber === 0) return { problems: [{ code: 'id_map_header', at: 'line 1' }] };
  return { toV2, toV1, twice };
}

function* linesOf(text: string): Generator<string> {
  let from = text.startsWith('\ufeff') ? 1 : 0;
  while (from < text.length) {
    const end = text.indexOf('\n', from);
    const stop = end < 0 ? text.length : end;
    yield text.slice(from, text[stop - 1] === '\r' && stop > from ? stop - 1 : stop);
    from = stop + 1;
  }
}

const field = '(?:"((?:[^"]|"")*)"|([^",]*))';
const pair = new RegExp(`^${field},${field}$`);

function idsOf(line: string): [string, string] | undefined {
  const parts = pair.exec(line);
  if (!parts) return undefined;
  const [v1, v2] = [
    parts[1]?.replaceAll('""', '"') ?? parts[2] ?? '',
    parts[3]?.replaceAll('""', '"') ?? parts[4] ?? '',
  ];
  const fine = [v1, v2].every((id) => id !== '' && id.length <= longest && !/\p{Cc}/u.test(id));
  return fine ? [v1, v2] : undefined;
}

/** The v1 id of a v2 user; `several`: not one for certain. */
export function v1Of({ toV1, toV2, twice }: IdMap, v2: string): string | typeof several | undefined {
  const v1 = toV1.get(v2);
  if (v1 === undefined) return undefined;
  return twice.v2.has(v2) || twice.v1.has(v1) || toV2.get(v1) !== v2 ? several : v1;
}

/** The v2 user id of a v1 row. */
export function v2Of({ toV1, toV2, twice }: IdMap, v1: string): string | typeof several | undefined {
  const v2 = toV2.get(v1);
  if (v2 === undefined) return undefined;
  return twice.v1.has(v1) || twice.v2.has(v2) || toV1.get(v2) !== v1 ? several : v2;
}
