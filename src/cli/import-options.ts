import { type Command, InvalidArgumentError, Option } from 'commander';
import { PassferryError } from '../errors.ts';
import { parseImportQuery } from '../producer/http/imports/options.ts';
import { type Encoding, encodings } from '../producer/import/encoding.ts';
import type { ColumnMap, ImportFormat, ParseOptions } from '../producer/import/parse.ts';
import { parseSetAt } from '../producer/import/set-at.ts';
import { sourceNames } from '../producer/import/sources/all.ts';
import { type Identity, identities } from '../producer/import/sources/source.ts';
import { told } from './client.ts';
import { cliError, exits } from './exit.ts';
import { filesForParser, type ImportFiles } from './import-files.ts';

/** What an import can be asked, as the command line has it: each option is the twin of one of `POST /imports`. */
export interface AskOptions extends ImportFiles {
  from?: string;
  by?: Identity;
  peppered?: boolean;
  format?: ImportFormat;
  encoding?: Encoding;
  delimiter?: ParseOptions['delimiter'];
  header: boolean;
  comments?: boolean;
  map?: Record<string, string>;
  keep?: string[];
  allowSuspicious?: boolean;
  /** Said; else passwords have to be changed at the next login, and hashes need not be. */
  changeRequired?: boolean;
  hashHere?: boolean;
  hashCost?: number;
  asOf?: string;
  duplicates?: 'last' | 'refuse';
  dryRun?: boolean;
  maxFailures?: number;
  mails?: 'allow';
  proofShare?: number;
  rate?: number;
  concurrency?: number;
  startAt?: string;
  expires?: number;
  overwriteNewer?: boolean;
  /** A known password of the source matched its hash. */
  knownMatched?: boolean;
}

export function withAskOptions(command: Command): Command {
  return command
    .option('--as-of <when>', 'how old the passwords are: a date, or now; a later choice of a user is kept', parseAsOf)
    .option(
      '--change-required',
      'users must change it at the next login: the default for passwords, and then of hashes too',
    )
    .option('--no-change-required', 'users need not change it at the next login')
    .option('--map <ours=theirs>', 'a column under another name, such as userId="Employee No"; repeatable', addMap)
    .option('--keep <column>', 'a further column for the rejects file; repeatable', addTo)
    .addOption(new Option('--duplicates <how>', 'the same user twice').choices(['last', 'refuse']))
    .option('--dry-run', 'change nothing; tell what would be')
    .option('--max-failures <n>', 'hold after so many failed rows', wholeNumber)
    .addOption(mailsOption())
    .option('--hash-here', 'the workers check the policy, hash, and send hashes: the backend need not')
    .option('--hash-cost <n>', 'with --hash-here: the cost of bcrypt, 10 to 16; default 12', hashCost)
    .option('--proof-share <share>', 'share of rows whose login is proved, 0 to 1', share)
    .option('--rate <n>', 'rows a second, at most', positive)
    .option('--concurrency <n>', 'rows at work at once, at most', wholeNumber)
    .option('--start-at <time>', 'no row begins before', parseMoment)
    .option('--expires <time>', 'rows that have not begun by then expire, such as 12h or 7d; default 72h', parseExpiry)
    .option('--overwrite-newer', 'also for users who chose another one since (needs admin)')
    .addOption(new Option('--from <source>', 'default: auto, recognised').choices(['auto', 'own', ...sourceNames]))
    .addOption(new Option('--by <what>', 'what names users; default: the id, where there is one').choices(identities))
    .option('--users <file>', 'of an export in two files: its users; the other one is that of the passwords')
    .option('--hash-params <file>', 'how the source hashes, where its files do not say it')
    .option('--peppered', 'the source adds a secret to every password: its hashes are refused')
    .addOption(new Option('--format <format>', 'default: recognised').choices(['csv', 'ndjson', 'json']))
    .addOption(new Option('--encoding <name>', 'default: recognised').choices(encodings))
    .option('--delimiter <character>', 'of CSV: , ; | or tab; default: recognised', parseDelimiter)
    .option('--no-header', 'the first line is a row; --map gives positions: --map userId=#1 --map password=#2')
    .option('--comments', 'lines that start with # are no rows')
    .option('--allow-suspicious', 'take passwords that look like hashes or marks such as NULL');
}

