import { PassferryError, type Reason } from '../../../errors.ts';
import { encodings } from '../../import/encoding.ts';
import { type ImportChoices, importExpiryMs } from '../../import/import.ts';
import { type ColumnMap, type ImportFormat, type ParseOptions, rowReasonFacts } from '../../import/parse.ts';
import { parseSetAt } from '../../import/set-at.ts';
import { sourceNames } from '../../import/sources/all.ts';
import { type Identity, identities } from '../../import/sources/source.ts';

/** What a query asks of an import. */
export interface AskedImport {
  choices: ImportChoices;
  parse: ParseOptions;
  expiresInMs: number;
}

type Query = Record<string, unknown>;

const delimiters: Record<string, ',' | ';' | '\t' | '|'> = {
  ...{ ',': ',', ';': ';', '\t': '\t', '|': '|' },
  ...{ comma: ',', semicolon: ';', tab: '\t', pipe: '|' },
};
const formats: readonly string[] = ['csv', 'ndjson', 'json'] satisfies ImportFormat[];
/** What v2 takes of bcrypt, and what v1 writes. */
const hashCosts = [10, 16] as const;
const defaultHashCost = 12;
const dayMs = 86_400_000;
const longestMs = 30 * dayMs;

const known = [
  ...['format', 'encoding', 'delimiter', 'header', 'comments', 'map', 'keep', 'allowSuspicious', 'changeRequired'],
  ...['noChangeRequired', 'overwriteNewer', 'asOf', 'duplicates', 'dryRun', 'maxFailures', 'proofShare', 'rate'],
  ...['concurrency', 'notBefore', 'expiresIn', 'mails', 'known'],
  ...['from', 'by', 'peppered', 'hashHere', 'hashCost'],
];

/**
 * Query of `POST /imports` → what is asked. Errors name the option: `option_unknown`, `field_type`, `options_contradict`,
 * `expires_invalid`, `set_at_invalid`, `set_at_ambiguous`, `set_at_future`, `map_column_unknown`.
 */
export function parseImportQuery(query: Query, now = Date.now()): AskedImport {
  const unknown = Object.keys(query).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw bad(/^[A-Za-z_-]{1,40}$/.test(unknown) ? unknown : 'query', 'option_unknown');
  }
  const asked = readQuery(query);
  const expiresInMs =
    (asked.integer('expiresIn', 1, longestMs / 1_000, 'expires_invalid') ?? importExpiryMs / 1_000) * 1_000;
  const notBefore = asked.time('notBefore');
  if (notBefore !== undefined && notBefore >= now + expiresInMs) {
    throw contradiction('notBefore', 'expiresIn');
  }
  const dryRun = asked.flag('dryRun');
  const duplicates = asked.one('duplicates', ['last', 'refuse']) as 'last' | 'refuse' | undefined;
  const parse = parseOptions(asked);
  return {
    expiresInMs,
    parse,
    choices: {
      changeRequired: changeOf(asked),
      overwriteNewer: asked.flag('overwriteNewer') ?? false,
      ...defined({
        dryRun: dryRun || undefined,
        hashesChange: asked.flag('changeRequired') || undefined,
        known: asked.one('known', ['matched']) as 'matched' | undefined,
        maxFailures: asked.integer('maxFailures', 1, 1_000_000_000),
        mails: asked.one('mails', ['allow']) as 'allow' | undefined,
        hashHere: hashHereOf(asked),
        proofShare: asked.number('proofShare', 0, 1),
        notBefore,
        rate: asked.number('rate', 0.01, 100_000),
        concurrency: asked.integer('concurrency', 1, 10_000),
        duplicates,
        asOf: asOf(asked.text('asOf'), now),
      }),
    },
  };
}

function parseOptions(asked: Asked): ParseOptions {
  const delimiter = asked.text('delimiter');
  if (delimiter !== undefined && !Object.hasOwn(delimiters, delimiter)) throw bad('delimiter');
  const from = asked.one('from', ['auto', 'own', ...sourceNames]);
  const own = ['map', 'header'].filter((name) => asked.all(name) !== undefined);
  // Of another product it is known where everything stands.
  if (from !== undefined && from !== 'auto' && from !== 'own' && own.length > 0) throw contradiction('from', ...own);
  return defined({
    from,
    by: asked.one('by', identities) as Identity | undefined,
    peppered: asked.flag('peppered'),
    format: asked.one('format', formats) as ImportFormat | undefined,
    encoding: asked.one('encoding', encodings) as ParseOptions['encoding'],
    delimiter: delimiter === undefined ? undefined : delimiters[delimiter],
    header: asked.flag('header'),
    comments: asked.flag('comments'),
    allowSuspicious: asked.flag('allowSuspicious'),
    map: parseMap(asked.all('map')),
    keepColumns: asked.all('keep'),
  });
}

