import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeAll, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { bcryptOf } from './kit/samples/maker.ts';

/** Files of other products through the command line and the API of a running Passferry. */

let pf: Passferry;
const dir = tempDir();
const root = new URL('..', import.meta.url).pathname;

beforeAll(async () => {
  pf = await startPassferry();
});

function file(name: string, content: string): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

async function passferry(args: string[], input = '') {
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'src/cli/main.ts'), ...args], {
    cwd: root,
    env: { PATH: process.env.PATH, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token },
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const code = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

function realm(users: { id: string; value: string }[]): string {
  const found = users.map(({ id, value }) => ({
    ...{ id, username: `name of ${id}` },
    // Later than the users of the target were made: an older one would be stale.
    credentials: [{ type: 'password', value, createdDate: Date.now() }],
  }));
  return JSON.stringify({ realm: 'invented', enabled: true, users: found });
}

it('a realm of Keycloak goes from the file to passwords in force, and says what it is before it does', async () => {
  const [ada, bob] = [randomUUID(), randomUUID()];
  for (const user of [ada, bob]) await pf.addUser('acme', user);
  const path = file('realm.json', realm([ada, bob].map((id) => ({ id, value: newPassword() }))));
  const { code, out, err } = await passferry(['import', path, '--json']);
  expect(code, out + err).toBe(0);
  expect(err).toContain('of Keycloak: users are found by their id in the file, which must be that of the target');
  expect(JSON.parse(out)).toMatchObject({
    set: 2,
    options: { source: 'keycloak', by: 'id', format: 'json', map: { userId: 'userId' } },
  });
  const piped = await passferry(
    ['import', '-', '--from', 'keycloak', '--json', '--overwrite-newer'],
    realm([{ id: ada, value: newPassword() }]),
  );
  // To overwrite newer ones takes more than this caller may.
  expect(piped.code).not.toBe(0);
});

const lines = (rows: unknown[]) => `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`;
const users = (...ids: string[]) => lines(ids.map((id) => ({ user_id: `auth0|${id}`, email: `${id}@x.example` })));
const passwords = (...ids: string[]) =>
  lines(ids.map((id) => ({ _id: { $oid: id }, email: 'a@x.example', passwordHash: bcryptOf('b', 10), tenant: 't' })));

it('two files are joined on their way, by the command line', async () => {
  const id = randomUUID();
  const paths = [
    '--users',
    file('users.ndjson', users(id)),
    '--passwords',
    file('passwords.ndjson', passwords(id, 'nobody')),
  ];
  const { code, err } = await passferry(['import', ...paths, '--as-of', 'now', '--dry-run', '--json']);
  expect(err).toContain('of Auth0: users are found by their id');
  expect(err).toContain('row 2 (line 2): join_user_missing');
  expect(code).toBe(1);
});

it('what cannot be told is asked for before a byte is sent, and nothing steers the terminal', async () => {
  const swapped = ['--users', file('u.ndjson', passwords('a')), '--passwords', file('p.ndjson', users('a'))];
  const { code, err } = await passferry(['import', ...swapped, '--as-of', 'now']);
  expect(code).not.toBe(0);
  expect(err).toContain('source_files_swapped');
  const evil = file('evil.csv', 'userId,password,\u202ename\u2066\u200f\u001b[31m\n1,Some-password-1,x\n');
  const shown = await passferry(['import', evil, '--as-of', 'now', '--dry-run']);
  expect(shown.err).toContain('\\u{202e}');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  expect(shown.err + shown.out).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u001b]/);
  const two = await passferry(['import', evil, '--passwords', evil]);
  expect(two.code).toBe(2);
});

function form(parts: [string, string][]): { body: string; type: string } {
  const boundary = 'invented-boundary';
  const body = parts.map(
    ([name, content]) =>
      `--${boundary}\r\ncontent-disposition: form-data; name="${name}"; filename="x"\r\n\r\n${content}\r\n`,
  );
  return { body: `${body.join('')}--${boundary}--\r\n`, type: `multipart/form-data; boundary=${boundary}` };
}

