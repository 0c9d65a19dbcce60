import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { recognise } from '../src/hashes/recognise.ts';
import { verifyHash } from '../src/hashes/verify.ts';
import { type Detected, isRejected, type ParseOptions, parseRows } from '../src/producer/import/parse.ts';
import { parseHashParams } from '../src/producer/import/sources/hash-params.ts';
import { bcryptOf, chance, invent, knownPassword, pick, randomOf, times } from './kit/samples/maker.ts';

/** Files of Auth0, Keycloak, Firebase and ForgeRock in their public shapes, with invented people and hashes made here. */

const golden = (name: string) => readFileSync(new URL(`fixtures/import/${name}`, import.meta.url));
const inPieces = (bytes: Buffer | string, size = 1_000) => {
  const all = Buffer.from(bytes);
  return Readable.from(
    Array.from({ length: Math.ceil(all.length / size) }, (_, n) => Buffer.from(all.subarray(n * size, (n + 1) * size))),
  );
};

type Asked = Omit<ParseOptions, 'users'> & { users?: Buffer | string };

/** Rows as `who kind verdict`, or `who reason`. */
async function rowsOf(content: Buffer | string, { users, ...options }: Asked = {}) {
  let detected: Detected | undefined;
  const rows: string[] = [];
  const all = parseRows(inPieces(content), {
    ...options,
    ...(users !== undefined && { users: inPieces(users) }),
    onDetected: (found) => {
      detected = found;
    },
  });
  for await (const row of all) {
    if (isRejected(row)) rows.push(`${row.line} ${row.userId ?? '-'} ${row.reason}`);
    else {
      const text = row.password.reveal();
      const { recipe } = recognise(text);
      const verdict = row.hash && recipe ? await verifyHash(recipe, Buffer.from(knownPassword)) : text;
      const change = row.changeRequired ? ' change' : '';
      rows.push(
        `${row.line} ${row.userId ?? row.email ?? row.userName} ${row.hash?.kind ?? 'clear'} ${verdict}${change}`,
      );
    }
  }
  return { rows, detected: detected as unknown as Detected };
}

async function refusalOf(content: Buffer | string, asked: Asked = {}) {
  const error = await rowsOf(content, asked).catch((thrown) => thrown);
  if (!(error instanceof PassferryError)) throw error instanceof Error ? error : new Error('it was taken');
  return [error.reason, ...error.fields.map(({ field }) => field)];
}

const auth0Id = (n: number) => `auth0|65a1f0c2d3e4b5a69788100${n}`;
const keycloakId = (n: number) => `5f0c7a10-2b3c-4d5e-8f60-71829304a5b${n}`;

