import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ParseOptions } from '../src/producer/import/parse.ts';
import { chunkSizes, readFile, reasonsOf } from './kit/import-file.ts';

interface Row {
  userId: string;
  password: string;
  orgId: string;
}

/** One way of writing a file. */
interface Dialect {
  format: 'csv' | 'ndjson' | 'json';
  delimiter: ',' | ';' | '\t' | '|';
  lineEnd: '\n' | '\r\n' | '\r';
  quote: 'always' | 'needed';
  encoding: 'utf-8' | 'utf-8 with mark' | 'utf-16le' | 'utf-16be';
  gzip: boolean;
  lastLineEnd: boolean;
  blankLines: boolean;
  comments: number;
  trailing: boolean;
  pretty: boolean;
}

const delimiters = [',', ';', '\t', '|'] as const;
const dialect: fc.Arbitrary<Dialect> = fc.record({
  format: fc.constantFrom('csv', 'csv', 'csv', 'ndjson', 'json'),
  delimiter: fc.constantFrom(...delimiters),
  lineEnd: fc.constantFrom('\n', '\r\n', '\r'),
  quote: fc.constantFrom('always', 'needed'),
  encoding: fc.constantFrom('utf-8', 'utf-8 with mark', 'utf-16le', 'utf-16be'),
  gzip: fc.boolean(),
  lastLineEnd: fc.boolean(),
  blankLines: fc.boolean(),
  comments: fc.integer({ min: 0, max: 2 }),
  trailing: fc.boolean(),
  pretty: fc.boolean(),
});

const fits = (text: string) => Buffer.byteLength(text) <= 72 && !text.includes('\0') && text.isWellFormed();
const nasty = fc.constantFrom(
  '"',
  '\\"',
  '""',
  ',',
  ';',
  '\t',
  '|',
  ' ',
  '\r',
  '\n',
  '\r\n',
  '#',
  'é',
  '\u00a0',
  '😀',
  '{',
  '}',
  '[',
  ']',
  ':',
  'a',
);
const password = fc
  .oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    fc.array(nasty, { minLength: 1, maxLength: 8 }).map((parts) => parts.join('')),
  )
  .filter(fits);
const row: fc.Arbitrary<Row> = fc.record({
  userId: fc.stringMatching(/^[a-z0-9][a-z0-9"#;,| ]{0,9}[a-z]$/),
  password,
  orgId: fc.constantFrom('', '00042', 'o"1'),
});

function encode(text: string, { encoding, gzip }: Dialect): Buffer {
  const mark = encoding === 'utf-8' ? '' : '\ufeff';
  const bytes = Buffer.from(mark + text, encoding.startsWith('utf-16') ? 'utf16le' : 'utf8');
  if (encoding === 'utf-16be') bytes.swap16();
  return gzip ? gzipSync(bytes) : bytes;
}

function write(rows: Row[], how: Dialect): Buffer {
  const { lineEnd } = how;
  if (how.format !== 'csv') {
    const objects = rows.map((each) =>
      JSON.stringify(each, null, how.pretty && how.format === 'json' ? 2 : 0).replaceAll('\n', lineEnd),
    );
    if (how.format === 'json') return encode(`[${how.pretty ? lineEnd : ''}${objects.join(`,${lineEnd}`)}]`, how);
    return encode(objects.join(lineEnd + (how.blankLines ? lineEnd : '')) + (how.lastLineEnd ? lineEnd : ''), how);
  }
  const needs = (field: string) => how.quote === 'always' || /["\r\n]/.test(field) || field.includes(how.delimiter);
  const text = (field: string) => (needs(field) ? `"${field.replaceAll('"', '""')}"` : field);
  const line = (fields: string[]) => [...fields.map(text), ...(how.trailing ? [''] : [])].join(how.delimiter);
  const lines = [
    ...Array.from({ length: how.comments }, (_, n) => `# "comment" ${n};,`),
    line(['userId', 'password', 'orgId']),
    ...rows.map((each) => line([each.userId, each.password, each.orgId])),
  ];
  return encode(lines.join(lineEnd + (how.blankLines ? lineEnd : '')) + (how.lastLineEnd ? lineEnd : ''), how);
}

it('reads back any rows from any way of writing them, every password byte for byte, whatever the chunks', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { minLength: 1, maxLength: 6 }),
      dialect,
      fc.constantFrom(...chunkSizes, 2, 64),
      async (rows, how, chunk) => {
        // What looks like a mark (`x`, `*`) is a password here.
        const read = await readFile(write(rows, how), { allowSuspicious: true }, chunk);
        expect(
          read.rows.map((each) => ('reason' in each ? each.reason : [each.userId, each.password, each.org ?? ''])),
        ).toEqual(rows.map((each) => [each.userId, each.password, each.orgId]));
        expect(read.detected).toMatchObject({
          format: how.format,
          compression: how.gzip ? 'gzip' : 'none',
          encoding: how.encoding.replace(' with mark', ''),
          ...(how.format === 'csv' && {
            delimiter: how.delimiter,
            comments: how.comments,
            columns: { userId: 'userId', password: 'password', orgId: 'orgId' },
          }),
        });
      },
    ),
    { numRuns: 400 },
  );
});

