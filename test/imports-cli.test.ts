import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** The command line of imports against a running Passferry, as an operator uses it. */

let pf: Passferry;
const dir = tempDir();
const at = (name: string) => join(dir, name);
const root = new URL('..', import.meta.url).pathname;

beforeAll(async () => {
  pf = await startPassferry();
});

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

/** The same where no file may be larger than 1 kB: as on a disk that is full. */
async function passferryOnFullDisk(args: string[]) {
  const command = ['--import', 'tsx', join(root, 'src/cli/main.ts'), ...args];
  const child = spawn('bash', ['--norc', '-c', 'ulimit -f 1; exec "$0" "$@"', process.execPath, ...command], {
    cwd: root,
    env: { PATH: process.env.PATH, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token, TSX_DISABLE_CACHE: '1' },
  });
  child.stdin.end();
  const code = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

async function people(count: number): Promise<string[]> {
  const users = Array.from({ length: count }, () => randomUUID());
  for (const user of users) await pf.addUser('acme', user);
  return users;
}

describe('a messy file', () => {
  it('is understood, reported, corrected with its passwords, and clean at the second run', async () => {
    const [ada = '', bob = '', eve = ''] = await people(3);
    const [first, second, third] = [newPassword(), newPassword(), newPassword()];
    const lines = [
      'Employee No;new password;mail',
      `${ada};"${first};";a@x`,
      `${bob}x;${second};b@x`,
      `${eve};${third};c@x`,
      `${eve};Zz9!canary;too;many`,
    ];
    writeFileSync(at('staff.csv'), `\ufeff${lines.join('\r\n')}\r\n`);
    const map = ['--map', 'userId=Employee No', '--as-of', 'now'];
    const report = ['--report', at('report.html')];
    const { code, out, err } = await passferry([
      ...['import', at('staff.csv'), ...map, '--keep', 'mail', '--with-secrets', ...report],
    ]);
    expect(code, out + err).toBe(1);
    expect(err).toContain('CSV, semicolons, UTF-8, lines end in CRLF');
    expect(err).toContain('userId from "Employee No", password from "new password"');
    expect(err).toContain('row 4 (line 5): row_columns');
    expect(out).toMatch(/^2 rows are NOT in effect\n2 rows set\n/);
    expect(out).toMatch(/1 × COMMAND-G8dh3: Look whether the user id is right/);
    expect(out + err).not.toMatch(/canary|Zz9/);

    const path = at('staff.csv.rejects.csv');
    const rejects = readFileSync(path, 'utf8').split('\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(rejects[0]).toBe('Employee No;new password;mail;code;reason;advice;line;byte');
    expect(rejects[1]).toMatch(new RegExp(`^${bob}x;${second.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')};b@x;failed`));
    expect(rejects[2]).toMatch(/^;;;invalid_argument;row_columns;.*;5;\d+$/);
    const html = readFileSync(at('report.html'), 'utf8');
    expect(html).toContain('2 rows are NOT in effect');
    expect(html).not.toContain(second);

    writeFileSync(path, `${rejects[0]}\n${rejects[1]?.replace(`${bob}x`, bob)}\n`);
    const again = await passferry(['import', path, ...map]);
    expect(again, again.out + again.err).toMatchObject({ code: 0, out: expect.stringMatching(/^1 row set\n/) });
    expect(await pf.works('acme', ada, `${first};`)).toBe(true);
    expect(await pf.works('acme', bob, second)).toBe(true);
    expect(await pf.works('acme', eve, third)).toBe(true);
  });

  it('of JSON has rejects of JSON; a list, packed, from standard input', async () => {
    const [user = ''] = await people(1);
    const rows = [
      { user_id: user, password: newPassword(), set_at: new Date().toISOString() },
      { user_id: 'nobody', password: 'Aa1-password', set_at: '2026-01-01' },
    ];
    const list = gzipSync(JSON.stringify(rows));
    writeFileSync(at('list.json.gz'), list);
    const { code, out, err } = await passferry(['import', at('list.json.gz'), '--json', '--quiet']);
    expect(code, out + err).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ inEffect: 1, notInEffect: 1, reasons: { 'COMMAND-G8dh3': 1 } });
    expect(JSON.parse(readFileSync(at('list.json.gz.rejects.json'), 'utf8'))).toMatchObject([
      { user_id: 'nobody', password: '', set_at: '2026-01-01', reason: 'COMMAND-G8dh3' },
    ]);
    const piped = await passferry(['import', '-', '--rejects', at('piped.ndjson')], `${JSON.stringify(rows[1])}\n`);
    expect(piped.code, piped.err).toBe(1);
    expect(readFileSync(at('piped.ndjson'), 'utf8')).toMatch(/^\{"user_id":"nobody","password":"","set_at"/);
  });
});

describe('a disk that is full', () => {
  it('leaves no half of the rejects, and the same key fetches them elsewhere', async () => {
    const [somebody = ''] = await people(1);
    const rows = [somebody, ...Array.from({ length: 40 }, (_, n) => `nobody-${n}`)].map((user) => `${user},Zz9!canary`);
    writeFileSync(at('many.csv'), `userId,password\n${rows.join('\n')}\n`);
    const args = ['import', at('many.csv'), '--as-of', 'now', '--key', randomUUID(), '--proof-share', '0'];
    const full = await passferryOnFullDisk([...args, '--with-secrets']);
    expect(full.code, full.out + full.err).toBe(1);
    expect(full.out).toMatch(
      /^no rejects file: cannot write the rejects to .*many\.csv\.rejects\.csv \(EFBIG\); give --rejects another path$/m,
    );
    expect(full.out + full.err).not.toContain('canary');
    expect(readdirSync(dir).filter((name) => name.startsWith('many.csv.'))).toEqual([]);

    const again = await passferry([...args, '--rejects', at('elsewhere.csv')]);
    expect(again.code, again.err).toBe(1);
    expect(readFileSync(at('elsewhere.csv'), 'utf8').trimEnd().split('\n')).toHaveLength(41);
  });
});

describe('--hash-here', () => {
  it('has the workers hash, says so before, and the cost is what was asked for', async () => {
    const [user, password] = [randomUUID(), newPassword()];
    await pf.addUser('globex', user);
    writeFileSync(at('here.csv'), `userId,password\n${user},${password}\n`);
    const args = ['import', at('here.csv'), '--org', 'globex', '--as-of', 'now', '--hash-here', '--hash-cost', '10'];
    const { code, out, err } = await passferry(args);
    expect(code, out + err).toBe(0);
    expect(err).toContain('passwords are checked and hashed by the workers, bcrypt of cost 10');
    expect(out).toMatch(/^1 row set\n/);
    expect(pf.sandbox.users.get(user)?.hash).toMatch(/^\$2b\$10\$/);
    expect(await pf.works('globex', user, password)).toBe(true);
  });

  it('is refused where the backend takes no hashes, with nothing sent', async () => {
    const [user = ''] = await people(1);
    writeFileSync(at('here.csv'), `userId,password\n${user},Zz9!canary\n`);
    const { code, out, err } = await passferry(['import', at('here.csv'), '--as-of', 'now', '--hash-here']);
    expect(code, out + err).toBe(3);
    expect(err).toContain('hash_here_unsupported');
    expect(out + err).not.toContain('canary');
  });
});

describe('before anything is sent', () => {
  it.each([
    ['no age', 'userId,password\nu,Aa1-password\n', [], 2, /nothing was sent: how old .* --as-of now/],
    ['no column', 'a,b\nu,Zz9!canary\n', ['--as-of', 'now'], 3, /nothing was sent: .*header_column_missing/],
    ['another product', 'a,b\n1,2\n', ['--from', 'keycloak', '--as-of', 'now'], 3, /source_mismatch.*Leave --from out/],
    ['a wrong date', 'userId,password\nu,x\n', ['--as-of', '01/02/2026'], 2, /the year first/],
    [
      'a cost for nobody',
      'a\n',
      ['--hash-cost', '10'],
      2,
      /^passferry: nothing was sent: .* --hash-here, --hash-cost$/m,
    ],
    [
      'an end before its start',
      'a\n',
      ['--expires', '1h', '--start-at', '2100-01-01T00:00'],
      2,
      /--start-at, --expires$/m,
    ],
    ['columns of its own', 'a\n', ['--from', 'auth0', '--map', 'userId=a'], 2, /--from, --map$/m],
    ['a wrong time', 'userId,password\nu,x\n', ['--expires', '40d'], 2, /up to 30d/],
  ])('a file or option with %s is refused', async (_what, file, args, code, message) => {
    writeFileSync(at('bad.csv'), file);
    const told = await passferry(['import', at('bad.csv'), ...args]);
    expect(told.err).toMatch(message);
    expect(told.code).toBe(code);
    expect(told.err).not.toContain('canary');
  });
});

describe('imports', () => {
  async function standing(): Promise<{ id: string; file: string; key: string }> {
    const [user] = await people(1);
    const file = at(`${randomUUID()}.csv`);
    const key = randomUUID();
    writeFileSync(file, `userId,password\n${user},Kept-password-1\nnobody,Kept-password-2\n`);
    const start = new Date(Date.now() + 3_600_000).toISOString();
    const args = ['--as-of', 'now', '--start-at', start, '--detach', '--json', '--key', key];
    const { code, out, err } = await passferry(['import', file, ...args]);
    expect(code, err).toBe(0);
    return { id: JSON.parse(out).id, file, key };
  }

  it('are listed, shown, paused, resumed, cancelled; what is not there is said so', async () => {
    const { id } = await standing();
    const list = await passferry(['imports', 'list']);
    expect(list).toMatchObject({ code: 0, out: expect.stringMatching(new RegExp(`${id}  0 of 2 rows, waits until `)) });
    expect(await passferry(['imports', 'pause', id])).toMatchObject({ code: 0, out: `import ${id} is paused\n` });
    expect(await passferry(['imports', 'show', id])).toMatchObject({ code: 4, out: expect.stringContaining('paused') });
    const watched = await passferry(['imports', 'watch', id, '--wait', '1ms', '--json']);
    expect(JSON.parse(watched.out)).toMatchObject({ id, state: 'paused' });
    expect(await passferry(['imports', 'resume', id])).toMatchObject({ code: 0 });
    expect(await passferry(['imports', 'cancel', id])).toMatchObject({ code: 0, out: `import ${id} is cancelled\n` });
    expect(await passferry(['imports', 'show', id])).toMatchObject({ code: 5 });
    expect(await passferry(['imports', 'resume', id])).toMatchObject({ err: expect.stringContaining('run_ended') });
    expect(await passferry(['imports', 'show', 'r0-nothing'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('run_unknown'),
    });
  });

  it('give their rejects with passwords back only from the file that was sent', async () => {
    const { id, file } = await standing();
    await passferry(['imports', 'cancel', id]);
    const to = ['--rejects', at('back.csv'), '--file', file, '--with-secrets'];
    expect(await passferry(['imports', 'rejects', id, ...to])).toMatchObject({
      code: 1,
      out: expect.stringMatching(/^2 rows NOT in effect: .*\n {2}2 × run_canceled: /),
    });
    expect(readFileSync(at('back.csv'), 'utf8')).toMatch(/,Kept-password-1,canceled,run_canceled,/);
    const other = at('other.csv');
    writeFileSync(other, `userId,password\n\n${readFileSync(file, 'utf8').split('\n').slice(1).join('\n')}`);
    const wrong = await passferry([
      'imports',
      'rejects',
      id,
      '--rejects',
      at('no.csv'),
      '--file',
      other,
      '--with-secrets',
    ]);
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('not the file that was imported') });
    expect(existsSync(at('no.csv'))).toBe(false);
    const blank = await passferry(['imports', 'rejects', id, '--rejects', at('blank.csv')]);
    expect(blank.code).toBe(1);
    expect(readFileSync(at('blank.csv'), 'utf8')).not.toContain('Kept-password');
  });

  it('of another file under the same key are refused', async () => {
    const { file, key } = await standing();
    appendFileSync(file, 'somebody,Aa1-password\n');
    const told = await passferry(['import', file, '--as-of', 'now', '--key', key]);
    expect(told).toMatchObject({ code: 3, err: expect.stringContaining('idempotency_key_reused') });
  });

  it('of what failed are opened again', async () => {
    const user = randomUUID();
    writeFileSync(at('late.csv'), `userId,password\n${user},Late-password-1\n`);
    const first = await passferry(['import', at('late.csv'), '--as-of', 'now', '--json', '--quiet']);
    const { id } = JSON.parse(first.out);
    await pf.addUser('acme', user);
    expect(await passferry(['imports', 'retry', id])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^1 row on their way again\n/),
    });
    const done = async () => (await pf.get(`/imports/${id}`)).body.state === 'completed';
    await waitFor(done, { what: 'the import to end again' });
    expect(await passferry(['imports', 'watch', id])).toMatchObject({
      code: 0,
      out: expect.stringContaining('1 row set'),
    });
    expect(await pf.works('acme', user, 'Late-password-1')).toBe(true);
  });
});
