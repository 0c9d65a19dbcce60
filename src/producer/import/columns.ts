import { fileError, type ImportReason } from './reasons.ts';

/** The columns an import knows, under the names that reports use. */
export const columnNames = [
  'userId',
  'password',
  'orgId',
  'noChangeRequired',
  'changeRequired',
  'setAt',
  'passwordHash',
  'email',
  'userName',
] as const;
export type ColumnName = (typeof columnNames)[number];

/** Other names that are understood without a mapping; case, spaces, `_`, `-` and `.` do not count. */
export const aliases = {
  userId: ['userid', 'id', 'user', 'uid'],
  password: ['password', 'pass', 'passwd', 'pwd', 'newpassword'],
  orgId: ['orgid', 'org', 'organization', 'organizationid', 'organisation', 'organisationid', 'resourceowner'],
  noChangeRequired: ['nochangerequired'],
  changeRequired: ['changerequired', 'passwordchangerequired'],
  setAt: ['setat', 'passwordsetat', 'passwordsetdate', 'passwordchangedat', 'passwordupdatedat'],
  passwordHash: ['passwordhash', 'hash', 'hashedpassword', 'passwordhashed', 'passhash', 'pwhash'],
  email: ['email', 'mail', 'emailaddress'],
  userName: ['username', 'login', 'loginname', 'preferredusername'],
} as const satisfies Record<ColumnName, string[]>;

const known = new Map<string, ColumnName>(
  columnNames.flatMap((name) => aliases[name].map((alias): [string, ColumnName] => [alias, name])),
);

/** What can name the user of a row, the surest first. */
export const nameColumns = ['userId', 'email', 'userName'] as const;
const namedBy = { id: 'userId', email: 'email', username: 'userName' } as const;
/** What is never told again. */
export const secretColumns: ReadonlySet<ColumnName | undefined> = new Set(['password', 'passwordHash']);

/** Our column → the file's header, or `#n` for its nth column where there is no header. */
export type ColumnMap = Partial<Record<ColumnName, string>>;

const plain = (header: string) =>
  header
    .trim()
    .replaceAll(/[\s_.-]/g, '')
    .toLowerCase();

/** Any spelling of a column (`user_id`, `USERID`) → the name we use; undefined: not one of ours. */
export function columnName(header: string): ColumnName | undefined {
  return known.get(plain(header));
}

/** Where our columns stand in the file, and which of its own are handed on with each row, in file order. */
export interface Columns {
  at: Partial<Record<ColumnName, number>>;
  kept: { name: string; at: number }[];
}

export interface ColumnOptions {
  map?: ColumnMap | undefined;
  /** Headers of further columns that go into the rejects. */
  keep?: readonly string[] | undefined;
  /** What names the users. Default: what was mapped, else the first of id, e-mail address and user name that is there. */
  by?: keyof typeof namedBy | undefined;
}

export const columnLimit = 256;

const refuse = (reason: ImportReason, ...fields: string[]) =>
  fileError(reason, { fields: fields.map((field) => ({ field, reason })) });

/** How many of our columns a header has; of several ways to cut it, the one with most is right. */
export function recognized(names: string[], map: ColumnMap = {}): number {
  const mapped = Object.values(map).map((name) => name.toLowerCase());
  return names.filter((name) => columnName(name) !== undefined || mapped.includes(name.trim().toLowerCase())).length;
}

/**
 * Names of the header → where our columns stand.
 * @throws PassferryError for the whole file; its `fields` name our columns, or headers that are known ones.
 */
export function resolveColumns(names: string[], { map = {}, keep = [], by }: ColumnOptions): Columns {
  if (names.length > columnLimit) throw fileError('header_too_many_columns');
  const at = mappedColumns(names, map);
  const taken = new Set(Object.values(at));
  for (const [index, name] of names.entries()) {
    const column = taken.has(index) ? undefined : columnName(name);
    if (!column || map[column] !== undefined) continue;
    const before = at[column];
    if (before !== undefined) {
      const other = names[before] as string;
      if (plain(other) === plain(name)) throw refuse('header_column_repeated', column);
      throw refuse('header_column_ambiguous', other.trim(), name.trim());
    }
    at[column] = index;
  }
  oneName(at, map, by);
  checkRequired(at);
  return { at, kept: keptColumns(names, at, keep) };
}