it('says where each row starts, in bytes of the unpacked file in its own encoding', async () => {
  const plain = { gzip: false, blankLines: true, comments: 1, pretty: true } as const;
  const list = fc.array(row, { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(list, dialect, fc.constantFrom(...chunkSizes), async (made, how, chunk) => {
      const rows = made.map((each, n) => ({ ...each, userId: `user-${n}` }));
      const file = write(rows, { ...how, ...plain });
      const { rows: read } = await readFile(file, { allowSuspicious: true }, chunk);
      for (const [index, { byte }] of read.entries()) {
        const wide = how.encoding.startsWith('utf-16');
        const rest = Buffer.from(file.subarray(byte, byte + 60));
        const text = (how.encoding === 'utf-16be' ? rest.swap16() : rest).toString(wide ? 'utf16le' : 'utf8');
        expect(text).toMatch(new RegExp(`^${how.format === 'csv' ? '"?' : '\\{\\s*"userId":\\s*"'}user-${index}"?`));
      }
    }),
    { numRuns: 100 },
  );
});

const two = [
  { userId: '104133391254874632', password: 'pässword-1', org: '00042' },
  { userId: '007', password: 'p2' },
];
const texts: [string, string | Buffer, ParseOptions?][] = [
  ['commas', 'userId,password,orgId\n104133391254874632,pässword-1,00042\n007,p2,\n'],
  ['semicolons', 'userId;password;orgId\n104133391254874632;pässword-1;00042\n007;p2;\n'],
  ['tabs', 'userId\tpassword\torgId\n104133391254874632\tpässword-1\t00042\n007\tp2\t\n'],
  ['pipes', 'userId|password|orgId\n104133391254874632|pässword-1|00042\n007|p2|\n'],
  ['spaces after delimiters', 'userId, password, orgId\n104133391254874632,pässword-1, "00042"\n 007,p2, \n'],
  ['a trailing delimiter', 'userId,password,orgId,\n104133391254874632,pässword-1,00042,\n007,p2,,\n'],
  ['comments', '# export\n#\nuserId,password,orgId\n104133391254874632,pässword-1,00042\n007,p2,\n'],
  [
    'comments between rows',
    'userId,password,orgId\n#a\n104133391254874632,pässword-1,00042\n# "\n007,p2,\n',
    { comments: true },
  ],
  ["Excel's sep line", 'sep=;\r\nuserId;password;orgId\r\n104133391254874632;pässword-1;00042\r\n007;p2;\r\n'],
  ['CRLF', 'userId,password,orgId\r\n104133391254874632,pässword-1,00042\r\n007,p2,\r\n'],
  ['lone CR', 'userId,password,orgId\r104133391254874632,pässword-1,00042\r007,p2,\r'],
  ['blank lines, no last line end', '\n\nuserId,password,orgId\n\n104133391254874632,pässword-1,00042\n\n\n007,p2,'],
  ['aliases', 'uid,new_password,Resource Owner\n104133391254874632,pässword-1,00042\n007,p2,\n'],
  [
    'a mapping',
    'Employee No,password,Initial,Unit\n104133391254874632,-,pässword-1,00042\n007,-,p2,\n',
    { map: { userId: 'employee no', password: 'Initial', orgId: 'Unit' } },
  ],
  [
    'no header',
    '00042,104133391254874632,pässword-1\n,007,p2\n',
    { header: false, map: { orgId: '#1', userId: '#2', password: '#3' } },
  ],
  [
    'latin1',
    Buffer.from('userId,password,orgId\n104133391254874632,pässword-1,00042\n007,p2,\n', 'latin1'),
    { encoding: 'windows-1252' },
  ],
  ['NDJSON', '{"userId":"104133391254874632","password":"pässword-1","orgId":"00042"}\n\n{"id":"007","pwd":"p2"}'],
  [
    'a JSON list',
    '[\n  {"userId":"104133391254874632","password":"pässword-1","orgId":"00042"},\n  {"id":"007",\n   "pwd":"p2"}\n]\n',
  ],
  [
    'a JSON list in one line',
    '[{"userId":"104133391254874632","password":"pässword-1","orgId":"00042"},{"id":"007","pwd":"p2"}]',
  ],
];

describe.each(texts)('a file with %s', (_name, file, options) => {
  it.each([...chunkSizes, 3])('gives the same rows in chunks of %i', async (chunk) => {
    const bytes = Buffer.from(file as string);
    for (const each of [
      bytes,
      gzipSync(bytes),
      Buffer.concat([gzipSync(bytes.subarray(0, 9)), gzipSync(bytes.subarray(9))]),
    ]) {
      const { rows } = await readFile(each, options, chunk);
      expect(rows).toMatchObject(two);
    }
  });
});

it('never drops a space of a password, only those of other columns where the header has them', async () => {
  const { rows } = await readFile('password, userId, orgId\n a , 1, x\n b,2,"y"\n', { keepColumns: [] });
  expect(rows).toMatchObject([
    { password: ' a ', userId: '1', org: 'x' },
    { password: ' b', userId: '2', org: 'y' },
  ]);
  expect(await reasonsOf('userId, password\n1, "quoted"\n')).toEqual(['csv_quote']);
});

it('reads Windows-1252 only when told to, and refuses bytes that it does not have', async () => {
  const file = Buffer.from([...Buffer.from('userId,password\n1,'), 0x80, 0x93, 10, ...Buffer.from('2,'), 0x81, 10]);
  expect(await reasonsOf(file)).toEqual(['row_not_utf8', 'row_not_utf8']);
  const { rows } = await readFile(file, { encoding: 'windows-1252' });
  expect(rows).toMatchObject([{ password: '€“' }, { reason: 'row_not_encoded', field: 'password' }]);
});

it('refuses half of a surrogate pair in UTF-16 instead of replacing it', async () => {
  for (const end of ['\n2,b\n', '']) {
    const file = Buffer.from(`\ufeffuserId,password\n1,a\ud800${end}`, 'utf16le');
    for (const chunk of chunkSizes) expect((await reasonsOf(file, {}, chunk))[0]).toBe('row_not_encoded');
  }
});
