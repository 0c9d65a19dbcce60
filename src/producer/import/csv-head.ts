import { type ColumnMap, recognized } from './columns.ts';
import { decodeUtf8, fieldsOf } from './csv.ts';
import { CR, cutCsv, LF, recordLimit } from './csv-cut.ts';
import type { Peekable } from './peekable.ts';
import { fileError } from './reasons.ts';

/** The first record of a CSV file, and where it stands in the bytes that were looked at. */
export interface CsvHead {
  start: number;
  end: number;
  /** Physical lines before it, and up to its end. */
  linesBefore: number;
  lines: number;
  comments: number;
  lineEnd: 'lf' | 'crlf' | 'cr';
}

/** Looks at the beginning until its first record is there: what follows is not waited for. */
export async function findHead(source: Peekable, comments: boolean): Promise<CsvHead | undefined> {
  const scan = headScan(comments);
  for (let wanted = 1; ; ) {
    const bytes = await source.peek(wanted);
    const ended = bytes.length < wanted;
    const found = scan(bytes, ended);
    if ((found?.end ?? bytes.length) > recordLimit) throw fileError('header_unreadable');
    if (found || ended) return found;
    wanted = bytes.length + 1;
  }
}

const HASH = 35;
const QUOTE = 34;
const SPACE = 32;

/** Goes on where it stopped, each time with more of the same bytes. */
function headScan(comments: boolean): (bytes: Buffer, ended: boolean) => CsvHead | undefined {
  let found = 0;
  let lines = 0;
  let start = 0;
  let i = 0;
  let inQuotes = false;
  let blank = true;
  let breaks = 0;

  return (bytes, ended) => {
    while (start < bytes.length) {
      const isComment = comments && bytes[start] === HASH;
      for (; i < bytes.length; i++) {
        const byte = bytes[i] as number;
        if (byte === LF || byte === CR) {
          if (!inQuotes) break;
          if (byte === LF || bytes[i + 1] !== LF) breaks++;
        } else if (byte === QUOTE && !isComment) inQuotes = !inQuotes;
        if (byte !== SPACE && byte !== LF && byte !== CR) blank = false;
      }
      // The byte after a carriage return decides what the line ends in.
      if (!ended && (i === bytes.length || (bytes[i] === CR && i + 1 === bytes.length))) return undefined;
      const lineEnd = bytes[i] === CR ? (bytes[i + 1] === LF ? 'crlf' : i + 1 < bytes.length ? 'cr' : 'lf') : 'lf';
      const end = Math.min(bytes.length, i + (lineEnd === 'crlf' ? 2 : 1));
      const before = lines;
      lines += 1 + breaks;
      if (isComment || /^sep=.\s*$/i.test(bytes.toString('latin1', start, Math.min(end, start + 8)))) found++;
      else if (!blank) return { start, end, linesBefore: before, lines, comments: found, lineEnd };
      start = i = end;
      inQuotes = false;
      blank = true;
      breaks = 0;
    }
    return undefined;
  };
}

const delimiters = [',', ';', '\t', '|'] as const;

/**
 * Which delimiter cuts the first record best: into most of our columns, else into most columns at all.
 * @throws header_unreadable, file_not_text; delimiter_ambiguous for a first row without a header.
 */
export function findDelimiter(
  record: Buffer,
  head: CsvHead,
  options: { delimiter?: string | undefined; header: boolean; map?: ColumnMap | undefined },
): { delimiter: string; names: string[]; spaces: boolean } {
  const tried = delimiters
    .filter((each) => options.delimiter === undefined || each === options.delimiter)
    .flatMap((delimiter) => {
      const names = namesOf(record, delimiter, head.lineEnd === 'cr');
      return names ? [{ delimiter, names, score: options.header ? recognized(names, options.map) : 0 }] : [];
    });
  const best = tried.sort((a, b) => b.score - a.score || b.names.length - a.names.length)[0];
  if (!best) throw fileError('header_unreadable');
  // A row may hold the others in its password.
  if (!options.header && tried.filter((each) => each.names.length > 1).length > 1)
    throw fileError('delimiter_ambiguous');
  if (record.includes(0)) throw fileError(record.includes('ustar') ? 'file_archive' : 'file_not_text');
  const spaces = record.includes(`${best.delimiter} `);
  return { delimiter: best.delimiter, names: best.names, spaces };
}

function namesOf(record: Buffer, delimiter: string, loneCr: boolean): string[] | undefined {
  const dialect = { delimiter: delimiter.charCodeAt(0), loneCr, skipSpaces: true, passwordAt: -1, comments: false };
  const cutter = cutCsv(dialect, { line: 1, byte: 0 });
  let found: string[] | undefined;
  for (const cut of cutter.take(Buffer.from(record), true)) {
    if (cut.reason !== undefined || found) return undefined;
    const names = fieldsOf(cut).map(decodeUtf8);
    if (names.includes(undefined)) throw fileError('file_not_text');
    found = names as string[];
  }
  cutter.close();
  return found;
}
