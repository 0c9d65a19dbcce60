import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { atTerminal, noTerminal } from './kit/terminal.ts';

/** What is asked of whoever sits at a terminal, and what an answer does. */

let pf: Passferry;
const dir = tempDir();
if (noTerminal) console.log(`skipped: ${noTerminal}`);

beforeAll(async () => {
  pf = await startPassferry();
});

const passferry = (...args: string[]) => atTerminal(args, { PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token });

async function fileOf(rows: number) {
  const people: { user: string; password: string }[] = [];
  for (let i = 0; i < rows; i++) {
    const user = randomUUID();
    await pf.addUser('acme', user);
    people.push({ user, password: newPassword() });
  }
  const path = join(dir, `${randomUUID()}.csv`);
  const lines = people.map(({ user, password }) => `${user},"${password}"`);
  writeFileSync(path, `userId,password\n${lines.join('\n')}\n`, { mode: 0o600 });
  const [first = { user: '', password: '' }] = people;
  return { path, first };
}

describe.skipIf(noTerminal)('passferry set', () => {
  it('asks twice, shows nothing of what is typed, and sets it', async () => {
    const { first } = await fileOf(1);
    const at = passferry('set', first.user);
    await at.sees(/New password: $/);
    at.type(`${first.password}\r`);
    await at.sees(/Again: $/);
    at.type(`${first.password}\r`);
    expect(await at.exited, at.screen()).toBe(0);
    expect(at.screen()).not.toContain(first.password.slice(0, 6));
    expect(await pf.works('acme', first.user, first.password)).toBe(true);
  });

  it('sends nothing when the two differ, or at Ctrl-C', async () => {
    const { first } = await fileOf(1);
    const differs = passferry('set', first.user);
    await differs.sees(/New password: $/);
    differs.type(`${first.password}\r`);
    await differs.sees(/Again: $/);
    differs.type(`${first.password}x\r`);
    expect(await differs.exited, differs.screen()).toBe(2);
    expect(differs.screen()).toContain('the two passwords differ; nothing was sent');
    const stopped = passferry('set', first.user);
    await stopped.sees(/New password: $/);
    stopped.type(`${first.password}\u0003`);
    expect(await stopped.exited, stopped.screen()).toBe(5);
    expect(await pf.works('acme', first.user, first.password)).toBe(false);
  });
});

describe.skipIf(noTerminal)('passferry import', () => {
  it('shows what it read and asks; No sends nothing', async () => {
    const { path, first } = await fileOf(2);
    const at = passferry('import', path, '--as-of', 'now');
    await at.sees(/Set the passwords of .*\? \[y\/N\] $/);
    expect(at.screen()).toContain('CSV, commas, UTF-8');
    at.type('\r');
    expect(await at.exited, at.screen()).toBe(5);
    expect(await pf.works('acme', first.user, first.password)).toBe(false);
  });

  it('goes on at yes, with a bar, and reports', async () => {
    const { path, first } = await fileOf(2);
    const at = passferry('import', path, '--as-of', 'now');
    await at.sees(/\[y\/N\] $/);
    at.type('y\r');
    expect(await at.exited, at.screen()).toBe(0);
    expect(at.screen()).toContain('2 rows set');
    expect(at.screen()).not.toContain(first.password);
    expect(await pf.works('acme', first.user, first.password)).toBe(true);
  });

  it.each([
    ['leaves it running unless told otherwise', '\r', 4, /the import goes on. Watch it: passferry imports watch/],
    ['cancels it when told to', 'c\r', 5, /NOT in effect/],
  ])('at Ctrl-C it %s', async (_, answer, code, says) => {
    const { path } = await fileOf(2);
    const later = new Date(Date.now() + 3_600_000).toISOString();
    const at = passferry('import', path, '--as-of', 'now', '--yes', '--start-at', later);
    await at.sees(/watch it from elsewhere/);
    at.type('\u0003');
    await at.sees(/Leave it running\? \[Y\/c: cancel it\] $/);
    at.type(answer);
    expect(await at.exited, at.screen()).toBe(code);
    expect(at.screen()).toMatch(says);
  });
});