/** Positions of a file without a header. `count`: columns of its first row. */
export function positionColumns(count: number, map: ColumnMap = {}, by?: ColumnOptions['by']): Columns {
  checkMap(map);
  const at: Columns['at'] = {};
  for (const column of columnNames) {
    const text = map[column];
    if (text === undefined) continue;
    const position = /^#([1-9]\d{0,2})$/.exec(text)?.[1];
    if (position === undefined || Number(position) > Math.min(count, columnLimit)) {
      throw refuse('map_position_invalid', column);
    }
    at[column] = Number(position) - 1;
  }
  if (new Set(Object.values(at)).size < Object.keys(at).length) throw fileError('map_column_twice');
  oneName(at, map, by);
  if (!nameColumns.some((name) => at[name] !== undefined) || !hasSecret(at)) throw fileError('map_position_needed');
  if (count > columnLimit) throw fileError('header_too_many_columns');
  checkChange(at);
  const names = Array.from({ length: count }, (_, index) => `#${index + 1}`);
  return { at, kept: keptColumns(names, at, []) };
}

function mappedColumns(names: string[], map: ColumnMap): Columns['at'] {
  checkMap(map);
  const at: Columns['at'] = {};
  for (const column of columnNames) {
    const text = map[column];
    if (text !== undefined) at[column] = find(names, text, column, 'map_column_missing');
  }
  if (new Set(Object.values(at)).size < Object.keys(at).length) throw fileError('map_column_twice');
  return at;
}

/** @throws map_column_unknown */
export function checkMap(map: ColumnMap): void {
  const unknown = Object.keys(map).filter((name) => !columnNames.includes(name as ColumnName));
  if (unknown.length > 0) throw fileError('map_column_unknown');
}

/** Exact, else without regard to case. Several that fit are refused. */
function find(names: string[], text: string, field: string, missing: ImportReason): number {
  for (const fits of [
    (name: string) => name === text,
    (name: string) => name.trim().toLowerCase() === text.trim().toLowerCase(),
  ]) {
    const found = names.flatMap((name, index) => (fits(name) ? [index] : []));
    if (found.length > 1) throw refuse('header_column_ambiguous', field);
    if (found.length === 1) return found[0] as number;
  }
  throw refuse(missing, field);
}

/** Of several columns that could name the user one does; the others are like any other column. */
function oneName(at: Columns['at'], map: ColumnMap, by: ColumnOptions['by']): void {
  const there = (name: ColumnName) => at[name] !== undefined;
  const chosen = by ? namedBy[by] : (nameColumns.find((name) => map[name] !== undefined) ?? nameColumns.find(there));
  for (const name of nameColumns) if (name !== chosen) delete at[name];
}

const hasSecret = (at: Columns['at']) => at.password !== undefined || at.passwordHash !== undefined;

function checkRequired(at: Columns['at']): void {
  const fields = [
    ...(nameColumns.some((name) => at[name] !== undefined) ? [] : [{ field: 'userId', reason: 'user_id_missing' }]),
    ...(hasSecret(at) ? [] : [{ field: 'password', reason: 'password_missing' }]),
  ];
  if (fields.length > 0) throw fileError('header_column_missing', { fields });
  checkChange(at);
}

function checkChange(at: Columns['at']): void {
  if (at.changeRequired !== undefined && at.noChangeRequired !== undefined) throw fileError('header_change_twice');
}

function keptColumns(names: string[], at: Columns['at'], keep: readonly string[]): Columns['kept'] {
  const chosen = new Set(Object.values(at));
  for (const text of keep) chosen.add(keptAt(names, at, text));
  for (const index of [at.password, at.passwordHash]) if (index !== undefined) chosen.delete(index);
  return [...chosen].sort((a, b) => a - b).map((index) => ({ name: names[index] as string, at: index }));
}

function keptAt(names: string[], at: Columns['at'], text: string): number {
  // An object cannot hold this name as any other.
  if (text === '__proto__') throw refuse('keep_column_missing', text);
  const index = find(names, text, text, 'keep_column_missing');
  if (isSecret(names[index] as string) || index === at.password || index === at.passwordHash)
    throw refuse('keep_column_secret', text);
  return index;
}

/** Does this name of a column speak of passwords themselves? */
function isSecret(name: string): boolean {
  const column = columnName(name);
  if (column !== undefined) return secretColumns.has(column);
  return /pass(?!port)|pwd|secret|hash|salt|token/i.test(name);
}
