/** What statements of a dump say before their data: which table, which columns. Nothing is ever run. */

/** A table as a statement names it, and its columns where it says them. */
export interface SqlTable {
  /** Last part of the name: `users` of `"auth"."users"`. */
  name: string;
  /** As it is written, without quotes: `auth.users`. */
  path: string;
  columns?: string[];
}

/** A word or a sign; `quoted`: it is surely a name. */
interface Token {
  text: string;
  quoted: boolean;
}

const token =
  /`((?:[^`]|``)*)`|"((?:[^"]|"")*)"|\[(\w+)\]|'(?:[^'\\]|''|\\.)*'|--.*|\/\*[\s\S]*?\*\/|([\w$\u0080-\uffff]+)|(\S)/g;

function tokensOf(text: string): Token[] {
  const found: Token[] = [];
  for (const [all, backticked, doubled, bracketed, word, sign] of text.matchAll(token)) {
    const name = backticked?.replaceAll('``', '`') ?? doubled?.replaceAll('""', '"') ?? bracketed;
    if (name !== undefined) found.push({ text: name, quoted: true });
    else if (word !== undefined || sign !== undefined) found.push({ text: (word ?? sign) as string, quoted: false });
    else if (all.startsWith("'")) found.push({ text: "''", quoted: false });
  }
  return found;
}

const isWord = (each: Token | undefined, ...words: string[]) =>
  each !== undefined && !each.quoted && words.includes(each.text.toUpperCase());
const isSign = (each: Token | undefined, sign: string) => each !== undefined && !each.quoted && each.text === sign;

/** A name with its schema; undefined: there is none. */
function nameAt(tokens: Token[], from: number): { path: string; name: string; next: number } | undefined {
  const parts: string[] = [];
  let at = from;
  for (;;) {
    const part = tokens[at];
    if (!part || (!part.quoted && !/^[\w$\u0080-\uffff]+$/.test(part.text))) return undefined;
    parts.push(part.text);
    at++;
    if (!isSign(tokens[at], '.')) break;
    at++;
  }
  return { path: parts.join('.'), name: parts.at(-1) as string, next: at };
}

/** Names in brackets, if they are nothing but names. */
function listAt(tokens: Token[], from: number): { columns: string[]; next: number } | undefined {
  if (!isSign(tokens[from], '(')) return undefined;
  const columns: string[] = [];
  for (let at = from + 1; at < tokens.length; at += 2) {
    columns.push(tokens[at]?.text as string);
    if (isSign(tokens[at + 1], ')')) return { columns, next: at + 2 };
    if (!isSign(tokens[at + 1], ',')) return undefined;
  }
  return undefined;
}

const before = ['LOW_PRIORITY', 'DELAYED', 'HIGH_PRIORITY', 'IGNORE', 'OR', 'REPLACE', 'INTO', 'ONLY', 'FROM'];

/** `INSERT INTO t (a, b) VALUES` → its table. */
export function insertHead(text: string): SqlTable | undefined {
  const tokens = tokensOf(text);
  let at = 1;
  while (isWord(tokens[at], ...before)) at++;
  const named = nameAt(tokens, at);
  if (!named) return undefined;
  const list = listAt(tokens, named.next);
  return { name: named.name, path: named.path, ...(list && { columns: list.columns }) };
}

/** `COPY t (a, b) FROM stdin;` → its table; `plain`: in the form that has no options. */
export function copyHead(text: string): (SqlTable & { plain: boolean }) | undefined {
  const tokens = tokensOf(text);
  const named = nameAt(tokens, 1);
  if (!named) return undefined;
  const list = listAt(tokens, named.next);
  const rest = tokens.slice(list?.next ?? named.next);
  if (!isWord(rest[0], 'FROM') || !isWord(rest[1], 'STDIN')) return undefined;
  const plain = rest.length === 2 || isSign(rest[2], ';');
  return { name: named.name, path: named.path, ...(list && { columns: list.columns }), plain };
}

const noColumns = ['PRIMARY', 'KEY', 'UNIQUE', 'CONSTRAINT', 'FOREIGN', 'INDEX', 'CHECK', 'FULLTEXT', 'SPATIAL'].concat(
  ['EXCLUDE', 'LIKE', 'PERIOD'],
);

/** `CREATE TABLE t (a int, b text, PRIMARY KEY (a))` → its table. */
export function createHead(text: string): SqlTable | undefined {
  const tokens = tokensOf(text);
  let at = tokens.findIndex((each) => isWord(each, 'TABLE')) + 1;
  if (at === 0) return undefined;
  while (isWord(tokens[at], 'IF', 'NOT', 'EXISTS', 'ONLY')) at++;
  const named = nameAt(tokens, at);
  if (!named || !isSign(tokens[named.next], '(')) return undefined;
  const columns: string[] = [];
  let depth = 0;
  let opens = false;
  for (const each of tokens.slice(named.next)) {
    if (isSign(each, '(')) opens = ++depth === 1;
    else if (isSign(each, ')')) {
      if (--depth === 0) break;
    } else if (depth === 1 && isSign(each, ',')) opens = true;
    else if (opens) {
      opens = false;
      if (!isWord(each, ...noColumns)) columns.push(each.text);
    }
  }
  return { name: named.name, path: named.path, columns };
}

/** Is a backslash an escape in strings? Undefined: nothing has told yet. */
export type Backslash = boolean | undefined;

/** A comment of a dump says which program wrote it. */
export function writtenBy(comment: string): Backslash {
  if (/\b(?:MySQL|MariaDB|phpMyAdmin|HeidiSQL|Sequel (?:Ace|Pro)|mysqldump)\b/i.test(comment)) return true;
  return /\b(?:PostgreSQL|pg_dump|SQLite)\b/i.test(comment) ? false : undefined;
}

/** `SET standard_conforming_strings = on`: PostgreSQL says it in each dump. */
export function saysBackslash(statement: string): Backslash {
  const [, value] = /\bstandard_conforming_strings\s*(?:=|\bTO\b)\s*'?(\w+)/i.exec(statement) ?? [];
  if (value === undefined) return undefined;
  return /^(?:off|false|0|no)$/i.test(value);
}
