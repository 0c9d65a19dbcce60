import { type Backslash, copyHead, createHead, insertHead, type SqlTable, saysBackslash } from './head.ts';
import { closing, isWordByte, opening } from './lex.ts';

/**
 * `more`: its beginning is not all there. `over`: it is all there, and has no rows. `rows`, `copy`: rows follow. `body`: what follows
 * holds statements of its own. `delimiter`: the end of statements is written otherwise from here on.
 */
export interface Statement {
  kind: 'more' | 'over' | 'rows' | 'copy' | 'skip' | 'body' | 'delimiter';
  /** Where it goes on. */
  at: number;
  table?: SqlTable;
  backslash?: Backslash;
}

const SEMICOLON = 59;
const BACKTICK = 96;
const OPEN = 40;
const CLOSE = 41;
/** Tables whose columns are remembered. */
const tableLimit = 10_000;

/** Reads beginnings of statements; remembers the columns of tables that were created. */
export function createStatements() {
  const created = new Map<string, string[]>();

  function withColumns(table: SqlTable): SqlTable {
    if (table.columns) return table;
    const known = [table.path, table.name].find((name) => created.has(name));
    return known === undefined ? table : { ...table, columns: created.get(known) as string[] };
  }

  return {
    /** The statement that begins here. */
    scan(buffer: Buffer, start: number, backslash: Backslash, final: boolean): Statement {
      const first = wordAt(buffer, start, final);
      if (first === undefined) return { kind: 'more', at: start };
      const text = (to: number) => buffer.toString('utf8', start, to);
      const walk = (...ends: string[]) => walkTo(buffer, start, backslash, final, ends);
      switch (first) {
        case 'INSERT':
        case 'REPLACE': {
          const { at, word, backticks } = walk('VALUES', 'VALUE', 'SELECT', 'SET', 'WITH', 'TABLE');
          if (at < 0) return { kind: 'more', at: start };
          const table = /^VALUES?$/.test(word) ? insertHead(text(at)) : undefined;
          if (!table) return { kind: word === ';' ? 'over' : 'skip', at };
          return { kind: 'rows', at, table: withColumns(table), ...(backticks && { backslash: true }) };
        }
        case 'COPY': {
          const { at } = walk();
          if (at < 0) return { kind: 'more', at: start };
          const table = copyHead(text(at));
          if (!table) return { kind: 'over', at };
          // Its line ends first.
          const end = buffer.indexOf('\n', at);
          if (end < 0) return final ? { kind: 'copy', at, table } : { kind: 'more', at: start };
          const { plain, ...named } = table;
          const { name, path } = named;
          return { kind: 'copy', at: end + 1, table: plain ? withColumns(named) : { name, path }, backslash: false };
        }
        case 'CREATE': {
          const what = createWhat(buffer, start, final);
          if (what === undefined) return { kind: 'more', at: start };
          if (what !== 'table') return { kind: what, at: start + first.length };
          const { at, backticks } = walk();
          if (at < 0) return { kind: 'more', at: start };
          const table = createHead(text(at));
          if (table?.columns && created.size < tableLimit) {
            created.set(table.path, table.columns);
            created.set(table.name, table.columns);
          }
          return { kind: 'over', at, ...(backticks && { backslash: true }) };
        }
        case 'SET': {
          const { at } = walk();
          if (at < 0) return { kind: 'more', at: start };
          return { kind: 'over', at, backslash: saysBackslash(text(at)) };
        }
        case 'PRAGMA':
          return { kind: 'skip', at: start + first.length, backslash: false };
        case 'DELIMITER': {
          const end = buffer.indexOf('\n', start);
          if (end < 0 && !final) return { kind: 'more', at: start };
          const at = end < 0 ? buffer.length : end + 1;
          return { kind: /^delimiter\s+;\s*$/i.test(text(at)) ? 'over' : 'delimiter', at };
        }
        default:
          return { kind: 'skip', at: start };
      }
    },
  };
}

/** Upper case; undefined: not all of it is there. Longer ones are none of ours. */
function wordAt(buffer: Buffer, start: number, final: boolean): string | undefined {
  let at = start;
  while (at < buffer.length && at - start < 32 && isWordByte(buffer[at] as number)) at++;
  if (at === buffer.length && !final) return undefined;
  return buffer.toString('latin1', start, at).toUpperCase();
}

function createWhat(buffer: Buffer, start: number, final: boolean): 'table' | 'body' | 'skip' | undefined {
  const head = buffer.toString('latin1', start, start + 200);
  const [, kind] =
    /^create\s+(?:[^;(]*?\s)??(table|trigger|function|procedure|event|package|index|view|type|domain|schema|sequence|database|extension|role|user|policy|rule)\b./is.exec(
      head,
    ) ?? [];
  if (kind === undefined) return head.length < 200 && !head.includes(';') && !final ? undefined : 'skip';
  const word = kind.toLowerCase();
  if (word === 'table') return 'table';
  return /^(?:trigger|function|procedure|event|package)$/.test(word) ? 'body' : 'skip';
}

/** To its semicolon, or to one of these words outside of brackets; -1: neither is there. `word`: which; `;` also at the very end. */
function walkTo(buffer: Buffer, start: number, backslash: Backslash, final: boolean, ends: readonly string[]) {
  let depth = 0;
  let backticks = false;
  const none = { at: -1, word: '', backticks };
  for (let i = start; i < buffer.length; ) {
    const value = buffer[i] as number;
    if (isWordByte(value)) {
      let to = i;
      while (to < buffer.length && isWordByte(buffer[to] as number)) to++;
      if (to === buffer.length && !final) return none;
      const word = to - i < 10 ? buffer.toString('latin1', i, to).toUpperCase() : '';
      if (depth === 0 && i > start && ends.includes(word)) return { at: to, word, backticks };
      i = to;
      continue;
    }
    const inside = opening(buffer, i, backslash ?? false, final);
    if (inside === 'more') return none;
    if (inside) {
      backticks ||= inside.kind === 'quote' && inside.quote === BACKTICK;
      const { at, closed } = closing(buffer, inside, inside.from, final);
      if (!closed) return none;
      i = at;
      continue;
    }
    if (value === OPEN) depth++;
    else if (value === CLOSE) depth--;
    else if (value === SEMICOLON && depth <= 0) return { at: i + 1, word: ';', backticks };
    i++;
  }
  return final ? { at: buffer.length, word: ';', backticks } : none;
}
