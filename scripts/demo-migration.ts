import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { type Up, up } from '../src/cli/up.ts';
import { sampleOrgs, samplePassword } from '../src/cli/up-people.ts';
import { createLog } from '../src/log.ts';
import { Secret } from '../src/secret.ts';
import { percentile } from '../src/stage.ts';
import { type DemoParts, demoParts, say, step } from './demo-parts.ts';
import { ensureRedis } from './servers.ts';

const org = sampleOrgs.v1;
/** Of the users, those that go first. */
const first = 30;
const people = Array.from({ length: 30 }, (_, i) => {
  const number = String(i + 1).padStart(3, '0');
  return { id: `40000000000000${number}`, org, userName: `person-${number}`, email: `person-${number}@example.com` };
});
const early = people.filter(({ id }) => percentile(org, id) < first);
const late = people.filter(({ id }) => percentile(org, id) >= first);

/** `npm run demo -- --story migration`: an organization from v1 to v2, with v2 away for a while, and once back. Throws when a fact fails. */
export async function playMigration(folder: string): Promise<void> {
  const redis = await ensureRedis();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  step('Starting Redis, the v1 store, the SANDBOX as v2 (not ZITADEL), the producer and a worker');
  const started = Date.now();
  const running = await up({
    dataDir: folder,
    listen: '127.0.0.1:0',
    // The cheapest hash that v2 takes.
    bcryptCost: 10,
    log: createLog(process.env.PASSFERRY_LOG_LEVEL ?? 'fatal', 'demo'),
    redisUrl: redis.url,
  });
  try {
    await play(running, demoParts(folder));
  } finally {
    await running.close();
    await redis.stop();
  }
  step(`Done in ${Math.round((Date.now() - started) / 1000)} s; everything is stopped.`);
}

async function play(running: Up, { command, request, sessionLogin }: DemoParts): Promise<void> {
  const { v1, sandbox } = running;
  const [one, two, three] = [late[0], early[0], late[1]].map((person) => person?.id as string) as [
    string,
    string,
    string,
  ];
  await v1.addUsers(people.map((person) => ({ ...person, password: samplePassword })));
  for (const person of people) await sandbox.addUser(person);
  say(`   ${people.length} more people of "${org}" have a password in v1, and none in v2`);

  step('What would it take? Nothing is changed');
  await command(0, 'migrate', '--org', org, '--quiet');

  step('Stage dual-v1: v1 decides, and v2 gets what v1 has');
  await command(0, 'stages', 'set', org, 'dual-v1', '--wait');

  step('The backfill: hashes are copied, nobody chooses a new password');
  await command(0, 'migrate', '--org', org, '--execute', '--yes', '--mails=allow', '--quiet');
  for (const { id } of [people[7], people[21]] as typeof people) await prove(id, samplePassword);

  step('v2 is down: callers get their answer, for v1 decides; who is behind is on record');
  const mend = sandbox.faults.add({ fault: { kind: '503' } });
  const away = people.slice(3, 6).map(({ id }) => id);
  for (const id of away) await request(running, id, org, 'While-v2-was-down-1');
  await command(1, 'divergence', 'list', '--org', org);
  mend();
  say('   v2 is back. Everybody is tried again by itself; or at once:');
  await command(0, 'divergence', 'redrive', '--org', org);
  await inStep();
  for (const id of away) await prove(id, 'While-v2-was-down-1', samplePassword);

  step('Once more over everybody: no difference is left, which the next step asks for');
  await command(0, 'migrate', '--org', org, '--execute', '--yes', '--mails=allow', '--quiet');

  step(`Stage dual-v2, for ${first} % first: for them v2 decides, and v1 gets a hash of its own`);
  await command(0, 'stages', 'set', org, 'dual-v1', '--percent', String(first), '--wait');
  await request(running, one, org, 'Led-by-v1-still-1');
  await request(running, two, org, 'Led-by-v2-now-1');
  await inStep();
  await prove(one, 'Led-by-v1-still-1', samplePassword);
  await prove(two, 'Led-by-v2-now-1', samplePassword);

  step('… and for all of them. From here on people log in to v2');
  await command(0, 'stages', 'set', org, 'dual-v2', '--wait');
  await request(running, three, org, 'All-led-by-v2-1');
  await inStep();
  await prove(three, 'All-led-by-v2-1', samplePassword);

  step('Three in the morning: back. First it is read whether somebody would lose a password');
  const seen = await reconcile();
  say(`   compared: ${JSON.stringify(seen)}`);
  if (seen.ahead || seen.missing || seen.unknown) throw new Error('somebody would lose a password');
  await command(0, 'stages', 'set', org, 'dual-v1', '--wait');
  await prove(three, 'All-led-by-v2-1', samplePassword);
  await request(running, three, org, 'Led-by-v1-again-1');
  await inStep();
  await prove(three, 'Led-by-v1-again-1', 'All-led-by-v2-1');

  step('The next day: once more over everybody, and forward again');
  await command(0, 'migrate', '--org', org, '--execute', '--yes', '--mails=allow', '--quiet');
  await command(0, 'stages', 'set', org, 'dual-v2', '--wait');

  step('v2 for good: v1 is not written any more, and there is no way back');
  await command(0, 'stages', 'set', org, 'v2', '--yes-final');
  await request(running, one, org, 'Only-in-v2-1');
  const [inV1, inV2] = await logins(one, 'Only-in-v2-1');
  say(`   ${one}: the new password ${inV2 ? 'logs in' : 'FAILS'} in v2, v1 ${inV1 ? 'HAS IT TOO' : 'has it no more'}`);
  if (!inV2 || inV1) throw new Error('a login did not go as it should');
  await command(1, 'stages', 'set', org, 'dual-v2', '--force', '--reason', 'we want back');

  async function logins(id: string, password: string): Promise<[boolean, boolean]> {
    const signal = AbortSignal.timeout(10_000);
    return Promise.all([
      v1.prove(org, id, Secret.fromString(password), signal),
      sessionLogin(sandbox.url, id, password),
    ]);
  }

  /** A login in both stores. */
  async function prove(id: string, password: string, old?: string): Promise<void> {
    const [inV1, inV2] = await logins(id, password);
    const older: boolean[] = old === undefined ? [] : await logins(id, old);
    const word = (works: boolean) => (works ? 'logs in' : 'FAILS');
    const refused = older.length === 0 ? '' : `; the old one ${older.includes(true) ? 'STILL WORKS' : 'is refused'}`;
    say(`   ${id}: v1 ${word(inV1)}, v2 ${word(inV2)}${refused}`);
    if (!inV1 || !inV2 || older.includes(true)) throw new Error('a login did not go as it should');
  }

  // biome-ignore lint/suspicious/noExplicitAny: looked into where it is asked
  async function ask(path: string, body?: object): Promise<any> {
    const token = readFileSync(running.tokenFile, 'utf8').trim();
    const answer = await fetch(running.url + path, {
      method: body ? 'POST' : 'GET',
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path} was answered ${answer.status}`);
    return answer.json();
  }

  async function inStep(): Promise<void> {
    await until('everybody to be in step', async () => (await ask(`/divergence?org=${org}`)).count === 0);
    say('   everybody is in step');
  }

  async function reconcile(): Promise<Record<string, number>> {
    const { id } = await ask('/migrations', { mode: 'reconcile', organizations: [org] });
    await until('the comparison to end', async () => (await ask(`/migrations/${id}`)).state === 'completed');
    return (await ask(`/migrations/${id}`)).migration.verdicts;
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 180_000; Date.now() < end; await pause(100)) if (await holds()) return;
  throw new Error(`waited in vain for ${what}`);
}