async function send(query: string, { body, type }: { body: string; type: string }) {
  const reply = await fetch(`${pf.url}/imports?asOf=now&${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${pf.token}`, 'content-type': type },
    body,
  });
  // biome-ignore lint/suspicious/noExplicitAny: looked into by expectations
  return { status: reply.status, body: (await reply.json()) as any };
}

it('two files are joined by the API, in one order only, with parameters before them', async () => {
  const id = randomUUID();
  const both: [string, string][] = [
    ['users', users(id)],
    ['passwords', passwords(id, 'nobody')],
  ];
  expect(await send('dryRun=true', form(both))).toMatchObject({
    status: 202,
    body: {
      received: 2,
      // Whoever fills in the rejects puts a hash where hashes are read.
      options: { source: 'auth0', by: 'id', kept: ['userId', 'passwordHash'], duplicates: 'refuse' },
    },
  });
  const params: [string, string] = ['hashParams', '{"algorithm":"BCRYPT"}'];
  expect((await send('dryRun=true&by=email', form([params, ...both]))).status).toBe(202);
  for (const [parts, field] of [
    [[...both].reverse(), 'users'],
    [[both[0]], undefined],
    [
      [
        ['users', users(id)],
        ['file', 'x'],
      ],
      'passwords',
    ],
    [[['hashParams', 'x'.repeat(20_000)], ...both], 'hashParams'],
  ] as [[string, string][], string | undefined][]) {
    const { status, body } = await send('dryRun=true', form(parts));
    expect({ status, reason: body.reason }).toEqual({ status: 400, reason: 'multipart_invalid' });
    expect(body.fields?.[0]?.field).toBe(field);
  }
  const bad = await send('dryRun=true', form([['hashParams', '{"algorithm":"WHIRLPOOL"}'], ...both]));
  expect(bad.body).toMatchObject({ reason: 'hash_params_invalid', fields: [{ field: 'algorithm' }] });
});

it('of a user who stands twice the later row is refused, unless the last one is asked for', async () => {
  const id = randomUUID();
  await pf.addUser('acme', id);
  const body = realm([id, id].map((user) => ({ id: user, value: newPassword() })));
  const json = { body, type: 'application/json' };
  const refused = await send('dryRun=true', json);
  expect(refused.body).toMatchObject({ received: 2, rejected: 1, repeated: 1, options: { duplicates: 'refuse' } });
  const headers = { authorization: `Bearer ${pf.token}`, accept: 'application/x-ndjson' };
  const rejects = await (await fetch(`${pf.url}/imports/${refused.body.id}/rejects`, { headers })).text();
  expect(rejects).toContain('"reason":"user_repeated"');
  expect((await send('dryRun=true&duplicates=last', json)).body).toMatchObject({
    received: 2,
    rejected: 0,
    repeated: 1,
  });
  const told = await passferry(['import', file('twice.json', body), '--dry-run']);
  expect(told.err).toContain('named again: 1 row; only the FIRST of each user is taken');
  expect(told.out).toContain('1 row named a user again: the FIRST row of each was taken and these refused');
});

it('the API names the candidates where it must ask, and refuses what contradicts', async () => {
  const csv = (body: string) => ({ body, type: 'text/csv' });
  expect((await send('from=nobody', csv('a,b\n1,2\n'))).body).toMatchObject({ reason: 'field_type' });
  expect((await send('from=auth0&map=userId:a', csv('a,b\n1,2\n'))).body).toMatchObject({
    reason: 'options_contradict',
  });
  expect((await send('from=keycloak', csv('a,b\n1,2\n'))).body).toMatchObject({ reason: 'source_mismatch' });
  const unclear = lines([{ username: 'a', credentials: [] }]);
  expect((await send('', { body: unclear, type: 'application/x-ndjson' })).body).toMatchObject({
    reason: 'source_unclear',
    fields: [{ field: 'keycloak' }],
  });
});
