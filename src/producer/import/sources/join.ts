import { PassferryError } from '../../../errors.ts';
import { peekable } from '../peekable.ts';
import type { SourceRecord } from '../reader.ts';
import { fileError } from '../reasons.ts';
import { type Unpacked, unpack } from '../unpack.ts';
import type { FieldsRecord } from './container.ts';
import { toRecord } from './read.ts';
import { listsOf, type RecogniseInput, sampledFrom } from './recognise.ts';
import type { Identity, Person, Sample, Source, SourceParams } from './source.ts';

/** The most that indexes of users may take, of all imports that are read at once, bytes: some 1,500,000 users. */
const joinLimit = 256 * 1024 * 1024;
let held = 0;

/** What an entry takes beside its characters, bytes. */
const entryBytes = 130;

/** Several users have this key, or the name that was to find them. */
const ambiguous = Symbol('ambiguous');
const used = Symbol('used');

/** The users of an export by the id that joins them; no secrets in it. */
export interface UserIndex {
  source: Source;
  params: SourceParams;
  names: Map<string, string | typeof ambiguous | typeof used>;
  close(): void;
}

/**
 * Reads the file of the users into an index of what is needed of them. Its records that cannot be read have no user in it.
 * @throws those of files, whose `fields` name `users`; users_too_many; source_files_swapped; source_no_join
 */
export async function indexUsers(
  stream: AsyncIterable<Buffer>,
  how: RecogniseInput & { paramsOf(source: Source): SourceParams; maxBytes?: number | undefined },
): Promise<UserIndex> {
  const raw = peekable(stream[Symbol.asyncIterator]());
  let unpacked: Unpacked | undefined;
  let mine = 0;
  const close = () => {
    held -= mine;
    mine = 0;
  };
  try {
    unpacked = await unpack(raw, { ...(how.maxBytes !== undefined && { maxBytes: how.maxBytes }) });
    const { candidates, container, sample } = await sampledFrom(unpacked.source, how, ({ join }) => join !== undefined);
    const source = sourceOf(candidates, sample);
    const params = how.paramsOf(source);
    const names: UserIndex['names'] = new Map();
    const keys = new Map<string, string>();
    const take = (bytes: number) => {
      mine += bytes;
      held += bytes;
      if (held > joinLimit) throw fileError('users_too_many');
    };
    const place = { line: 1, byte: unpacked.mark, width: unpacked.width };
    for await (const batch of container.read(unpacked.source, { place, lists: listsOf([source]) })) {
      for (const record of batch) {
        if (!('fields' in record)) continue;
        const person = source.read(record.fields, params, record.of);
        if (!person) continue;
        const key = source.join?.userKey(record.fields) ?? '';
        const name = nameOf(person, params.by);
        if (key !== '') {
          take(entryBytes + key.length + name.length);
          names.set(key, names.has(key) ? ambiguous : name);
        }
        if (params.by === 'id' || name === '') continue;
        // A name that two accounts share names neither, also where one of them has no password: it may be somebody else's.
        const plain = name.toLowerCase();
        const other = keys.get(plain);
        if (other === undefined) {
          take(entryBytes + plain.length);
          keys.set(plain, key);
        } else for (const each of [other, key]) if (each !== '') names.set(each, ambiguous);
      }
    }
    return { source, params, names, close };
  } catch (thrown) {
    close();
    if (!(thrown instanceof PassferryError) || thrown.fields.length > 0) throw thrown;
    throw withField(thrown);
  } finally {
    await (unpacked?.source ?? raw).close();
  }
}

/** Which of two files it is about. */
function withField(thrown: PassferryError): PassferryError {
  const { reason, code, message } = thrown;
  return new PassferryError(reason, { code, message, fields: [{ field: 'users', reason }], cause: thrown });
}

function sourceOf(candidates: readonly Source[], sample: Sample): Source {
  const fits = candidates.filter(({ join }) => join?.users(sample) === 'sure');
  const [only] = fits;
  if (fits.length > 1) {
    const fields = fits.map(({ name }) => ({ field: name, reason: 'source_unclear' as const }));
    throw fileError('source_unclear', { fields });
  }
  if (only) return only;
  const swapped = candidates.some(({ join }) => join?.passwords(sample) === 'sure');
  throw fileError(swapped ? 'source_files_swapped' : 'source_mismatch');
}

function nameOf(person: Person, by: Identity): string {
  const name = by === 'id' ? person.id : by === 'email' ? person.email : person.userName;
  return typeof name === 'string' ? name : '';
}

/** Rows of the passwords for users of the index; each user once, and whoever is not surely one of them is refused. */
export function* joined(batch: Iterable<FieldsRecord>, index: UserIndex): Generator<SourceRecord> {
  const { source, params, names } = index;
  for (const record of batch) {
    if ('reason' in record) {
      yield record;
      continue;
    }
    const { line, byte, fields } = record;
    const person = source.read(fields, params, record.of);
    if (!person) continue;
    const key = source.join?.passwordKey(fields);
    const found = key === undefined ? undefined : names.get(key);
    if (key === undefined || key === '') yield { line, byte, reason: 'user_id_missing', field: 'userId' };
    else if (found === undefined) yield { line, byte, reason: 'join_user_missing', field: 'userId' };
    else if (found === ambiguous) yield { line, byte, reason: 'join_user_ambiguous', field: 'userId' };
    else if (found === used) yield { line, byte, reason: 'join_password_repeated', field: 'userId' };
    else {
      names.set(key, used);
      const { id: _, email: __, userName: ___, ...rest } = person;
      const by = params.by === 'id' ? 'id' : params.by === 'email' ? 'email' : 'userName';
      yield toRecord(record, { ...rest, [by]: found }, params.by);
    }
  }
}