/** Cost of the bcrypt hashes that workers make; undefined: the backend hashes. */
export function hashHereOf(asked: Asked): number | undefined {
  const cost = asked.integer('hashCost', ...hashCosts);
  if (asked.flag('hashHere')) return cost ?? defaultHashCost;
  if (cost !== undefined) throw contradiction('hashHere', 'hashCost');
  return undefined;
}

/** Rows that say nothing about it: a password that somebody else knows is to be changed, unless this says no. */
function changeOf(asked: Asked): boolean {
  const [change, noChange] = [asked.flag('changeRequired'), asked.flag('noChangeRequired')];
  if (change !== undefined && noChange !== undefined) throw contradiction('changeRequired', 'noChangeRequired');
  return change ?? !(noChange ?? false);
}

/** `now`, or a time as rows have it. */
function asOf(text: string | undefined, now: number): number | 'now' | undefined {
  if (text === undefined || text === 'now') return text;
  const ms = parseSetAt(text, now);
  if (typeof ms === 'number') return ms;
  const reason = ms ?? 'set_at_invalid';
  throw new PassferryError(reason, { ...rowReasonFacts(reason), fields: [{ field: 'asOf', reason }] });
}

/** `userId:Employee No`, any number of them. */
function parseMap(pairs: string[] | undefined): ColumnMap | undefined {
  if (pairs === undefined) return undefined;
  const map: Record<string, string> = {};
  for (const pair of pairs) {
    const [, name, column] = /^(\w{1,40}):(.+)$/s.exec(pair) ?? [];
    if (name === undefined || column === undefined || Object.hasOwn(map, name)) throw bad('map');
    map[name] = column;
  }
  return map as ColumnMap;
}

type Asked = ReturnType<typeof readQuery>;

/** Options by name, each read as what it is. Errors name it: `field_type`. */
export function readQuery(query: Query) {
  const all = (name: string): string[] | undefined => {
    const value = query[name];
    if (value === undefined) return undefined;
    const list = Array.isArray(value) ? value : [value];
    if (list.length > 300 || list.some((each) => typeof each !== 'string' || each === '' || each.length > 400)) {
      throw bad(name);
    }
    return list;
  };
  const text = (name: string): string | undefined => {
    const list = all(name);
    if (list !== undefined && list.length > 1) throw bad(name);
    return list?.[0];
  };
  return {
    all,
    text,
    flag(name: string): boolean | undefined {
      const value = text(name);
      if (value !== undefined && value !== 'true' && value !== 'false') throw bad(name);
      return value === undefined ? undefined : value === 'true';
    },
    one(name: string, allowed: readonly string[]): string | undefined {
      const value = text(name);
      if (value !== undefined && !allowed.includes(value)) throw bad(name);
      return value;
    },
    integer(name: string, least: number, most: number, reason: Reason = 'field_type'): number | undefined {
      const value = text(name);
      if (value === undefined) return undefined;
      const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
      if (!(number >= least && number <= most)) throw bad(name, reason);
      return number;
    },
    number(name: string, least: number, most: number): number | undefined {
      const value = text(name);
      if (value === undefined) return undefined;
      const number = /^\d{1,9}(\.\d{1,6})?$/.test(value) ? Number(value) : Number.NaN;
      if (!(number >= least && number <= most)) throw bad(name);
      return number;
    },
    /** RFC 3339 → ms. */
    time(name: string): number | undefined {
      const value = text(name);
      if (value === undefined) return undefined;
      const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)$/.test(value);
      const ms = rfc3339 ? Date.parse(value) : Number.NaN;
      if (Number.isNaN(ms)) throw bad(name);
      return ms;
    },
  };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

export function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}

function bad(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}

function contradiction(...fields: string[]): PassferryError {
  return new PassferryError('options_contradict', {
    fields: fields.map((field) => ({ field, reason: 'options_contradict' })),
  });
}
