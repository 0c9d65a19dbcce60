import { Redis } from 'ioredis';
import { beforeAll, expect, it } from 'vitest';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry, tokens } from './kit/passferry.ts';
import { spawnNode } from './kit/processes.ts';
import { names } from './kit/run-backends.ts';

/** `passferry migrate …` as a process, from the plan to the end. */

const ok = names('ok', 4);
const passwordOf = (id: string) => `Old-password-of-${id}!`;
let pf: Passferry;

beforeAll(async () => {
  pf = await startPassferry({ v1Cost: 10 });
  const redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  const table = createStageTable(redis, redisKeys('passferry'), readJobKey(pf.keysDir));
  const now = await table.of('acme', { default: 'v1', organizations: { globex: 'v2' } });
  await table.set('acme', await table.stored('acme'), { stage: 'dual-v1', percent: 0, by: 'test' }, now);
  await pf.v1.addUsers([
    ...ok.map((id) => ({ id, org: 'acme', userName: id, password: passwordOf(id) })),
    { id: 'no-hash', org: 'acme', userName: 'no-hash' },
  ]);
  for (const id of [...ok, 'no-hash']) await pf.sandbox.addUser({ id, org: 'acme', userName: id });
});

async function cli(...args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawnNode(['src/cli/main.ts', 'migrate', ...args], {
    PASSFERRY_TOKEN: tokens.admin,
    PASSFERRY_URL: pf.url,
  });
  const { code } = await child.exited;
  return { code, text: child.lines().join('\n') };
}

function nextHours(): string {
  const at = (ms: number) => new Date(Date.now() + ms).toISOString().slice(11, 16);
  return `${at(6 * 3_600_000)}-${at(7 * 3_600_000)}`;
}

it('plans, and says what to do next; calls that are wrong change nothing', async () => {
  const plan = await cli('--org', 'acme', '--quiet');
  expect(plan.code, plan.text).toBe(1);
  expect(plan.text).toMatch(/^plan: nothing was changed$/m);
  expect(plan.text).toMatch(/^ +4 {2}would_mirror: would be brought over$/m);
  expect(plan.text).toMatch(/^ +1 {2}no_hash: The user has no password in v1\.$/m);
  expect(plan.text).toContain('hashes in v1: 4 bcrypt cost=10');
  expect(plan.text).toMatch(/^it would take about .+ \(limited by \w+\)$/m);
  expect(plan.text).toMatch(/^to do it: passferry migrate --org acme --quiet --execute$/m);
  const [, planned = ''] = /^who could not be brought over: passferry migrate rejects (r0-\S+)$/m.exec(plan.text) ?? [];
  const shown = await cli('show', planned);
  expect(shown.text).toMatch(/^to do it: passferry migrate --org acme --execute$/m);

  const [nobodyNamed, badLimit, notGranted, notAsked] = await Promise.all([
    cli(),
    cli('--org', 'acme', '--rate', 'fast'),
    cli('--org', 'acme', '--org', 'initech'),
    cli('--org', 'acme', '--execute', '--quiet'),
  ]);
  expect(nobodyNamed.code, nobodyNamed.text).toBe(2);
  expect(badLimit.code, badLimit.text).toBe(2);
  expect(notGranted.code, notGranted.text).toBe(1);
  expect(notGranted.text).toMatch(/\(org_not_granted\); look at: initech$/m);
  expect(notAsked.code, notAsked.text).toBe(2);
  expect(notAsked.text).toContain('nobody is here to be asked: give --yes');
  expect(ok.flatMap((id) => pf.sandbox.users.get(id)?.changes)).toEqual([]);
});

it('is tuned, shown, listed and cancelled while it waits for its hours', async () => {
  const begun = await cli('--org', 'acme', '--execute', '--yes', '--no-wait', '--quiet', '--window', nextHours());
  expect(begun.code, begun.text).toBe(4);
  const [, id = ''] = /^migration (r0-\S+) has begun$/m.exec(begun.text) ?? [];
  const tuned = await cli('tune', id, 'rate=50', 'concurrency=none');
  expect(tuned.code, tuned.text).toBe(0);
  const [shown, listed, second, wrong] = await Promise.all([
    cli('show', id, '--json'),
    cli('list', '--json'),
    cli('--org', 'acme', '--execute', '--yes', '--quiet'),
    cli('tune', id, 'speed=50'),
  ]);
  expect(JSON.parse(shown.text)).toMatchObject({ id, options: { rate: 50, window: expect.any(String) } });
  expect(listed.code, listed.text).toBe(0);
  expect(listed.text.split('\n').map((line) => JSON.parse(line).id)).toContain(id);
  expect(second.code, second.text).toBe(1);
  expect(second.text).toContain(`it is ${id}: passferry migrate watch ${id}`);
  expect(wrong.code, wrong.text).toBe(2);
  expect((await cli('cancel', id)).code).toBe(0);
  const over = await cli('watch', id, '--quiet');
  expect(over.code, over.text).toBe(5);
  expect(ok.flatMap((user) => pf.sandbox.users.get(user)?.changes)).toEqual([]);
});

it('executes to the end, lists who is left, and compares', async () => {
  const done = await cli('--org', 'acme', '--execute', '--yes', '--wait', '--quiet');
  expect(done.text).not.toContain('to do it');
  expect(done.code, done.text).toBe(1);
  expect(done.text).toMatch(/^ +4 {2}mirrored: brought over$/m);
  const [, id = ''] = /^migration (r0-\S+) completed$/m.exec(done.text) ?? [];
  for (const user of ok) expect(await pf.sandbox.verify(user, passwordOf(user)), user).toBe(true);

  const [rejects, shown, compared, none] = await Promise.all([
    cli('rejects', id),
    cli('show', id),
    cli('reconcile', '--org', 'acme', '--quiet'),
    cli('show', 'r0-0123456789abcdefghjkmnpqrs'),
  ]);
  expect(rejects.code, rejects.text).toBe(0);
  expect(JSON.parse(rejects.text)).toMatchObject({ userId: 'no-hash', reason: 'no_hash' });
  expect(shown.text).toMatch(new RegExp(`^${id} {2}execute of acme: 5 of 5 users`, 'm'));
  expect(compared.code, compared.text).toBe(0);
  expect(compared.text).toMatch(/^ +5 {2}equal: equal on both sides$/m);
  expect(none.code, none.text).toBe(1);
});