describe('Auth0', () => {
  const expected = [
    `1 ${auth0Id(1)} bcrypt match`,
    `2 ${auth0Id(2)} bcrypt match`,
    `3 ${auth0Id(3)} md5-salt-first match`,
    `4 ${auth0Id(4)} prehashed`,
  ];

  it('the password export is taken as it is, each password with its age', async () => {
    const { rows, detected } = await rowsOf(golden('auth0/passwords.ndjson'));
    expect(rows).toEqual(expected);
    expect(detected).toMatchObject({ source: 'auth0', by: 'id', format: 'ndjson', columns: { setAt: 'setAt' } });
    expect((await rowsOf(gzipSync(golden('auth0/passwords.ndjson')))).rows).toEqual(expected);
  });

  it.each(['users.ndjson', 'users.csv'])(
    'is joined with %s by the id, and users are named as is asked',
    async (name) => {
      const users = golden(`auth0/${name}`);
      expect((await rowsOf(golden('auth0/passwords.ndjson'), { users })).rows).toEqual(expected);
      const byEmail = await rowsOf(golden('auth0/passwords.ndjson'), { users, by: 'email' });
      // There Ada has a second account with her address, at Google: nobody can tell whose the user of the target is.
      expect(byEmail.rows.slice(0, 2)).toEqual([
        name === 'users.csv' ? '1 ada.ahlgren@example.com bcrypt match' : '1 - join_user_ambiguous',
        '2 bjorn.baran@example.com bcrypt match',
      ]);
    },
  );

  it('the shape of an import is taken, with an algorithm that nobody knows as a bad row', async () => {
    expect((await rowsOf(golden('auth0/import.json'))).rows).toEqual([
      `2 ${auth0Id(1)} bcrypt match`,
      `8 ${auth0Id(2)} bcrypt match`,
      `20 ${auth0Id(3)} md5-salt-last match`,
      `37 ${auth0Id(4)} parameters_missing`,
    ]);
  });

  it('users alone, swapped files, and a file of something else are refused', async () => {
    const [users, passwords] = [golden('auth0/users.ndjson'), golden('auth0/passwords.ndjson')];
    expect(await refusalOf(users)).toEqual(['source_no_passwords']);
    expect(await refusalOf(users, { users: passwords })).toEqual(['source_files_swapped', 'users']);
    expect(await refusalOf(users, { users })).toEqual(['source_no_passwords']);
    expect(await refusalOf(passwords, { users: golden('keycloak/realm.json') })).toEqual(['source_mismatch', 'users']);
    expect(await refusalOf(passwords, { users, from: 'keycloak' })).toEqual(['source_no_join', 'users']);
    expect(await refusalOf(passwords, { users: '' })).toEqual(['source_mismatch', 'users']);
  });

  it('hashes with a pepper are refused when it is said', async () => {
    const { rows } = await rowsOf(golden('auth0/passwords.ndjson'), { peppered: true });
    expect(rows.slice(0, 2)).toEqual([`1 ${auth0Id(1)} peppered`, `2 ${auth0Id(2)} peppered`]);
  });
});

describe('Keycloak', () => {
  it('a realm is taken, whatever else is in it, with JSON inside of texts', async () => {
    const { rows, detected } = await rowsOf(golden('keycloak/realm.json'));
    expect(rows).toEqual([
      `17 ${keycloakId(0)} pbkdf2-sha256 match`,
      `46 ${keycloakId(1)} pbkdf2-sha512 match change`,
      `82 ${keycloakId(2)} argon2id match`,
      `111 ${keycloakId(3)} hash_empty`,
      `132 ${keycloakId(4)} no_verifier`,
    ]);
    expect(detected).toMatchObject({ source: 'keycloak', by: 'id', format: 'json' });
    const named = await rowsOf(golden('keycloak/realm.json'), { by: 'username' });
    expect(named.rows[0]).toBe('17 person0 pbkdf2-sha256 match');
  });

  it('users of a release before 8 are taken', async () => {
    expect((await rowsOf(golden('keycloak/old-users-0.json'))).rows).toEqual([
      `1 ${keycloakId(6)} pbkdf2-sha1 match`,
      `1 ${keycloakId(7)} pbkdf2-sha256 match`,
    ]);
  });

  it('a realm without users or without credentials says so', async () => {
    const realm = JSON.parse(golden('keycloak/realm.json').toString('utf8'));
    const { users, ...without } = realm;
    for (const space of [0, 2]) {
      expect(await refusalOf(JSON.stringify(without, null, space))).toEqual([
        space === 0 ? 'source_no_passwords' : 'source_list_missing',
      ]);
      const bare = users.map(({ credentials: _, ...user }: { credentials: unknown }) => user);
      expect(await refusalOf(JSON.stringify({ ...without, users: bare }, null, space))).toEqual([
        'source_no_passwords',
      ]);
    }
  });

  it('a file that was cut is refused at its end, wherever that is', async () => {
    const whole = golden('keycloak/realm.json');
    const first = whole.indexOf('"users": [\n') + 20;
    for (const at of [first, first + 400, whole.indexOf('"scopeMappings"'), whole.length - 3]) {
      expect(await refusalOf(whole.subarray(0, at)), `cut at ${at}`).toEqual(['json_array_cut']);
    }
  });

  it('a list of users behind more than is looked at is found, with lines and bytes that are right', async () => {
    const filler = times(3_000, (n) => ({ id: `role-${n}`, name: `"users": [{ ${n} ü` }));
    const user = { id: 'late', username: 'late', credentials: [{ type: 'password', value: 'Late-password-1' }] };
    const text = JSON.stringify({ realm: 'x', enabled: true, roles: filler, users: [user], z: [[{}]] }, null, 1);
    const all: unknown[] = [];
    for await (const row of parseRows(inPieces(text, 333))) all.push([row.line, row.byte, row.userId]);
    const before = text.slice(0, text.indexOf('{\n   "id": "late"'));
    expect(all).toEqual([[before.split('\n').length, Buffer.byteLength(before), 'late']]);
  });
});

