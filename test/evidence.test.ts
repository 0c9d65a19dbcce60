import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { find, makeCanary } from './kit/canary.ts';
import { tempDir } from './kit/files.ts';
import { type Passferry, startPassferry, tokens } from './kit/passferry.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

/** The signed record of an import: what somebody can prove with it, and what it never tells. */

let pf: Passferry;
const user = randomUUID();
beforeAll(async () => {
  pf = await startPassferry();
  await pf.addUser('acme', user);
});

const fileOf = (password: string, users: string[] = [user]) =>
  `userId,password\n${users.map((each) => `${each},"${password.replaceAll('"', '""')}"\n`).join('')}`;

async function upload(file: string | Buffer, headers: Record<string, string> = {}) {
  const response = await fetch(`${pf.url}/imports?asOf=now&noChangeRequired=true`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens.full}`, 'content-type': 'text/csv', ...headers },
    body: file,
  });
  return { status: response.status, id: ((await response.json()) as { id: string }).id };
}

async function importFile(file: string | Buffer, headers?: Record<string, string>) {
  const { status, id } = await upload(file, headers);
  expect(status).toBe(202);
  await waitFor(async () => (await pf.get(`/imports/${id}`)).body.state === 'completed', {
    what: 'the import to end',
  });
  return (await pf.get(`/imports/${id}/evidence`)).body;
}

const check = (evidence: { run: string }, id = evidence.run) =>
  pf.post(`/imports/${id}/evidence:verify`, evidence, { headers: { 'content-type': 'application/json' } });

describe('evidence', () => {
  test('says who, when, what came in, what became of it, and under which keys it was sealed', async () => {
    const file = fileOf('A-password-1', [user, randomUUID()]);
    const evidence = await importFile(file);
    expect(evidence).toMatchObject({
      ...{ v: 1, kind: 'import', org: 'acme', caller: 'full', state: 'completed', final: true },
      counts: { received: 2, rejected: 0, finished: 2, set: 1, failed: 1, notInEffect: 1 },
      input: { bytes: Buffer.byteLength(file) },
      options: { format: 'csv', asOfNow: true },
    });
    expect(evidence.input.hmac).toMatch(/^hmac-sha256:[\w-]+:[0-9a-f]{64}$/);
    expect(evidence.input.content).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(evidence.dataKeys).toEqual([{ id: expect.any(String), dropped: false, until: expect.any(String) }]);
    expect(Date.parse(evidence.dataKeys[0].until)).toBeGreaterThan(Date.parse(evidence.endedAt));
  });

  test('is genuine however it is laid out, and altered when any value of it is', async () => {
    const evidence = await importFile(fileOf('A-password-2'));
    const turned = Object.fromEntries(Object.entries(evidence).reverse()) as typeof evidence;
    expect((await check(turned)).body).toEqual({ run: evidence.run, genuine: true, verdict: 'genuine' });
    const altered = [
      { ...evidence, counts: { ...evidence.counts, set: 2 } },
      { ...evidence, caller: 'somebody' },
      { ...evidence, more: 1 },
      { ...evidence, signature: { ...evidence.signature, value: 'x' } },
      { ...evidence, input: {} },
    ];
    for (const each of altered) expect((await check(each)).body).toMatchObject({ genuine: false, verdict: 'altered' });
    const other = await importFile(fileOf('A-password-3'));
    expect((await check(evidence, other.run)).body.verdict).toBe('altered');
    const rotated = { ...evidence, signature: { ...evidence.signature, key: '000000000000', value: 'x' } };
    expect((await check(rotated)).body.verdict).toBe('key_unknown');
  });

  test('the same rows have the same content digest, whatever their passwords; the HMAC knows every byte', async () => {
    const [one, again, other] = [
      await importFile(fileOf('A-password-4')),
      await importFile(fileOf('A-password-4')),
      await importFile(fileOf('B-password-4')),
    ];
    expect(again.input).toEqual(one.input);
    expect(other.input.content).toBe(one.input.content);
    expect(other.input.hmac).not.toBe(one.input.hmac);
    const otherUser = await importFile(fileOf('A-password-4', [randomUUID()]));
    expect(otherUser.input.content).not.toBe(one.input.content);
  });

  test('a cut upload that is sent again has the evidence of an undisturbed one', async () => {
    const users = Array.from({ length: 505 }, (_, n) => `nobody-${n}`);
    const file = fileOf('A-password-5', [user, ...users]);
    const key = randomUUID();
    const cut = gzipSync(file);
    const sent = await upload(cut.subarray(0, cut.length - 9), { 'idempotency-key': key });
    expect(sent.status).toBe(400);
    const whole = await importFile(cut, { 'idempotency-key': key });
    const undisturbed = await importFile(cut);
    expect(whole.input).toEqual(undisturbed.input);
    expect(whole.counts).toEqual(undisturbed.counts);
  });

  test('tells no password, in no encoding', async () => {
    const canary = makeCanary();
    const evidence = await importFile(fileOf(canary.password));
    expect(evidence.counts.set).toBe(1);
    expect(find(canary, JSON.stringify(evidence))).toEqual([]);
  });

  test('is there for whoever may see the import, and for nobody else', async () => {
    const evidence = await importFile(fileOf('A-password-6'));
    expect((await pf.get(`/imports/${evidence.run}/evidence`, { as: 'reader' })).status).toBe(200);
    expect((await pf.get(`/imports/${evidence.run}/evidence`, { as: null })).status).toBe(401);
    expect((await pf.get('/imports/r0-aaaaaaaaaaaaaaaaaaaaaaaaaa/evidence')).body.reason).toBe('run_unknown');
    expect((await check(evidence, 'r0-aaaaaaaaaaaaaaaaaaaaaaaaaa')).body.reason).toBe('run_unknown');
    const noObject = await pf.post(`/imports/${evidence.run}/evidence:verify`, '[1]', {
      headers: { 'content-type': 'application/json' },
    });
    expect(noObject.body.verdict).toBe('altered');
  });
});

describe('passferry imports evidence', () => {
  const cli = async (args: string[]) => {
    const env = { PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: tokens.full };
    const child = spawnNode(['src/cli/main.ts', 'imports', 'evidence', ...args], env);
    const { code } = await child.exited;
    return { code, text: child.lines().join('\n') };
  };

  test('writes the record, and later tells whether it was altered', async () => {
    const { run } = await importFile(fileOf('A-password-7'));
    const path = join(tempDir(), 'evidence.json');
    expect(await cli([run, '--out', path])).toMatchObject({ code: 0 });
    expect(await cli(['--verify', path])).toMatchObject({ code: 0, text: expect.stringContaining(`${run}  genuine`) });
    writeFileSync(path, readFileSync(path, 'utf8').replace('"set": 1', '"set": 2'));
    expect(await cli(['--verify', path])).toMatchObject({ code: 1, text: expect.stringContaining('ALTERED') });
  });

  test('what is no record, and no id, is said at once', async () => {
    const path = join(tempDir(), 'evidence.json');
    writeFileSync(path, 'no json');
    expect(await cli(['--verify', path])).toMatchObject({ code: 2 });
    expect(await cli(['--verify', `${path}.missing`])).toMatchObject({ code: 2 });
    expect(await cli([])).toMatchObject({ code: 2 });
  });
});
