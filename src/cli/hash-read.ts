import { Readable } from 'node:stream';
import { parse } from 'csv-parse';
import { cliError, exits } from './exit.ts';

/** A line beyond it is no hash; what is more is dropped, so that a wrong file does not fill the memory. Characters. */
const longestLine = 64 * 1024;

const hashNames = new Set(
  (
    'hash passwordhash password_hash hashedpassword hashed_password encrypted_password password_digest user_pass ' +
    'userpassword password passwd pwhash password_hashed import_pass'
  ).split(' '),
);
const saltNames = new Set(['salt', 'password_salt', 'passwordsalt', 'hash_salt', 'pw_salt', 'pass_salt']);
const roundNames = new Set(['iterations', 'rounds', 'iterationcount', 'hash_iterations', 'hashiterations']);

const nameIn = (names: Set<string>) => (header: string[]) =>
  header.find((name) => names.has(name.trim().toLowerCase()));
export const hashColumn = nameIn(hashNames);
export const saltColumn = nameIn(saltNames);
export const roundsColumn = nameIn(roundNames);

/** Where a hash stands, and its text. `line` counts from 1. */
export interface Line {
  line: number;
  text: string;
}

/** Lines of a stream, whatever ends them; a byte order mark is dropped. */
async function* linesOf(stream: AsyncIterable<Buffer | string>): AsyncGenerator<Line> {
  const decoder = new TextDecoder();
  let [line, pending, wasCr] = [1, '', false];
  for await (const chunk of stream) {
    let text = decoder.decode(Buffer.from(chunk), { stream: true });
    if (text === '') continue;
    // A line end that was cut between two chunks.
    if (wasCr && text.startsWith('\n')) text = text.slice(1);
    wasCr = text.endsWith('\r');
    const parts = text.split(/\r\n|\n|\r/);
    for (const [index, part] of parts.entries()) {
      if (pending.length < longestLine) pending += part.slice(0, longestLine);
      if (index === parts.length - 1) continue;
      yield { line: line++, text: pending };
      pending = '';
    }
  }
  if (pending !== '') yield { line, text: pending };
}

/**
 * Hashes of a list or of a column of a CSV, which is one when `column` is given or its first line names a known column.
 * @throws CliError when the column is not there, or the CSV is broken.
 */
export async function* hashesOf(stream: AsyncIterable<Buffer | string>, column?: string): AsyncGenerator<Line> {
  const lines = linesOf(stream);
  const first = await lines.next();
  if (first.done) return;
  const head = first.value.text;
  if (head.trim() === '{') {
    let whole = head;
    for await (const { text } of lines) if (whole.length < longestLine) whole += text;
    yield { line: 1, text: whole };
    return;
  }
  const delimiter = delimiterOf(head);
  const known = delimiter === '' ? undefined : hashColumn(headerOf(head, delimiter));
  if (column === undefined && known === undefined && !hashNames.has(head.trim().toLowerCase())) {
    yield first.value;
    yield* lines;
    return;
  }
  async function* again(): AsyncGenerator<string> {
    yield `${head}\n`;
    for await (const { text } of lines) yield `${text}\n`;
  }
  yield* cellsOf(again(), delimiter || ',', column ?? known ?? head.trim());
}

async function* cellsOf(text: AsyncIterable<string>, delimiter: string, column: string): AsyncGenerator<Line> {
  let at = -1;
  for await (const { record, info } of records(text, delimiter)) {
    if (at >= 0) yield { line: info.lines, text: record[at] ?? '' };
    else at = record.findIndex((name) => name.trim() === column);
    if (at < 0) throw cliError(exits.usage, `the CSV has no column ${column}; name one of its header with --column`);
  }
}

type CsvRecord = { record: string[]; info: { lines: number } };

function records(text: AsyncIterable<string>, delimiter: string): AsyncIterable<CsvRecord> {
  const options = { delimiter, info: true, relax_column_count: true, relax_quotes: true, max_record_size: 1024 * 1024 };
  const parser = Readable.from(text).pipe(parse(options));
  return {
    async *[Symbol.asyncIterator]() {
      try {
        yield* parser as AsyncIterable<CsvRecord>;
      } catch (thrown) {
        const { lines } = thrown as { lines?: number };
        throw cliError(exits.usage, `the CSV is broken at line ${lines ?? 'unknown'}: a quote that is not closed?`);
      }
    },
  };
}

/** The first record of values of a CSV, by name. */
export async function firstRow(text: string): Promise<Record<string, string> | undefined> {
  const delimiter = delimiterOf(text.split(/[\r\n]/, 1)[0] ?? '') || ',';
  let header: string[] | undefined;
  for await (const { record } of records(Readable.from([text]), delimiter)) {
    if (!header) header = record.map((name) => name.trim());
    else return Object.fromEntries(header.map((name, index) => [name, record[index] ?? '']));
  }
  return undefined;
}

function delimiterOf(head: string): string {
  if (/^[${]/.test(head)) return '';
  const counts = [',', ';', '\t', '|'].map((one): [string, number] => [one, head.split(one).length]);
  const [best, most] = counts.reduce((a, b) => (b[1] > a[1] ? b : a));
  return most > 1 ? best : '';
}

function headerOf(head: string, delimiter: string): string[] {
  return head.split(delimiter).map((name) => name.trim().replace(/^"(.*)"$/, '$1'));
}
