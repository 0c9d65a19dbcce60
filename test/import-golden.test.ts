import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { recognise } from '../src/hashes/recognise.ts';
import { verifyHash } from '../src/hashes/verify.ts';
import { readFile, refusalOf } from './kit/import-file.ts';
import { knownPassword } from './kit/samples/maker.ts';

/** Files as products write them, of invented people, with hashes made for them; three are known from the products themselves. */

const read = (name: string) => readFileSync(new URL(`fixtures/import/${name}`, import.meta.url));
const published = {
  laravel: 'password',
  clerk: 'Kk4aPMeiaRpAs2OeX1NE',
};
const known = knownPassword;
const people = [
  'lars.baran350458@mail.example',
  'ada.baran89199@example.com',
  'fumiko.eze242507@mail.example',
  'jorg.eze378241@example.org',
];
const userNames = people.map((email) => email.replace(/@.*/, ''));
const uuids = [
  '1e87c739-4212-b549-89ff-2730c2da81d7',
  '63ebc7f7-c905-75e4-200a-049462c8cde0',
  'a430023b-5fe9-67df-92b5-76ab2d204f5c',
  '5560f6ff-36af-d3a4-4144-93b027fa1758',
];

/** File → whom its rows name, and for each the password that fits or why there is none. */
const golden: [file: string, source: string, names: string[], outcomes: string[]][] = [
  ['django/sqlite.sql', 'django', userNames, [known, known, known, '! hash_marker']],
  ['django/fixture.json', 'django', userNames, [known, known, known, '! hash_marker']],
  ['wordpress/mysqldump.sql', 'wordpress', people, [known, known, '! prehashed', known]],
  ['laravel/users.sql', 'laravel', people, [published.laravel, known, known, known]],
  ['devise/pg_dump.sql', 'devise', people, [known, known, known, '! hash_empty']],
  ['supabase/pg_dump.sql', 'supabase', uuids, [known, known, known, '! hash_empty']],
  ['supabase/users.csv', 'supabase', uuids, [known, known, known, '! hash_empty']],
  ['aspnet/AspNetUsers.csv', 'aspnet', uuids, [known, known, known, '! hash_empty']],
  [
    'clerk/users.csv',
    'clerk',
    [
      'user_396215880919ef6c5fbbd5a0',
      'user_f2fc960199f90bb4e0477161',
      'user_4f483c062df5c0f08cf35c78',
      'user_f2738c928c0cf6dfe10e0538',
    ],
    [published.clerk, known, '! peppered', '! hash_empty'],
  ],
  ['pingone/users.csv', 'pingone', userNames, ['! digest_salted', known, '! digest_salted', known]],
  ['okta/users.json', 'okta', people, [known, known, known, '! digest_salted']],
  [
    'firebase/users.csv',
    'firebase',
    ['396215880919ef6c5fbbd5a0', 'f2fc960199f90bb4e0477161', '4f483c062df5c0f08cf35c78', 'f2738c928c0cf6dfe10e0538'],
    ['! firebase_scrypt', '! firebase_scrypt', '! firebase_scrypt', '! hash_empty'],
  ],
  ['ldif/openldap.ldif', 'ldif', userNames, ['! digest_salted', known, known, '! hash_empty']],
];

it.each(golden)('%s: every user, and the password that fits each hash', async (file, source, names, outcomes) => {
  for (const chunk of [97, 65_536]) {
    const { rows, detected } = await readFile(read(file), {}, chunk);
    expect(detected?.source).toBe(source);
    expect(rows.map(({ columns }) => Object.values(columns ?? {})[0])).toEqual(names);
    for (const [n, row] of rows.entries()) {
      const wanted = outcomes[n] as string;
      if ('reason' in row) expect(`! ${row.reason}`).toBe(wanted);
      else if (!('hash' in row) || row.hash === undefined) expect(row.password).toBe(wanted);
      else {
        const { recipe } = recognise(row.password as unknown as string);
        if (!recipe) throw new Error('nothing to verify with');
        expect(await verifyHash(recipe, Buffer.from(wanted))).toBe('match');
        expect(await verifyHash(recipe, Buffer.from(`${wanted} `))).toBe('no_match');
      }
    }
  }
});

it('cognito/users.csv: nothing to import, and what to do instead', async () => {
  expect((await refusalOf(read('cognito/users.csv'))).reason).toBe('source_resets_only');
});

it('hashpwn fits what WordPress 6.8 makes of it, and no target can check it', async () => {
  const hash = recognise('$wp$2y$10$607XKVrBjPEqujeOXNwbYuOJ.gPMd2TelMMknmeV70Kap1E81Ovo6');
  expect(hash.refused).toBe('prehashed');
  expect(await verifyHash(hash.recipe as never, Buffer.from('hashpwn'))).toBe('match');
});
