import { isUtf8 } from 'node:buffer';
import { CR, LF, type Place, recordLimit } from '../csv-cut.ts';
import type { ImportReason } from '../reasons.ts';
import { createRemainder } from '../remainder.ts';
import type { ContainerReader, FieldsRecord } from './container.ts';
import type { Fields } from './source.ts';
import { noText } from './sql-fields.ts';

/** LDIF → its entries: names in lower case without options, a text each, or a list where an entry has several. */
export const ldifFields: ContainerReader = {
  name: 'ldif',
  begins: (head) => /^(?:#[^\n]*\n(?:[ \t][^\n]*\n)*\s*)*(?:version:\s*\d+\s*\n|dn::? ?\S)/i.test(head),
  async *read(source, { place }) {
    const cutter = cutLdif(place);
    try {
      for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
        yield cutter.take(chunk, false);
      }
      yield cutter.take(Buffer.alloc(0), true);
    } finally {
      cutter.close();
    }
  },
};

/** A value that is longer (a photo, a certificate) is no name and no password: it is left out. Bytes of the line. */
const longest = 8 * 1024;
/** All of an entry that is held. */
const mostOfEntry = recordLimit;

/** Kept however many groups the entry is in. */
const needed = /^(?:dn|uid|mail|userpassword|entryuuid|samaccountname|objectguid|changetype)$/;

interface Entry {
  line: number;
  byte: number;
  fields: Fields;
  bytes: number;
  reason?: ImportReason;
}

/** Bytes → entries while they arrive: line by line, unfolded; an empty line ends an entry. */
function cutLdif(place: Place) {
  const remainder = createRemainder();
  const { width } = place;
  let { line, byte } = place;
  let entry: Entry | undefined;
  /** The line that may go on in the next; undefined: it is left out. */
  let folded: Buffer | undefined;
  /** Of a line that is longer than what is held, the rest follows. */
  let inLong = false;

  function endLine(): void {
    if (folded && entry) attribute(entry, folded);
    folded?.fill(0);
    folded = undefined;
  }

  function* endEntry(): Generator<FieldsRecord> {
    endLine();
    const done = entry;
    entry = undefined;
    if (!done) return;
    const { fields, reason } = done;
    // What has no name but `version: 1` is no entry.
    if (reason === undefined && fields.dn === undefined && Object.keys(fields).every((name) => name === 'version'))
      return;
    if (fields.dn === undefined && Object.keys(fields).some((name) => name === 'search' || name === 'result')) return;
    const change = fields.changetype;
    const changed = change !== undefined && String(change).toLowerCase() !== 'add';
    const why = reason ?? (changed ? 'ldif_change' : fields.dn === undefined ? 'ldif_line' : undefined);
    const { line, byte } = done;
    yield why === undefined ? { line, byte, fields } : { line, byte, reason: why };
  }

  /** One line as it stands. */
  function take(bytes: Buffer, tooLong: boolean): void {
    const isMore = bytes[0] === 32;
    if (isMore) {
      if (folded) {
        const long = folded.length + bytes.length > longest || tooLong;
        const joined = long ? undefined : Buffer.concat([folded, bytes.subarray(1)]);
        folded.fill(0);
        folded = joined;
      }
      return;
    }
    endLine();
    if (bytes[0] === 35 || tooLong) return;
    if (entry) folded = Buffer.from(bytes);
  }

  function* entries(buffer: Buffer, final: boolean): Generator<FieldsRecord> {
    let start = 0;
    try {
      while (start < buffer.length) {
        const end = buffer.indexOf(LF, start);
        if (end < 0 && !final && buffer.length - start <= longest) break;
        const stop = end < 0 ? buffer.length : end > start && buffer[end - 1] === CR ? end - 1 : end;
        const from = start;
        if (!inLong) {
          if (stop === start) yield* endEntry();
          else {
            const begins = buffer[start] !== 35 && buffer[start] !== 32;
            if (!entry && begins) entry = { line, byte, fields: Object.create(null), bytes: 0 };
            take(buffer.subarray(start, stop), stop - start > longest);
          }
        }
        inLong = end < 0;
        start = end < 0 ? buffer.length : end + 1;
        byte += width ? width(buffer, from, start) : start - from;
        if (end >= 0) line++;
      }
      remainder.keep(buffer.subarray(start));
      if (final) yield* endEntry();
    } finally {
      // What was read is zeroed once the reader asks for more: it holds passwords (P4).
      buffer.fill(0);
    }
  }

  return {
    take: (chunk: Buffer, final: boolean) => entries(remainder.join(chunk), final),
    close() {
      remainder.wipe();
      folded?.fill(0);
    },
  };
}

/** `name: text`, `name:: base64`, `name:< where`. */
function attribute(entry: Entry, bytes: Buffer): void {
  const colon = bytes.indexOf(58);
  const head = colon < 0 ? '' : bytes.toString('latin1', 0, colon);
  const [, written] = /^([A-Za-z][\w-]*|\d+(?:\.\d+)*)(?:;[\w-]+)*$/.exec(head) ?? [];
  if (written === undefined) {
    // Of changes: a line that ends one of them.
    if (colon >= 0 || !bytes.equals(Buffer.from('-'))) entry.reason ??= 'ldif_line';
    return;
  }
  const name = written.toLowerCase();
  const kind = bytes[colon + 1];
  let at = colon + (kind === 58 || kind === 60 ? 2 : 1);
  while (bytes[at] === 32) at++;
  if (kind === 60) {
    if (needed.test(name)) entry.reason ??= 'ldif_url';
    return;
  }
  entry.bytes += bytes.length;
  if (entry.bytes > mostOfEntry && !needed.test(name)) return;
  if (entry.bytes > 4 * mostOfEntry) {
    entry.reason ??= 'line_too_long';
    return;
  }
  const text = kind === 58 ? decoded(entry, bytes.subarray(at)) : textOf(bytes.subarray(at));
  if (text === undefined && !needed.test(name)) return;
  const before = entry.fields[name];
  const value = text ?? noText;
  if (before === undefined) entry.fields[name] = value;
  else entry.fields[name] = Array.isArray(before) ? [...before, value] : [before, value];
}

function decoded(entry: Entry, bytes: Buffer): string | undefined {
  const text = bytes.toString('latin1').trimEnd();
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    entry.reason ??= 'ldif_base64';
    return undefined;
  }
  const value = Buffer.from(text, 'base64');
  const found = textOf(value);
  value.fill(0);
  return found;
}

/** Undefined for what is no text: a photo, a certificate, a GUID. */
const textOf = (bytes: Buffer) => (isUtf8(bytes) ? bytes.toString('utf8') : undefined);
