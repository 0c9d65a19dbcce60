import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { printable } from '../src/cli/output.ts';
import { readPassword } from '../src/cli/password-input.ts';

interface Received {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
}
type Answer = { status?: number; body?: unknown; raw?: string; headers?: Record<string, string> };

let server: Server;
let url: string;
let received: Received[] = [];
let answer: (request: Received) => Answer;
let dir: string;

beforeAll(async () => {
  server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const seen = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(parts).toString('utf8'),
    };
    // What an import would come to is not known here.
    if (seen.url.startsWith('/imports:plan')) return void response.writeHead(404).end('{}');
    received.push(seen);
    const { status = 200, body, raw, headers } = answer(seen);
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(raw ?? JSON.stringify(body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());
beforeEach(() => {
  received = [];
  dir = mkdtempSync(join(tmpdir(), 'passferry-cli-'));
  return () => rmSync(dir, { recursive: true });
});

const cli = (name: string) => new URL(`../src/cli/${name}.ts`, import.meta.url).href;
const entry = `
  import { Command } from 'commander';
  import { registerSet } from '${cli('set')}';
  import { registerJob } from '${cli('job')}';
  import { registerImport } from '${cli('import')}';
  const program = new Command('passferry');
  registerSet(program); registerJob(program); registerImport(program);
  await program.parseAsync();
`;
const root = new URL('..', import.meta.url).pathname;

interface Run {
  code: number | null;
  out: string;
  err: string;
}

/** Runs the command line as a process of its own, in the test's directory. */
async function run(
  args: string[],
  {
    input = '',
    env = {},
    started,
  }: { input?: string; env?: Record<string, string>; started?: (child: ChildProcess) => void } = {},
): Promise<Run> {
  const tsx = join(root, 'node_modules/tsx/dist/loader.mjs');
  writeFileSync(
    join(dir, 'entry.mjs'),
    entry.replace("'commander'", `'${new URL('../node_modules/commander/esm.mjs', import.meta.url).href}'`),
  );
  const child = spawn(process.execPath, ['--import', tsx, join(dir, 'entry.mjs'), ...args], {
    cwd: dir,
    env: { PATH: process.env.PATH, PASSFERRY_URL: url, PASSFERRY_TOKEN: 'tok', ...env },
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  started?.(child);
  const [code] = await once(child, 'close');
  return { code, out, err };
}

describe('set', () => {
  it('takes the password from standard input, minus one line end, and sends the v1 call', async () => {
    answer = () => ({ body: { details: { sequence: '42', changeDate: 'now', resourceOwner: '7' } } });
    const { code, out } = await run(['set', 'a/b', '--org', '7', '--no-change-required', '--key', 'k1'], {
      input: ' pä ss \n\n',
    });
    expect([code, out]).toEqual([0, 'a/b: set, sequence 42\n']);
    expect(received).toHaveLength(1);
    expect(received[0]).toMatchObject({ method: 'POST', url: '/management/v1/users/a%2Fb/password' });
    expect(received[0]?.headers).toMatchObject({
      authorization: 'Bearer tok',
      'x-zitadel-orgid': '7',
      'idempotency-key': 'k1',
    });
    expect(JSON.parse(received[0]?.body ?? '')).toEqual({ password: ' pä ss \n', noChangeRequired: true });
  });

  it('--async prints the job and --json one object', async () => {
    answer = () => ({ status: 202, body: { id: '0-j' }, headers: { location: '/jobs/0-j' } });
    const { code, out } = await run(['set', 'u', '--async', '--json'], { input: 'secret-pw' });
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ user: 'u', job: '0-j', accepted: true });
    expect(received[0]?.headers.prefer).toBe('respond-async');
  });

  it('says so when another password is in force although the answer was 200 (P9)', async () => {
    answer = () => ({ body: { details: {} }, headers: { 'passferry-job': '0-j', 'passferry-result': 'superseded' } });
    expect(await run(['set', 'u'], { input: 'pw' })).toMatchObject({
      code: 1,
      out: expect.stringContaining('another password is in force'),
    });
  });

  it('shows a refusal of the v1 call with its id, and how to send again what is pending', async () => {
    answer = () => ({
      status: 404,
      body: { code: 5, message: 'not\u001b[2Jfound (COMMAND-G8dh3)', details: [{ id: 'COMMAND-G8dh3' }] },
    });
    expect(await run(['set', 'u'], { input: 'secret-pw' })).toMatchObject({
      code: 1,
      out: 'u: NOT set: not\\u{1b}[2Jfound (COMMAND-G8dh3)\n',
    });
    answer = () => ({ status: 504, body: { code: 4, message: 'later' } });
    expect(await run(['set', 'u', '--key', 'k9'], { input: 'secret-pw' })).toMatchObject({
      code: 4,
      out: expect.stringContaining('--key k9'),
    });
  });

  it('refuses a password that no backend takes without sending or showing it (P4)', async () => {
    const { code, out, err } = await run(['set', 'u'], { input: 'x'.repeat(73) });
    expect(code).toBe(1);
    expect(out + err).not.toContain('xxx');
    expect(received).toHaveLength(0);
  });
});

describe('where the producer is', () => {
  it('is read from what `up` wrote', async () => {
    answer = () => ({ body: { id: 'j', user: 'u', org: 'o', done: true, outcome: { result: 'set', inEffect: true } } });
    mkdirSync(join(dir, '.passferry'));
    writeFileSync(join(dir, '.passferry/client.json'), JSON.stringify({ url, tokenFile: 'token' }));
    writeFileSync(join(dir, '.passferry/token'), 'from-file\n');
    expect(await run(['job', 'j'], { env: { PASSFERRY_URL: '', PASSFERRY_TOKEN: '' } })).toMatchObject({ code: 0 });
    expect(received[0]?.headers.authorization).toBe('Bearer from-file');
    // and that token goes nowhere else
    const elsewhere = await run(['job', 'j', '--url', 'http://127.0.0.1:1'], {
      env: { PASSFERRY_URL: '', PASSFERRY_TOKEN: '' },
    });
    expect(elsewhere).toMatchObject({ code: 2, err: expect.stringContaining('no token') });
  });

  it('exits 3 with one clear line when nobody answers', async () => {
    const { code, err } = await run(['job', 'j', '--url', 'http://127.0.0.1:1']);
    expect(code).toBe(3);
    expect(err).toMatch(/^passferry: could not reach http:\/\/127\.0\.0\.1:1 .*\n$/);
  });
});

describe('job', () => {
  const view = {
    id: 'j',
    state: 'delayed',
    user: 'u',
    org: 'o',
    attempts: 1,
    done: false,
    expiresAt: 'E',
    waitingFor: 'backend_down',
  };

  it('--wait polls until it is done', async () => {
    answer = () =>
      received.length < 3
        ? { body: view }
        : {
            body: {
              ...view,
              done: true,
              outcome: { code: 'expired', reason: 'job_expired', message: 'too late', inEffect: false },
            },
          };
    expect(await run(['job', 'j', '--wait'])).toMatchObject({
      code: 1,
      out: 'u (organization o): NOT set: too late (job_expired)\n',
    });
    expect(received).toHaveLength(3);
  });

  it('exits 4 when it is not done', async () => {
    answer = () => ({ body: view });
    expect(await run(['job', 'j'])).toMatchObject({
      code: 4,
      out: expect.stringContaining('waiting for backend_down'),
    });
    expect(await run(['job', 'j', '--wait', '--timeout', '1ms', '--json'])).toMatchObject({ code: 4 });
  });
});

describe('import', () => {
  const counts = {
    rejected: 0,
    finished: 0,
    set: 0,
    unchanged: 0,
    superseded: 0,
    stale: 0,
    failed: 0,
    expired: 0,
    canceled: 0,
  };
  const times = { acceptedAt: '2026-01-01T00:00:00Z', expiresAt: '2026-01-04T00:00:00Z' };
  const options = {
    ...{ format: 'csv', encoding: 'utf-8', delimiter: ',', changeRequired: true, overwriteNewer: false },
    ...{ map: { userId: 'userId', password: 'password' }, kept: ['email', 'password', 'userId'] },
  };
  const running = { id: 'r1', org: 'o', caller: 'c', state: 'running', received: 4, options, ...counts, ...times };
  const completed = { ...running, state: 'completed', finished: 4, set: 4, finishedAt: '2026-01-01T00:00:02Z' };
  const file = 'email,password,userId\na@x,pw-one,1\nb@x,"pw,two",2\n\nc@x,pw-three,3,extra\nd@x,pw-four,4\n';
  const withRejects = { ...completed, finished: 3, set: 1, failed: 1, stale: 1, rejected: 1 };
  const ended = { done: true, inEffect: false, org: 'o' };
  const told = { code: 'not_found', reason: 'COMMAND-G8dh3', advice: 'Look.' };
  const rejects = [
    { ...{ row: 2, line: 3, byte: 35, userId: '2' }, ...told, ...ended, columns: { email: 'b@x', userId: '2' } },
    { ...{ row: 3, line: 5, byte: 51, code: 'invalid_argument', reason: 'row_columns' }, ...ended },
    {
      ...{ row: 4, line: 6, byte: 72, result: 'stale', reason: 'stale' },
      ...ended,
      columns: { email: 'd@x', userId: '4' },
    },
  ];
  const answers =
    (last: object, rows: object[] = []): typeof answer =>
    ({ method, url: path }) => {
      if (method === 'POST') return { status: 202, body: running };
      if (path.endsWith('/rejects')) return { raw: rows.map((row) => `${JSON.stringify(row)}\n`).join('') };
      return { body: received.length < 3 ? running : last };
    };
  const asOf = ['--as-of', 'now'];

  it('sends the file, waits and reports', async () => {
    answer = answers(completed);
    writeFileSync(join(dir, 'users.csv'), file);
    const { code, out, err } = await run(['import', 'users.csv', '--org', 'o', '--no-change-required', ...asOf]);
    expect([code, out]).toEqual([0, '4 rows set\nimport r1 completed, 2 s, 2 rows/s\n']);
    expect(received[0]).toMatchObject({ method: 'POST', url: '/imports?noChangeRequired=true&asOf=now', body: file });
    expect(received[0]?.headers).toMatchObject({ 'content-type': 'text/csv', 'x-zitadel-orgid': 'o' });
    expect(err).toContain(`--key ${received[0]?.headers['idempotency-key']}`);
  });

  it('leads with what is not in effect and writes those rows back without passwords (P4)', async () => {
    answer = answers(withRejects, rejects);
    writeFileSync(join(dir, 'users.csv'), `\ufeff${file}`);
    const { code, out, err } = await run(['import', 'users.csv', ...asOf]);
    expect(code).toBe(1);
    expect(out).toMatch(/^3 rows are NOT in effect\n1 row set\n/);
    expect(out).toContain('1 × COMMAND-G8dh3: Look.');
    const path = join(dir, 'users.csv.rejects.csv');
    expect(readFileSync(path, 'utf8')).toBe(
      'email,password,userId,code,reason,advice,line,byte\n' +
        'b@x,,2,not_found,COMMAND-G8dh3,Look.,3,35\n' +
        ',,,invalid_argument,row_columns,,5,51\n' +
        'd@x,,4,stale,stale,,6,72\n',
    );
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(out + err).not.toContain('pw');
  });

  it('reads standard input; --json is one object', async () => {
    answer = answers(withRejects, rejects);
    const { code, out } = await run(['import', '-', '--format', 'ndjson', '--json', '--quiet', ...asOf], {
      input: '{"userId":"2"}',
    });
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      id: 'r1',
      inEffect: 1,
      notInEffect: 3,
      reasons: { stale: 1 },
      rejectsFile: './import-r1.rejects.csv',
    });
    expect(received[0]).toMatchObject({ body: '{"userId":"2"}', headers: { 'content-type': 'application/x-ndjson' } });
    expect(readFileSync(join(dir, 'import-r1.rejects.csv'), 'utf8').split('\n')[1]).toBe(
      'b@x,,2,not_found,COMMAND-G8dh3,Look.,3,35',
    );
  });

  it('exits 4 when the longest wait is over and 0 at once with --detach', async () => {
    answer = answers(running);
    writeFileSync(join(dir, 'users.csv'), file);
    expect(await run(['import', 'users.csv', '--wait', '1ms', '--key', 'k', ...asOf])).toMatchObject({
      code: 4,
      out: expect.stringContaining('watch it: passferry imports watch r1'),
    });
    received = [];
    expect(await run(['import', 'users.csv', '--detach', ...asOf])).toMatchObject({ code: 0 });
    expect(received).toHaveLength(1);
  });

  it('Ctrl-C leaves the import running and says how to watch it', async () => {
    answer = ({ method }) => (method === 'POST' ? { status: 202, body: running } : { body: running });
    writeFileSync(join(dir, 'users.csv'), file);
    const started = (child: ChildProcess) => {
      // The first progress line proves that it watches.
      child.stderr?.on('data', (chunk) => String(chunk).includes('rows/s') && child.kill('SIGINT'));
    };
    expect(await run(['import', 'users.csv', '--key', 'k', ...asOf], { started })).toMatchObject({
      code: 4,
      err: expect.stringContaining('Watch it: passferry imports watch r1'),
    });
  });

  it('exits 2 for a file that is not there, 3 when the import is refused, 5 when it was cancelled', async () => {
    const gone = await run(['import', 'no.csv', ...asOf]);
    expect(gone).toMatchObject({ code: 2, err: 'passferry: there is no file no.csv\n' });
    expect(received).toHaveLength(0);

    writeFileSync(join(dir, 'users.csv'), file);
    const body = {
      code: 'invalid_argument',
      reason: 'header_column_missing',
      detail: 'Header.',
      fields: [{ field: 'userId', reason: 'x' }],
    };
    answer = () => ({ status: 400, body });
    const refused = await run(['import', 'users.csv', ...asOf]);
    expect(refused).toMatchObject({
      code: 3,
      err: expect.stringContaining('Header. (header_column_missing); look at: userId'),
    });

    received = [];
    answer = answers({ ...completed, set: 3, canceled: 1 }, []);
    expect(await run(['import', 'users.csv', ...asOf])).toMatchObject({ code: 5 });
  });
});

describe('the hidden prompt', () => {
  const terminal = () => {
    const modes: boolean[] = [];
    const tty = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => modes.push(on) });
    return { tty, modes, input: tty as unknown as NodeJS.ReadStream };
  };

  it('asks twice, knows backspace and restores the terminal', async () => {
    const { tty, modes, input } = terminal();
    tty.write('pwé\u007fx\rpwx\r');
    expect((await readPassword(input)).reveal()).toBe('pwx');
    expect(modes).toEqual([true, false, true, false]);
  });

  it('sends nothing when the two differ or on Ctrl-C, and restores the terminal', async () => {
    const differing = terminal();
    differing.tty.write('a\rb\r');
    await expect(readPassword(differing.input)).rejects.toMatchObject({ exitCode: 2 });
    const stopped = terminal();
    stopped.tty.write('ab\u0003');
    await expect(readPassword(stopped.input)).rejects.toMatchObject({ exitCode: 5 });
    expect(stopped.modes).toEqual([true, false]);
  });
});

it('what comes from elsewhere cannot steer the terminal', () => {
  expect(printable('a\u001b[31m\nb\u202e')).toBe('a\\u{1b}[31m\\u{a}b\\u{202e}');
});