describe('Firebase', () => {
  const file = golden('firebase/import-pbkdf2.json');
  const params = (text: Buffer | string) => parseHashParams(text.toString());

  it('its own scrypt is refused for what it is, row by row', async () => {
    const hashParams = params(golden('firebase/project.params.txt'));
    expect((await rowsOf(golden('firebase/users.json'), { hashParams })).rows).toEqual([
      '3 aB3dE5gH7jK9mN1pQ3sT5vW7yZ90 firebase_scrypt',
      '13 cB3dE5gH7jK9mN1pQ3sT5vW7yZ91 hash_empty',
    ]);
  });

  it('with parameters other hashes are taken, in three alphabets of base64 and never in a mixture', async () => {
    const hashParams = params(golden('firebase/import-pbkdf2.params.json'));
    expect((await rowsOf(file, { hashParams })).rows).toEqual([
      '1 one pbkdf2-sha256 match',
      '1 two pbkdf2-sha256 match',
      '1 three pbkdf2-sha256 match',
      '1 four hash_malformed',
    ]);
  });

  it('keeps no signer key, and says which parameter is wrong', () => {
    expect(params(golden('firebase/project.params.txt'))).toEqual({ algorithm: 'SCRYPT', rounds: 8, memCost: 14 });
    for (const [text, field] of [
      ['{"algorithm":"WHIRLPOOL"}', 'algorithm'],
      ['{"algorithm":"PBKDF2_SHA256"}', 'rounds'],
      ['{"algorithm":"PBKDF2_SHA256","rounds":"many"}', 'rounds'],
      ['nonsense', undefined],
    ] as const) {
      let thrown: unknown;
      try {
        parseHashParams(text);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(PassferryError);
      expect((thrown as PassferryError).fields.map((each) => each.field)).toEqual(field === undefined ? [] : [field]);
    }
  });
});

it('ForgeRock: hashes are taken, and what is only encrypted is not', async () => {
  expect((await rowsOf(golden('forgerock/users.json'))).rows).toEqual([
    `3 ${keycloakId(0)} pbkdf2-sha256 match`,
    `12 ${keycloakId(1)} hash_unknown`,
  ]);
});

describe('what is named', () => {
  it('--from that does not fit, that nobody knows, or --by that it has not is refused', async () => {
    const realm = golden('keycloak/realm.json');
    expect(await refusalOf(realm, { from: 'firebase' })).toEqual(['source_mismatch']);
    expect(await refusalOf(realm, { from: 'keykloak' })).toEqual(['source_unknown']);
    expect(await refusalOf(golden('firebase/users.json'), { by: 'username' })).toEqual(['source_by']);
  });

  it('a header of ours wins over every mark of another product', async () => {
    const csv = 'userId,password,localId,passwordHash_hint,tenant,connection,credentials\n1,Own-password-1,a,b,c,d,e\n';
    const { rows, detected } = await rowsOf(csv);
    expect(detected.source).toBe('own');
    expect(rows).toEqual(['2 1 clear Own-password-1']);
    expect((await rowsOf('userId,password\n1,Own-password-1\n', { from: 'own' })).rows).toHaveLength(1);
  });
});

describe('the wrong person', () => {
  const seed = Number(process.env.PASSFERRY_SEED ?? 11);

  it('0 passwords go to somebody else, over shared addresses, empty ids, ids that differ by case or prefix', async () => {
    const random = randomOf(seed);
    let [set, refused, crossed] = [0, 0, 0];
    for (let n = 0; n < 150; n++) {
      const people = times(2 + Math.floor(random() * 8), () => invent(random));
      const shared = people[0]?.email as string;
      const users = people.map((one, i) => ({
        user_id: i > 0 && chance(random, 0.1) ? pick(random, ['auth0|', 'sms|']) : `auth0|${one.hex24}`,
        email: chance(random, 0.3) ? pick(random, [shared, shared.toUpperCase()]) : one.email,
        username: one.userName,
        n: i,
      }));
      if (chance(random, 0.2))
        users.push({ ...(users[0] as (typeof users)[number]), email: people[1]?.email as string });
      users.push({ ...(users[0] as (typeof users)[number]), user_id: `google-oauth2|${people[0]?.hex24}` });
      // The password says whose it is.
      const passwords = people.flatMap((one) => {
        const oid = pick(random, [
          one.hex24,
          one.hex24,
          `auth0|${one.hex24}`,
          one.hex24.toUpperCase(),
          '',
          `x${one.hex24}`,
        ]);
        const row = { _id: { $oid: oid }, email: shared, passwordHash: bcryptOf(), tenant: oid, connection: 'c' };
        return chance(random, 0.15) ? [row, row] : [row];
      });
      const by = pick(random, ['id', 'email', 'username'] as const);
      // Behind the beginning, which tells whose file it is.
      if (users.length > 3)
        users.push(...times(20, () => ({ ...users[1], user_id: `auth0|${invent(random).hex24}` }) as never));
      users.push({ ...(users[0] as (typeof users)[number]), user_id: '' });
      const lines = (rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n');
      const rows = parseRows(inPieces(lines(passwords)), { from: 'auth0', by, users: inPieces(lines(users)) });
      const given = new Set<string>();
      try {
        for await (const row of rows) {
          if (isRejected(row)) {
            refused++;
            continue;
          }
          set++;
          const oid = (passwords[row.row - 1]?._id.$oid ?? '').replace(/^auth0\|/, '');
          const owners = users.filter(({ user_id: id }) => id === `auth0|${oid}`);
          const [owner] = owners;
          const name = row.userId ?? row.email ?? row.userName ?? '';
          const right = { id: `auth0|${oid}`, email: owner?.email.toLowerCase(), username: owner?.username }[by];
          const isShared =
            by !== 'id' &&
            users.filter(
              (one) =>
                one.user_id?.startsWith('auth0|') && one.user_id !== 'auth0|' && nameOf(one, by) === nameOf(owner, by),
            ).length > 1;
          if (owners.length !== 1 || name !== right || isShared || given.has(name)) crossed++;
          given.add(name);
        }
      } catch (error) {
        // A file of users in which no id is one is none.
        if (!(error instanceof PassferryError)) throw error;
        expect(error.reason).toBe('source_mismatch');
      }
    }
    expect(crossed).toBe(0);
    expect(set).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });

  const nameOf = (one: { email: string; username: string } | undefined, by: string) =>
    (by === 'email' ? one?.email : one?.username)?.toLowerCase();

  it('each bad key has its own reason', async () => {
    const user = (id: string, email: string) => ({ user_id: id, email });
    const password = (oid: string) => ({
      _id: { $oid: oid },
      email: 'a@x.example',
      passwordHash: bcryptOf(),
      tenant: 't',
    });
    const lines = (rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n');
    const users = lines([
      ...[user('auth0|a1', 'a@x.example'), user('auth0|b2', 'b@x.example'), user('auth0|b2', 'c@x.example')],
      ...[user('auth0|c3', 'same@x.example'), user('auth0|d4', 'SAME@x.example')],
    ]);
    const passwords = lines(['a1', 'a1', 'A1', 'b2', '', 'c3'].map(password));
    expect((await rowsOf(passwords, { users })).rows).toEqual([
      '1 auth0|a1 bcrypt match',
      '2 - join_password_repeated',
      '3 - join_user_missing',
      '4 - join_user_ambiguous',
      '5 - user_id_missing',
      '6 auth0|c3 bcrypt match',
    ]);
    expect((await rowsOf(passwords, { users, by: 'email' })).rows.at(-1)).toBe('6 - join_user_ambiguous');
  });
});
