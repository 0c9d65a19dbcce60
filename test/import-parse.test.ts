import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import type { ParseOptions } from '../src/producer/import/parse.ts';
import { isRejected, parseRows } from '../src/producer/import/parse.ts';

async function* chunks(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Rows with passwords revealed, for comparing. */
async function parse(file: string | Buffer, options: ParseOptions & { chunk?: number } = {}) {
  const rows = [];
  const bytes = Buffer.from(file as string);
  for await (const row of parseRows(chunks(bytes, options.chunk ?? 65536), options)) {
    const { byte: _byte, columns: _columns, ...rest } = row;
    if ('changeRequired' in rest) delete rest.changeRequired;
    rows.push(isRejected(row) ? rest : { ...rest, password: row.password.reveal() });
  }
  return rows;
}

const reasonsOf = async (file: string | Buffer, options?: ParseOptions) =>
  (await parse(file, options)).map((row) => ('reason' in row ? row.reason : 'ok'));

async function refusal(file: string | Buffer, options?: ParseOptions): Promise<PassferryError> {
  const error = await parse(file, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(PassferryError);
  return error as PassferryError;
}

it.each(['userId,password\n1,hunter-2222\n2,hunter-3333\n', '{"userId":"1","password":"hunter-2222"}\n'])(
  'leaves zeros of what it has read',
  async (file) => {
    const pieces = file.match(/[\s\S]{1,7}/g)?.map((text) => Buffer.from(text)) ?? [];
    for await (const row of parseRows(Readable.from(pieces))) expect(isRejected(row)).toBe(false);
    expect(Buffer.concat(pieces).every((byte) => byte === 0)).toBe(true);
  },
);

describe('CSV', () => {
  it('reads ids as text and keeps every character of a password', async () => {
    const file = 'User_ID,PASSWORD,orgId,no_change_required\n104133391254874632, a b ,00042,yes\n007,"q""x,\ny",,0\n';
    expect(await parse(file)).toEqual([
      { row: 1, line: 2, userId: '104133391254874632', password: ' a b ', org: '00042', noChangeRequired: true },
      { row: 2, line: 3, userId: '007', password: 'q"x,\ny', noChangeRequired: false },
    ]);
  });

  it('takes BOM, CRLF, empty lines and a missing last newline; lines are physical ones', async () => {
    const file = '\ufeffuserId,password\r\n\r\n1,a\r\n\r\n2,"b\r\nc"\r\n3,d';
    expect(await parse(file, { noChangeRequired: true })).toEqual([
      { row: 1, line: 3, userId: '1', password: 'a', noChangeRequired: true },
      { row: 2, line: 5, userId: '2', password: 'b\r\nc', noChangeRequired: true },
      { row: 3, line: 7, userId: '3', password: 'd', noChangeRequired: true },
    ]);
  });

  it('rejects a bad row and goes on (P10)', async () => {
    const bad: [string, string][] = [
      ['1', 'row_columns'],
      ['1,a,,,', 'row_columns'],
      [',a,,', 'user_id_missing'],
      ['1.04133E+17,a,,', 'user_id_e_notation'],
      ['1,a,1E+17,', 'org_id_e_notation'],
      ['1,,,', 'password_missing'],
      [`1,${'x'.repeat(73)},,`, 'password_too_long'],
      [`1,${'é'.repeat(37)},,`, 'password_too_many_bytes'],
      ['1,a\0b,,', 'password_nul'],
      ['1,a,,maybe', 'field_type'],
      ['1,a"b,,', 'csv_quote'],
      ['1,"a"b,,', 'csv_quote'],
      ['1,a\rb,,', 'csv_lone_cr'],
      [`1,${'x'.repeat(70000)},,`, 'line_too_long'],
    ];
    const file = `userId,password,orgId,noChangeRequired\n${bad.map(([row]) => `${row}\n`).join('')}2,good,,\n`;
    expect(await reasonsOf(file)).toEqual([...bad.map(([, reason]) => reason), 'ok']);
    const last = (await parse(file)).at(-1);
    expect(last).toMatchObject({ row: bad.length + 1, line: bad.length + 2 });
  });

  it('refuses bytes that are not UTF-8 instead of replacing them', async () => {
    const file = Buffer.concat([Buffer.from('userId,password\n1,'), Buffer.from([0xe9]), Buffer.from('\n2,b\n')]);
    expect(await parse(file)).toEqual([
      { row: 1, line: 2, reason: 'row_not_utf8', field: 'password' },
      { row: 2, line: 3, userId: '2', password: 'b' },
    ]);
  });

  it('loses one line to a quote that is never closed, not the file', async () => {
    const many = Array.from({ length: 20_000 }, (_, n) => `${n},pw${n}\n`).join('');
    const rows = await parse(`userId,password\n1,"open\n${many}`, { chunk: 1000 });
    expect(rows[0]).toEqual({ row: 1, line: 2, reason: 'csv_quote' });
    expect(rows).toHaveLength(20_001);
    expect(rows.at(-1)).toMatchObject({ userId: '19999', password: 'pw19999' });
  });

  it('never names a user in a row whose columns shifted', async () => {
    expect(await parse('password,userId\nse,cret,1\n')).toEqual([{ row: 1, line: 2, reason: 'row_columns' }]);
  });

  it('gives the same rows whatever the chunks and the passwords', async () => {
    const password = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((p) => !p.includes('\0'));
    await fc.assert(
      fc.asyncProperty(fc.array(password, { minLength: 1 }), fc.integer({ min: 1, max: 40 }), async (list, chunk) => {
        const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const file = `userId,password\n${list.map((p, n) => `u${n},${quote(p)}`).join('\r\n')}`;
        const rows = await parse(file, { chunk, allowSuspicious: true });
        expect(rows.map((row) => ('password' in row ? row.password : row.reason))).toEqual(
          list.map((p) =>
            Buffer.byteLength(p) > 72 || [...p].length > 72 ? expect.stringMatching(/^password_too/) : p,
          ),
        );
      }),
    );
  });
});

describe('NDJSON', () => {
  it('reads one object a line', async () => {
    const file =
      '{"userId":"104133391254874632","password":" a ","orgId":"7"}\n\n{"user_id":"2","password":"b","noChangeRequired":true}';
    expect(await parse(file)).toEqual([
      { row: 1, line: 1, userId: '104133391254874632', password: ' a ', org: '7' },
      { row: 2, line: 3, userId: '2', password: 'b', noChangeRequired: true },
    ]);
  });

  it('rejects a bad line and goes on (P10)', async () => {
    const bad: [string, string][] = [
      ['{"userId":104133391254874632,"password":"a"}', 'user_id_not_text'],
      ['{"userId":"1","password":"a","orgId":5}', 'org_id_not_text'],
      ['{"userId":"1","password":"\\ud800"}', 'password_ill_formed'],
      ['{"userId":"1","password":"\\u0000"}', 'password_nul'],
      ['{"userId":"1","password":5}', 'field_type'],
      ['{"userId":"1"}', 'password_missing'],
      ['{"password":"a"}', 'user_id_missing'],
      ['{"userId":"1","user_id":"2","password":"a"}', 'field_repeated'],
      ['{"userId":"1"', 'row_not_json'],
      ['["1","a"]', 'row_not_object'],
      [`{"userId":"1","password":"${'x'.repeat(70000)}"}`, 'line_too_long'],
    ];
    const file = `${bad.map(([row]) => `${row}\n`).join('')}{"userId":"2","password":"a"}`;
    expect(await reasonsOf(file, { format: 'ndjson' })).toEqual([...bad.map(([, reason]) => reason), 'ok']);
  });
});

describe('a file that cannot be taken', () => {
  it.each([
    ['', 'file_empty'],
    ['\n\r\n', 'file_empty'],
    ['\ufeff', 'file_empty'],
    ['userId,password\n', 'file_no_rows'],
    ['userId,user_id,password\n1,2,a\n', 'header_column_repeated'],
    ['"userId,password\n1,a\n', 'header_unreadable'],
    [Buffer.from('PK\x03\x04rest of a spreadsheet'), 'file_zip'],
    [Buffer.from('userId,password\n1,a\n', 'utf16le'), 'file_utf16'],
    [Buffer.from([0, 1, 2, 0xff, 0xfe, 10, 3, 4]), 'file_not_text'],
  ])('is refused as a whole: %j', async (file, reason) => {
    expect(await refusal(file)).toMatchObject({ reason, code: 'invalid_argument' });
  });

  it('names the columns that are missing and echoes nothing', async () => {
    const error = await refusal('s3cret,other\n1,a\n');
    expect(error.fields.map((f) => f.field)).toEqual(['userId', 'password']);
    expect(JSON.stringify(error) + error.stack).not.toContain('s3cret');
  });
});
