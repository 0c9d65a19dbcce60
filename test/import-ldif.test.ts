import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ldifFields } from '../src/producer/import/sources/ldif-fields.ts';
import { noText } from '../src/producer/import/sources/sql-fields.ts';
import { recordsOf } from './kit/container.ts';
import { chunkSizes } from './kit/import-file.ts';

async function entriesOf(file: string | Buffer, chunk?: number): Promise<unknown[]> {
  return (await recordsOf(ldifFields, file, chunk)).map((each) => ('fields' in each ? each.fields : each.reason));
}

const base64 = (text: string | Buffer) => Buffer.from(text as string).toString('base64');
const ann = 'dn: uid=ann,ou=people,dc=example,dc=com\nuid: ann\n';

it.each([
  [
    'a version, comments and blank lines',
    `version: 1\n\n# people,\n  example.com\n${ann}# a comment\nmail: ann@example.com\n\n\n`,
    { mail: 'ann@example.com' },
  ],
  [
    'lines that are folded',
    `${ann}userPassword: {SSHA}ab\n cd\n ef\nmail: ann@\n example.com\n`,
    { userpassword: '{SSHA}abcdef', mail: 'ann@example.com' },
  ],
  [
    'base64 that is folded',
    `${ann}userPassword:: ${base64('{SSHA}abcdéf').slice(0, 7)}\n ${base64('{SSHA}abcdéf').slice(7)}\n`,
    { userpassword: '{SSHA}abcdéf' },
  ],
  ['several values', `${ann}mail: a@example.com\nMAIL: b@example.com\n`, { mail: ['a@example.com', 'b@example.com'] }],
  [
    'options of a name',
    `${ann}cn;lang-en: Ann\nuserPassword;x-old:: ${base64('{MD5}x')}\n`,
    { cn: 'Ann', userpassword: '{MD5}x' },
  ],
  ['CRLF and no last line end', `${ann}mail: ann@example.com`.replaceAll('\n', '\r\n'), { mail: 'ann@example.com' }],
  ['blanks before and in a value, an empty one', `${ann}sn:    a  b \nmail:\n`, { sn: 'a  b ', mail: '' }],
  ['a colon in a value', `${ann}sn: a:: b\n`, { sn: 'a:: b' }],
  ['an entry that is added', `${ann.replace('\n', '\nchangetype: add\n')}sn: x\n`, { changetype: 'add', sn: 'x' }],
  [
    'a photo, which is left out',
    `${ann}jpegPhoto:: ${base64(Buffer.alloc(90_000, 200)).replaceAll(/.{76}/g, '$&\n ')}\nsn: x\n`,
    { sn: 'x' },
  ],
  ['a photo in one line', `${ann}jpegPhoto:: ${base64(Buffer.alloc(90_000, 200))}\nsn: x\n`, { sn: 'x' }],
  [
    'a password that is no text',
    `${ann}userPassword:: ${base64(Buffer.from([0xff, 0xfe]))}\n`,
    { userpassword: noText },
  ],
  [
    'many groups',
    `${ann}${'memberOf: cn=a group with a name,ou=groups,dc=example,dc=com\n'.repeat(3_000)}mail: a@b.c\n`,
    { mail: 'a@b.c', memberof: expect.any(Array) },
  ],
])('reads %s', async (_name, file, more) => {
  for (const chunk of [...chunkSizes, 50]) {
    expect(await entriesOf(file, chunk)).toEqual([{ dn: 'uid=ann,ou=people,dc=example,dc=com', uid: 'ann', ...more }]);
  }
});

it.each([
  ['ldif_url', `${ann}userPassword:< file:///etc/passwd\n`],
  ['ldif_change', `${ann.replace('\n', '\nchangetype: modify\n')}replace: userPassword\nuserPassword: x\n-\n`],
  ['ldif_change', 'dn: uid=ann\nchangetype: delete\n'],
  ['ldif_base64', `${ann}userPassword:: a=b\n`],
  ['ldif_base64', `${ann}userPassword:: ${base64('{SSHA}abcd').slice(0, -1)}\n`],
  ['ldif_line', `${ann}what is this\n`],
  ['ldif_line', 'uid: bob\nuserPassword: x\n'],
  ['line_too_long', `${ann}${'mail: somebody-with-a-name@example.com\n'.repeat(8_000)}`],
])('refuses the entry: %s', async (reason, file) => {
  const bob = '\ndn: uid=bob\nuid: bob\n';
  for (const chunk of [7, 64, 65_536]) {
    expect(await entriesOf(file + bob, chunk)).toEqual([reason, { dn: 'uid=bob', uid: 'bob' }]);
  }
});

it('passes over what ldapsearch says at the end', async () => {
  expect(await entriesOf(`${ann}\n# search result\nsearch: 2\nresult: 0 Success\n\n# numEntries: 1\n`)).toHaveLength(1);
});

it('says where each entry stands', async () => {
  const file = `version: 1\n\n# a\n${ann}\n\n# b\ndn:: ${base64('uid=bob')}\nuid: bob\n`;
  for (const chunk of chunkSizes) {
    const places = (await recordsOf(ldifFields, file, chunk)).map(({ line, byte }) => [
      line,
      file.slice(byte, byte + 3),
    ]);
    expect(places).toEqual([
      [4, 'dn:'],
      [9, 'dn:'],
    ]);
  }
});

it('reads back whatever is written, whatever the chunks', async () => {
  const piece = fc.constantFrom(' ', '\n', '\r', ':', '<', '#', '-', 'é', '😀', '\0', 'a', 'dn: x', '=');
  const value = fc.array(piece, { minLength: 1, maxLength: 12 }).map((parts) => parts.join(''));
  const safe = /^[^\0\n\r :<][^\0\n\r]*$/;
  const fold = (line: string, at: number) => {
    const bytes = Buffer.from(line);
    const parts: string[] = [];
    for (let from = 0; from < bytes.length; from += at) parts.push(bytes.toString('latin1', from, from + at));
    return Buffer.from(parts.join('\n '), 'latin1');
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(value, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 2, max: 40 }),
      fc.constantFrom(1, 3, 64),
      async (values, width, chunk) => {
        const lines = values.flatMap((text, n) => [
          Buffer.from(`dn: uid=u${n}\n`),
          fold(safe.test(text) && text === text.trimEnd() ? `sn: ${text}` : `sn:: ${base64(text)}`, width),
          Buffer.from('\n\n'),
        ]);
        const found = await entriesOf(Buffer.concat(lines), chunk);
        expect(found).toEqual(values.map((sn, n) => ({ dn: `uid=u${n}`, sn })));
      },
    ),
    { numRuns: 300 },
  );
});