/** The query of `POST /imports`. */
export function queryOf(options: AskOptions): URLSearchParams {
  const { startAt, expires, changeRequired, header, map = {}, keep = [] } = options;
  const query = new URLSearchParams();
  const set = (name: string, value: string | number | undefined) =>
    value === undefined ? undefined : query.set(name, String(value));
  const flag = (name: string, on: boolean | undefined) => set(name, on ? 'true' : undefined);
  flag('changeRequired', changeRequired);
  flag('noChangeRequired', changeRequired === false);
  flag('overwriteNewer', options.overwriteNewer);
  set('known', options.knownMatched ? 'matched' : undefined);
  for (const name of [
    'asOf',
    'duplicates',
    'maxFailures',
    'mails',
    'proofShare',
    'rate',
    'concurrency',
    'hashCost',
  ] as const) {
    set(name, options[name]);
  }
  for (const name of ['from', 'by', 'format', 'encoding', 'delimiter'] as const) set(name, options[name]);
  for (const name of ['dryRun', 'comments', 'allowSuspicious', 'peppered', 'hashHere'] as const)
    flag(name, options[name]);
  set('header', header === false ? 'false' : undefined);
  set('notBefore', startAt);
  set('expiresIn', expires);
  for (const [ours, theirs] of Object.entries(map)) query.append('map', `${ours}:${theirs}`);
  for (const name of keep) query.append('keep', name);
  return query;
}

/** What the server would refuse of these options, in its words and ours: said before a file is opened. Error of usage. */
export function checkAsked(options: AskOptions): void {
  const asked = queryOf(options);
  try {
    parseImportQuery(Object.fromEntries([...asked.keys()].map((name) => [name, asked.getAll(name)])));
  } catch (thrown) {
    if (!(thrown instanceof PassferryError)) throw thrown;
    const fields = thrown.fields.map(({ field }) => ({ field: optionNames[field] ?? `--${kebab(field)}` }));
    const { message, reason } = thrown;
    throw cliError(exits.usage, `nothing was sent: ${told({ message, reason, fields })}`);
  }
}

/** Where the command line says it otherwise than the API. */
const optionNames: Record<string, string> = { notBefore: '--start-at', expiresIn: '--expires', header: '--no-header' };
const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The same for the parser. */
export function parseOptionsOf(options: AskOptions): ParseOptions {
  const { format, encoding, delimiter, header, comments, map, keep, allowSuspicious, from, by, peppered } = options;
  return {
    ...(from && { from }),
    ...(by && { by }),
    ...(peppered && { peppered }),
    ...filesForParser(options),
    ...(format && { format }),
    ...(encoding && { encoding }),
    ...(delimiter && { delimiter }),
    ...(header === false && { header }),
    ...(comments && { comments }),
    ...(map && { map: map as ColumnMap }),
    ...(keep && { keepColumns: keep }),
    ...(allowSuspicious && { allowSuspicious }),
  };
}

export const mailsOption = () =>
  new Option('--mails <allow>', 'let the backend mail users that their password was changed').choices(['allow']);

function addMap(text: string, before: Record<string, string> | undefined): Record<string, string> {
  const [, ours, theirs] = /^(\w+)[=:](.+)$/s.exec(text) ?? [];
  if (ours === undefined || theirs === undefined) {
    throw new InvalidArgumentError('Give our column and yours, such as userId="Employee No".');
  }
  return { ...before, [ours]: theirs };
}

const addTo = (text: string, before: string[] | undefined) => [...(before ?? []), text];

function parseAsOf(text: string): string {
  if (text !== 'now' && typeof parseSetAt(text) !== 'number') {
    throw new InvalidArgumentError('Give now, or a date that has been, with the year first, such as 2026-11-25.');
  }
  return text;
}

function parseDelimiter(text: string): ParseOptions['delimiter'] {
  const found = ({ ',': ',', ';': ';', '|': '|', '\t': '\t', tab: '\t', '\\t': '\t' } as const)[text];
  if (!found) throw new InvalidArgumentError('Give one of , ; | or tab.');
  return found;
}

function hashCost(text: string): number {
  if (!/^1[0-6]$/.test(text)) throw new InvalidArgumentError('Give a number from 10 to 16.');
  return Number(text);
}

function parseMoment(text: string): string {
  const ms = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  if (Number.isNaN(ms)) throw new InvalidArgumentError('Give a time such as 2026-11-26T02:00 or 2026-11-26T02:00:00Z.');
  return new Date(ms).toISOString();
}

const seconds: Record<string, number> = { s: 1, m: 60, min: 60, h: 3_600, d: 86_400 };

/** → seconds. */
function parseExpiry(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,7})(s|min|m|h|d)$/.exec(text) ?? [];
  const total = Number(digits) * (seconds[unit] as number);
  if (digits === undefined || total < 1 || total > 30 * 86_400) {
    throw new InvalidArgumentError('Give a time such as 12h or 7d, up to 30d.');
  }
  return total;
}

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Give a number of 1 or more.');
  return Number(text);
}

export function positive(text: string): number {
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(text) || Number(text) <= 0)
    throw new InvalidArgumentError('Give a number above 0.');
  return Number(text);
}

function share(text: string): number {
  const number = /^\d{1,3}(\.\d{1,4})?%$/.test(text) ? Number(text.slice(0, -1)) / 100 : Number(text || Number.NaN);
  if (!(number >= 0 && number <= 1)) throw new InvalidArgumentError('Give a number from 0 to 1, or such as 5%.');
  return number;
}
