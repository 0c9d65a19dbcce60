import type { Row, SqlSession } from './sql.ts';

/** A piece of a statement. Made by {@link sql} and {@link ident} only, so that nothing from outside becomes SQL text. */
export interface Sql {
  /** One more than `values`. */
  readonly texts: readonly string[];
  readonly values: readonly (string | null)[];
}

type Part = Sql | string | bigint | number | boolean | null;

/**
 * A statement as a template. What is put in is another piece or a value; values travel beside the text, as text with a cast, because the
 * drivers guess types differently: bigint and number as `bigint`, boolean as `boolean`.
 */
export function sql(template: TemplateStringsArray, ...parts: Part[]): Sql {
  const texts: string[] = [];
  const values: (string | null)[] = [];
  let last = template[0] ?? '';
  for (const [n, part] of parts.entries()) {
    const piece = pieceOf(part);
    const [first = '', ...rest] = piece.texts;
    last += first;
    for (const next of rest) {
      texts.push(last);
      last = next;
    }
    values.push(...piece.values);
    last += template[n + 1] ?? '';
  }
  return { texts: [...texts, last], values };
}

function pieceOf(part: Part): Sql {
  if (part === null) return { texts: ['null'], values: [] };
  if (typeof part === 'object') return part;
  const cast = typeof part === 'string' ? '' : typeof part === 'boolean' ? '::boolean' : '::bigint';
  return { texts: ['', `::text${cast}`], values: [String(part)] };
}

/** A name, quoted: whatever it holds, it stays one name. Several: schema and table. */
export function ident(...names: string[]): Sql {
  const quoted = names.map((name) => {
    if (name === '' || name.includes('\0')) throw new TypeError('not a name');
    return `"${name.replaceAll('"', '""')}"`;
  });
  return { texts: [quoted.join('.')], values: [] };
}

/** Text of ours. The database's own name of a type is as safe: it quotes where that is needed. */
export const trusted = (text: string): Sql => ({ texts: [text], values: [] });

export function join(pieces: readonly Sql[], between: Sql): Sql {
  const [first = sql``, ...rest] = pieces;
  return rest.reduce((all, piece) => sql`${all}${between}${piece}`, first);
}

/** Runs a statement: its text with `$1`, `$2` …, its values beside it. */
export function run(session: SqlSession, statement: Sql, signal?: AbortSignal): Promise<Row[]> {
  const text = statement.texts.reduce((all, piece, n) => `${all}$${n}${piece}`);
  return session.query(text, statement.values, signal);
}
