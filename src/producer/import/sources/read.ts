import { checkUserId } from '../../validate.ts';
import type { Place } from '../csv-cut.ts';
import type { Peekable } from '../peekable.ts';
import type { Detected, ReaderOptions, SourceRecord } from '../reader.ts';
import { fileError } from '../reasons.ts';
import type { RowValues } from '../row.ts';
import type { FieldsRecord } from './container.ts';
import { joined, type UserIndex } from './join.ts';
import { type Foreign, listsOf } from './recognise.ts';
import type { Identity, Person, SourceParams } from './source.ts';

export interface ForeignInput {
  options: ReaderOptions;
  params: SourceParams;
  place: Place;
  /** Of an export in two files: its users. Then this file is that of the passwords. */
  users?: UserIndex | undefined;
  detected(found: Partial<Detected>): void;
}

/** Our columns under the names that the rejects of such a file have. */
const columnOf: Record<Identity, 'userId' | 'email' | 'userName'> = {
  id: 'userId',
  email: 'email',
  username: 'userName',
};

/** A file of another product → its records as those of our own formats. */
export async function* readForeign(
  text: Peekable,
  foreign: Foreign,
  input: ForeignInput,
): AsyncGenerator<Iterable<SourceRecord>> {
  const { source, container, sample, headerless } = foreign;
  const { params, options } = input;
  input.detected({ ...describe(foreign, params), header: headerless ? [] : sample.names });
  const batches = container.read(text, {
    place: input.place,
    lists: listsOf([source]),
    positions: headerless ? source.positions : undefined,
    delimiter: options.delimiter,
    comments: options.comments,
    dialect: input.detected,
  });
  const { users } = input;
  const tables = new Set<string>();
  for await (const batch of batches) yield users ? joined(batch, users) : toRecords(batch, foreign, params, tables);
}

/** What rows will have, by what the first records have: of the age of the passwords that decides whether `asOf` must be said. */
function describe({ source, sample, container }: Foreign, params: SourceParams): Partial<Detected> {
  const first = sample.records.flatMap((fields, i) => source.read(fields, params, sample.of[i]) ?? []);
  const identity = columnOf[params.by];
  const clear = first.some(({ password }) => password !== undefined);
  const hashed = !clear || first.some(({ passwordHash }) => passwordHash !== undefined);
  const secrets = [...(clear ? ['password' as const] : []), ...(hashed ? ['passwordHash' as const] : [])];
  const dated = first.some(({ setAt }) => setAt !== undefined);
  return {
    format: container.name,
    source: source.name,
    by: params.by,
    columns: Object.fromEntries([identity, ...secrets, ...(dated ? ['setAt'] : [])].map((name) => [name, name])),
    // Blank in the rejects, for whoever fills them in: a hash goes into a column of hashes.
    kept: [identity, ...secrets],
  };
}

function* toRecords(
  batch: Iterable<FieldsRecord>,
  { source }: Foreign,
  params: SourceParams,
  tables: Set<string>,
): Generator<SourceRecord> {
  for (const record of batch) {
    if ('reason' in record) yield record;
    else {
      const person = source.read(record.fields, params, record.of);
      if (!person) continue;
      if (record.of !== undefined && tables.add(record.of).size > 1) throw fileError('sql_tables');
      yield toRecord(record, person, params.by);
    }
  }
}

/** One user → what a row of ours would say. The one name that was chosen is told, and none of the others. */
export function toRecord({ line, byte }: { line: number; byte: number }, person: Person, by: Identity): SourceRecord {
  const column = columnOf[by];
  const name = by === 'id' ? person.id : by === 'email' ? person.email : person.userName;
  const columns: Record<string, string> = typeof name === 'string' && name !== '' ? { [column]: name } : {};
  if (person.refused !== undefined) {
    const isId = by === 'id' && typeof name === 'string' && checkUserId(name) === undefined;
    return { line, byte, reason: person.refused, columns, ...(isId && { userId: name }) };
  }
  const { password, passwordHash, setAt, changeRequired } = person;
  const values: RowValues = { [column]: name ?? '' };
  if (passwordHash !== undefined) values.passwordHash = passwordHash;
  else values.password = password;
  if (setAt !== undefined) values.setAt = setAt;
  if (changeRequired !== undefined) values.changeRequired = changeRequired;
  return { line, byte, values, columns };
}
