import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { parseRows } from '../src/producer/import/parse.ts';
import { chunkSizes, readFile, reasonsOf, refusalOf } from './kit/import-file.ts';
import { waitFor } from './kit/wait.ts';

const good = 'userId,password\n1,hunter-2222\n';
const zipped = gzipSync(good.repeat(2_000));

describe('a file that cannot be taken', () => {
  const tar = Buffer.concat([Buffer.from('users.csv'.padEnd(257, '\0')), Buffer.from('ustar'), Buffer.alloc(250)]);
  it.each([
    ['empty', '', 'file_empty'],
    ['gzip of nothing', gzipSync(''), 'file_empty'],
    ['comments only', '# a\n# b\n', 'file_empty'],
    ['header only', 'userId;password', 'file_no_rows'],
    ['an empty JSON list', ' [ ] ', 'file_empty'],
    ['UTF-16 without a mark', Buffer.from(good, 'utf16le').swap16(), 'file_utf16'],
    ['half a gzip', zipped.subarray(0, zipped.length / 2), 'gzip_cut'],
    [
      'a damaged gzip',
      Buffer.concat([zipped.subarray(0, 60), Buffer.alloc(40, 7), zipped.subarray(100)]),
      'gzip_broken',
    ],
    ['text after a gzip', Buffer.concat([zipped, Buffer.from('2,more\n')]), 'gzip_broken'],
    ['gzip in gzip', gzipSync(zipped), 'gzip_nested'],
    ['zip', Buffer.from('PK\x03\x04[Content_Types].xml'), 'file_zip'],
    ['old Excel', Buffer.from([0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]), 'file_zip'],
    ['bzip2', Buffer.from('BZh91AY&SY'), 'file_compressed'],
    ['tar', tar, 'file_archive'],
    ['tar.gz', gzipSync(tar), 'file_archive'],
    ['PDF', '%PDF-1.7\n', 'file_not_text'],
    ['a binary', Buffer.from([1, 2, 3, 0, 0, 5, 10, 7]), 'file_not_text'],
    ['a header that is not UTF-8', Buffer.from('userId,password,Größe\n1,a,b\n', 'latin1'), 'file_not_text'],
    ['one JSON object', '{\n  "users": [\n    {"userId":"1","password":"a"}\n  ]\n}\n', 'file_json_object'],
    ['one JSON object in a line', '{"users":[{"userId":"1","password":"a"}]}', 'file_json_object'],
    ['a cut JSON list', '[{"userId":"1","password":"a"},\n{"userId":"2"', 'json_array_cut'],
    ['a cut JSON list after a row', '[{"userId":"1","password":"a"},\n', 'json_array_cut'],
    ['more after a JSON list', '[{"userId":"1","password":"a"}]\n{"userId":"2","password":"a"}', 'json_array_trailing'],
    ['a header without end', `${'userId,'.repeat(20_000)}password\n1,a\n`, 'header_unreadable'],
    ['1,000 columns', `userId,password${',a'.repeat(1_000)}\n`, 'header_too_many_columns'],
    ['both change flags', 'userId,password,changeRequired,noChangeRequired\n1,a,,\n', 'header_change_twice'],
    ['two columns that can be the user', 'id,user_id,password\n1,2,a\n', 'header_column_ambiguous'],
    ['two columns that can be the password', 'userId,password,new_password\n1,a,b\n', 'header_column_ambiguous'],
    ['two keys that can be the user', '{"id":"1","uid":"2","password":"a"}\n', 'header_column_ambiguous'],
    ['a column twice', 'userId,password,PASSWORD\n1,a,b\n', 'header_column_repeated'],
  ])('%s', async (_name, file, reason) => {
    for (const chunk of chunkSizes) {
      expect(await refusalOf(file, {}, chunk)).toMatchObject({ reason, code: 'invalid_argument' });
    }
  });

  it.each([
    ['a mapping to a missing column', { map: { userId: 'Employee' } }, 'map_column_missing'],
    ['a mapping of an unknown column', { map: { phone: 'userId' } as object }, 'map_column_unknown'],
    ['a mapping of one column twice', { map: { userId: 'password', password: 'password' } }, 'map_column_twice'],
    ['no header and no positions', { header: false }, 'map_position_needed'],
    ['a position that is not there', { header: false, map: { userId: '#1', password: '#3' } }, 'map_position_invalid'],
    ['a position that is none', { header: false, map: { userId: '1', password: '#2' } }, 'map_position_invalid'],
    ['one position twice', { header: false, map: { userId: '#1', password: '#1' } }, 'map_column_twice'],
    ['a kept column that is missing', { keepColumns: ['Name'] }, 'keep_column_missing'],
    ['a kept password', { keepColumns: ['Password'] }, 'keep_column_secret'],
    ['the wrong delimiter', { delimiter: ';' as const }, 'header_column_missing'],
    ['more than was allowed', { maxBytes: 20 }, 'file_too_large'],
  ])('%s', async (_name, options, reason) => {
    expect((await refusalOf(good, options)).reason).toBe(reason);
  });

  it('an encoding that its mark contradicts', async () => {
    expect((await refusalOf(`\ufeff${good}`, { encoding: 'windows-1252' })).reason).toBe('encoding_contradicted');
  });

  it('a first row whose delimiter cannot be told', async () => {
    const positions = { header: false, map: { userId: '#1', password: '#2' } };
    expect((await refusalOf('1,pa;ss;word\n', positions)).reason).toBe('delimiter_ambiguous');
    expect((await readFile('1,pa;ss;word\n', { ...positions, delimiter: ',' })).rows).toMatchObject([
      { password: 'pa;ss;word' },
    ]);
  });

  it('says which headers are meant, and never what stands in a row', async () => {
    const error = await refusalOf('User ID,uid,password\n1,2,s3cret\n');
    expect(error.fields.map(({ field }) => field)).toEqual(['User ID', 'uid']);
    const bare = await refusalOf('104133391254874632,s3cret\n1,a\n');
    expect(JSON.stringify([bare, bare.fields, bare.stack])).not.toMatch(/s3cret|1041/);
  });

  it('a gzip bomb, before much of it is unpacked', async () => {
    const part = gzipSync(Buffer.alloc(8 * 1024 * 1024, 'a'), { level: 9 });
    async function* bomb() {
      yield gzipSync('userId,password\n');
      for (let n = 0; n < 1_000; n++) yield Buffer.from(part);
    }
    const rows = parseRows(bomb());
    await expect(rows.next()).resolves.toMatchObject({ value: { reason: 'line_too_long' } });
    await expect(rows.next()).rejects.toMatchObject({ reason: 'gzip_bomb' });
  });

  it('whatever its stream throws is thrown, in plain and in gzip', async () => {
    for (const bytes of [Buffer.from(good), zipped.subarray(0, 100)]) {
      async function* broken() {
        yield Buffer.from(bytes);
        throw new Error('the wire was cut');
      }
      await expect(
        (async () => {
          for await (const _ of parseRows(broken()));
        })(),
      ).rejects.toThrow('the wire was cut');
    }
  });

  it('does not wait for a sender that stalls when the reader stops', async () => {
    for (const bytes of [Buffer.from(good), gzipSync(good)]) {
      async function* stalled() {
        yield Buffer.from(bytes);
        await new Promise(() => undefined);
      }
      const rows = parseRows(stalled());
      expect((await rows.next()).value).toMatchObject({ userId: '1' });
      await rows.return(undefined);
    }
  });

  it('leaves the stream closed when the reader stops', async () => {
    for (const bytes of [Buffer.from(good), gzipSync(good)]) {
      let closed = false;
      async function* source() {
        try {
          for (;;) yield Buffer.from(bytes);
        } finally {
          closed = true;
        }
      }
      for await (const _ of parseRows(source())) break;
      await waitFor(() => closed, { what: 'the stream to be closed' });
    }
  });
});

