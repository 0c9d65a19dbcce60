import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeHash } from '../src/hashes/make.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { type Passferry, startPassferry, tokens } from './kit/passferry.ts';

/** `passferry import --known`: one password of the source is compared before anything is sent. */

let pf: Passferry;
const dir = tempDir();
const at = (name: string) => join(dir, name);
const root = new URL('..', import.meta.url).pathname;
const password = newPassword();

beforeAll(async () => {
  pf = await startPassferry();
});

async function passferry(args: string[], token: string = tokens.admin) {
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'src/cli/main.ts'), ...args], {
    cwd: root,
    env: { PATH: process.env.PATH, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: token },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

async function file(name: string, secret = password) {
  const [known, other] = [randomUUID(), randomUUID()];
  for (const user of [known, other]) await pf.addUser('acme', user);
  const hash = await makeHash('bcrypt', { cost: 10 }, Buffer.from(secret));
  const rows = [`${known},$2b$10$${'a'.repeat(53)}`, `${other},${hash}`, `${known},$2y$${hash?.slice(4)}`];
  writeFileSync(at(name), `userId,passwordHash\n${rows.join('\n')}\n`);
  return { known, hash: hash as string };
}

async function count(): Promise<number> {
  const headers = { authorization: `Bearer ${tokens.admin}` };
  const reply = await fetch(`${pf.url}/imports`, { headers });
  return ((await reply.json()) as { imports: unknown[] }).imports.length;
}

describe('--known', () => {
  it('sends the file when the password matches the last row of its user, and says so in the report', async () => {
    const { known, hash } = await file('good.csv');
    writeFileSync(at('known.txt'), `${password}\n`);
    const args = [
      '--known',
      known,
      '--known-password-file',
      at('known.txt'),
      // One row after the other: an earlier row of the same user is set, not superseded.
      '--concurrency',
      '1',
      '--as-of',
      'now',
      '--report',
      at('r.txt'),
    ];
    const { code, out, err } = await passferry(['import', at('good.csv'), ...args]);
    expect(code, out + err).toBe(0);
    expect(err).toContain('matches its hash (bcrypt)');
    expect(err).toContain('hashes are stored as they are');
    const report = readFileSync(at('r.txt'), 'utf8');
    expect(report).toContain('3 rows had a hash: the password policy was not checked for them');
    expect(report).toContain('a known password of the source matched its hash');
    for (const told of [out, err, report]) {
      expect(told).not.toContain(password);
      expect(told).not.toContain(hash.slice(8));
    }
  });

  it('of an export in which a user stands twice compares the row that will be in effect, and says which', async () => {
    const [hash, other] = [password, newPassword()].map((text) => makeHash('bcrypt', { cost: 10 }, Buffer.from(text)));
    const rows = [
      `linus@example.com,${await hash}`,
      `ada@example.com,${await other}`,
      `linus@example.com,${await other}`,
    ];
    writeFileSync(at('devise.csv'), `email,encrypted_password\n${rows.join('\n')}\n`);
    writeFileSync(at('linus.txt'), password);
    const known = ['--known', 'linus@example.com', '--known-password-file', at('linus.txt')];
    const args = ['import', at('devise.csv'), '--from', 'devise', ...known, '--as-of', 'now', '--dry-run'];
    const { code, out, err } = await passferry(args);
    expect(code, out + err).toBe(1);
    expect(err).toContain('matches its hash (bcrypt)');
    expect(err).toContain('no change at the next login');
    expect(err).not.toContain('users must change it');
    expect(out).toContain('1 row named a user again: the FIRST row of each was taken');
    expect(out).not.toContain('last row wins');
    const last = await passferry([...args, '--duplicates', 'last']);
    expect(last.code).toBe(2);
    expect(last.err).toMatch(/does not match the hash .* hash doctor .* --peppered/);
  });

  it('rows of a foreign file are corrected in that file, which is imported again as the report says', async () => {
    const [ada, bob] = [randomUUID(), randomUUID()];
    for (const user of [ada, bob]) await pf.addUser('acme', user);
    const hash = await makeHash('bcrypt', { cost: 10 }, Buffer.from(password));
    const content = (second: string) =>
      `id,email,encrypted_password\n${ada},a@x.example,${hash}\n${second},b@x.example,${hash}\n`;
    writeFileSync(at('rails.csv'), content(`${bob}x`));
    const args = ['import', at('rails.csv'), '--from', 'devise', '--by', 'id'];
    const first = await passferry([...args, '--as-of', 'now']);
    expect(first.code, first.out + first.err).toBe(1);
    expect(first.out).toContain('correct these rows in the source file, and import that again:');
    expect(first.out).not.toContain('--with-secrets');
    const [, age = ''] = /passferry import FILE --as-of (\S+)/.exec(first.out) ?? [];
    const [id = ''] = /r0-\w+/.exec(first.out) ?? [];
    const joined = ['imports', 'rejects', id, '--with-secrets', '--file', at('rails.csv')];
    expect((await passferry(joined)).err).toContain('correct the rows in the source file');
    writeFileSync(at('rails.csv'), content(bob));
    // What was set before may be stale now, or set as it was: its password stays.
    const again = await passferry([...args, '--as-of', age]);
    expect(again.out).not.toContain('failed');
    for (const user of [ada, bob]) expect(await pf.works('acme', user, password)).toBe(true);
    // Rejects of rejects do not grow a second ending.
    writeFileSync(at('x.csv.rejects.csv'), 'userId,password\n,Aa1-password\n');
    const rejected = await passferry(['import', at('x.csv.rejects.csv'), '--as-of', 'now']);
    expect(rejected.out).toContain(at('x.csv.rejects-2.csv'));
  });

  it('sends nothing when it does not match, or there is nothing to compare', async () => {
    const { known } = await file('bad.csv');
    const before = await count();
    writeFileSync(at('wrong.txt'), newPassword());
    writeFileSync(at('plain.csv'), `userId,password\n${known},${newPassword()}\n`);
    const cases: [string, string, RegExp][] = [
      ['bad.csv', known, /nothing was sent: the known password does not match the hash \(bcrypt\)/],
      ['bad.csv', randomUUID(), /nothing was sent: the file has no row of the user/],
      ['plain.csv', known, /nothing was sent: the row .* has a password, not a hash/],
    ];
    for (const [name, user, message] of cases) {
      const args = ['--known', user, '--known-password-file', at('wrong.txt'), '--as-of', 'now'];
      const { code, err } = await passferry(['import', at(name), ...args]);
      expect(code).toBe(2);
      expect(err).toMatch(message);
    }
    const asked = await passferry(['import', at('bad.csv'), '--known', known, '--as-of', 'now']);
    expect(asked.err).toContain('needs --known-password-file');
    expect(await count()).toBe(before);
  });

  it('a report without it says that logins are not proved; without the permission no hash is stored', async () => {
    await file('unproved.csv');
    const args = ['import', at('unproved.csv'), '--as-of', 'now', '--concurrency', '1'];
    const { out, err, code } = await passferry(args);
    expect(code, out + err).toBe(0);
    expect(out).toContain('NOT PROVED that their users can log in');
    const refused = await passferry(['import', at('unproved.csv'), '--as-of', 'now'], tokens.full);
    expect(refused.code).toBe(1);
    expect(refused.out).toContain('hash_not_granted');
  });
});
