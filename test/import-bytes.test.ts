import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { fieldsOf } from '../src/producer/import/csv.ts';
import { cutCsv } from '../src/producer/import/csv-cut.ts';
import type { ParseOptions } from '../src/producer/import/parse.ts';
import { isRejected, parseRows } from '../src/producer/import/parse.ts';
import { chunksOf } from './kit/import-file.ts';

const good = 'userId,password\n1,hunter-2222\n';

it.each(['csv', 'csv in gzip', 'utf-16', 'json'])('leaves zeros of what it has read: %s', async (kind) => {
  const text = kind === 'json' ? '[{"userId":"1","password":"hunter-2222"}]' : good;
  const bytes = kind === 'utf-16' ? Buffer.from(`\ufeff${text}`, 'utf16le') : Buffer.from(text);
  const pieces: Buffer[] = [];
  async function* source() {
    for await (const piece of chunksOf(kind.endsWith('gzip') ? gzipSync(bytes) : bytes, 7)) {
      pieces.push(piece);
      yield piece;
    }
  }
  for await (const row of parseRows(source())) expect(row).toMatchObject({ userId: '1' });
  expect(Buffer.concat(pieces).every((byte) => byte === 0)).toBe(true);
});

it.each(['stops in the middle', 'does not like what was detected'])('leaves zeros when the reader %s', async (how) => {
  const pieces = [Buffer.from(`${good}2,hunter-3333\n3,hunter-4444\n`)];
  const onDetected = () => {
    if (how !== 'stops in the middle') throw new Error('no');
  };
  const read = async () => {
    for await (const _ of parseRows(Readable.from([...pieces]), { onDetected })) return 'stopped';
    return 'read';
  };
  await expect(read().catch(({ message }) => message)).resolves.toMatch(/^(stopped|no)$/);
  expect(pieces[0]?.includes('hunter')).toBe(false);
});

it('answers any bytes with rows or one reason, the same in any chunks', async () => {
  const token = fc.constantFrom(
    ...[
      'userId,password',
      'userId;password',
      '{"userId":"1","password":"a"}',
      '1,a',
      '"',
      '\\',
      '\n',
      '\r',
      '\r\n',
      ',',
      ';',
      '[',
      ']',
      '{',
      '}',
    ],
    ...[':', '#', '\0', ' ', '\ufeff', '\u00e9', 'a'],
  );
  const text = fc.array(token, { maxLength: 25 }).map((parts) => parts.join(''));
  const file = fc.oneof(
    text.map((each) => Buffer.from(each)),
    text.map((each) => Buffer.from(`userId,password\n${each}`)),
    text.map((each) => Buffer.from(`[${each}`)),
    text.map((each) => Buffer.from(`\ufeff${each}`, 'utf16le')),
    text.map((each) => Buffer.from(each, 'latin1')),
    text.map((each) => gzipSync(each)),
    fc.tuple(text, fc.nat()).map(([each, at]) => gzipSync(each).subarray(0, at % 60)),
    fc.uint8Array({ maxLength: 60 }).map((each) => Buffer.from(each)),
  );
  const outcome = async (bytes: Buffer, options: ParseOptions, chunk: number) => {
    const rows: unknown[] = [];
    try {
      for await (const row of parseRows(chunksOf(bytes, chunk), options)) {
        rows.push(isRejected(row) ? row : { ...row, password: row.password.reveal() });
      }
    } catch (error) {
      if (!(error instanceof PassferryError)) throw error;
      rows.push(error.reason);
    }
    return rows;
  };
  const positions = { header: false, map: { userId: '#1', password: '#2' } };
  const options = fc.constantFrom<ParseOptions>({}, {}, { encoding: 'windows-1252' }, { comments: true }, positions);
  await fc.assert(
    fc.asyncProperty(file, options, async (bytes, how) => {
      const whole = await outcome(bytes, how, 65_536);
      for (const chunk of [1, 3, 7]) expect(await outcome(bytes, how, chunk)).toEqual(whole);
    }),
    { numRuns: 1_500 },
  );
});

it('cuts whatever csv-parse can read into the same fields', async () => {
  const token = fc.constantFrom('"', '""', ',', '\n', '\r\n', 'a', ' ', '\\', '#', 'é');
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(token, { maxLength: 30 }), fc.constantFrom(1, 3, 64), async (tokens, chunk) => {
      const text = tokens.join('');
      let theirs: string[][];
      try {
        const lineEnds = ['\r\n', '\n'];
        theirs = parse(text, { relax_column_count: true, skip_empty_lines: true, record_delimiter: lineEnds });
      } catch {
        return;
      }
      compared++;
      const ours: unknown[] = [];
      const plain = { delimiter: 44, loneCr: false, skipSpaces: false, passwordAt: -1, comments: false };
      const cutter = cutCsv(plain, { line: 1, byte: 0 });
      const take = (bytes: Buffer, final: boolean) => {
        for (const cut of cutter.take(bytes, final)) ours.push(cut.reason ?? fieldsOf(cut).map(String));
      };
      for await (const piece of chunksOf(Buffer.from(text), chunk)) take(piece, false);
      take(Buffer.alloc(0), true);
      expect(ours).toEqual(theirs);
    }),
    { numRuns: 2_000 },
  );
  expect(compared).toBeGreaterThan(300);
});