describe('a bad row costs itself only', () => {
  const bad: [string, string][] = [
    ['1,a', 'row_columns'],
    ['1,unquoted,pass,word,,', 'row_columns'],
    [',,,', 'row_empty'],
    ['1.04133E+17,a,,', 'user_id_e_notation'],
    ['"1,04133E+17",a,,', 'user_id_e_notation'],
    ['1,"it\\"s",,', 'csv_backslash'],
    ['1,"it\\""s",,', 'csv_backslash'],
    ['1,it"s,,', 'csv_quote'],
    ['1,a,maybe,', 'field_type'],
    ['1,a,,01/02/2026', 'set_at_ambiguous'],
    ['1,a,,1.2.26', 'set_at_ambiguous'],
    ['1,a,,2026-02-30', 'set_at_invalid'],
    ['1,a,,yesterday', 'set_at_invalid'],
    ['1,a,,2999-01-01', 'set_at_future'],
    ['1,$2y$10$abcdefghijklmnopqrstuv,,', 'password_is_hash'],
    ['1,NULL,,', 'password_marker'],
  ];
  const file = (end: string) =>
    `userId,password,changeRequired,set_at${end}${bad.map(([row]) => `${row}${end}`).join('')}2,good,,${end}`;

  it.each(['\n', '\r\n', '\r'])('in CSV whose lines end in %j', async (end) => {
    for (const chunk of chunkSizes) {
      expect(await reasonsOf(file(end), {}, chunk)).toEqual([...bad.map(([, reason]) => reason), 'ok']);
    }
  });

  it('in CSV with the other line end inside', async () => {
    expect(await reasonsOf('userId,password\n1,a\rb\n2,b\n')).toEqual(['csv_lone_cr', 'ok']);
    expect(await reasonsOf('userId,password\r1,a\nb\r2,b\r')).toEqual(['csv_lone_lf', 'ok']);
  });

  it('in a JSON list, also one element that never closes its string', async () => {
    const rows: [string, string][] = [
      ['{"userId":104133391254874632,"password":"a"}', 'user_id_not_text'],
      ['{"userId":"1","password":"a","orgId":104133391254874632}', 'org_id_not_text'],
      ['{"userId":"1","password":"open}', 'row_not_json'],
      ['{"userId":"1","password":"a","password":"b"}', 'field_repeated'],
      ['{"userId":"1","password":"a","pwd":"b"}', 'field_repeated'],
      ['{"userId":"1","password":"a","changeRequired":true,"noChangeRequired":true}', 'change_twice'],
      ['{"userId":"1" "password":"a"}', 'row_not_json'],
      [`{"userId":"1","password":"${'x'.repeat(70_000)}"}`, 'line_too_long'],
      [
        `{"userId":"1","password":"a"${',"k":1'.replace('k', 'k').repeat(1)},${Array.from({ length: 300 }, (_, n) => `"k${n}":1`).join()}}`,
        'row_too_many_fields',
      ],
      ['null', 'row_not_object'],
      ['"]"', 'row_not_object'],
      ['17', 'row_not_object'],
      ['[{"userId":"1","password":"a"}]', 'row_not_object'],
    ];
    const first = '{"userId":"0","password":"first"}';
    for (const [open, between] of [
      ['[', ',\n'],
      ['[\n  ', ',\n  '],
      ['[\r\n  ', '\r\n, '],
    ]) {
      const list = `${open}${[first, ...rows.map(([text]) => text), first].join(between)}]`;
      for (const chunk of chunkSizes) {
        expect(await reasonsOf(list, {}, chunk)).toEqual(['ok', ...rows.map(([, reason]) => reason), 'ok']);
      }
    }
  });

  it('in NDJSON, a repeated key too', async () => {
    const lines = [
      '{"userId":"1","password":"a"}',
      '{"userId":"1","userId":"2","password":"a"}',
      '{"userId":"1",',
      '[]',
    ];
    expect(await reasonsOf(lines.join('\n'))).toEqual(['ok', 'field_repeated', 'row_not_json', 'row_not_object']);
  });
});
