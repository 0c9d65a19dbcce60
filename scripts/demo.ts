/**
 * `npm run demo`: a messy file from its dry run to a clean second run of what was corrected, with logins as the proof.
 * `npm run demo -- --story migration`: an organization from v1 to v2.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { withThreadPool } from '../src/cli/thread-pool.ts';
import { type Up, up } from '../src/cli/up.ts';
import { sampleOrgs } from '../src/cli/up-people.ts';
import { createLog } from '../src/log.ts';
import { Secret } from '../src/secret.ts';
import { playMigration } from './demo-migration.ts';
import { demoParts, say, step } from './demo-parts.ts';
import { correctedFile, demoFile, demoPeople, oldPassword } from './demo-people.ts';
import { ensureRedis } from './servers.ts';

const folder = '.passferry/demo';
const { command, request, sessionLogin } = demoParts(folder);

const code = await withThreadPool();
if (code !== undefined) process.exit(code);

const { story } = parseArgs({ options: { story: { type: 'string', default: 'import' } } }).values;
if (story === 'migration') {
  await playMigration(folder);
  process.exit(0);
}
if (story !== 'import') throw new Error('the stories are import and migration');

const redis = await ensureRedis();
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true, mode: 0o700 });
const input = join(folder, 'people.csv');
const rejects = `${input}.rejects.csv`;

step('Starting Redis, the v1 store, the SANDBOX as v2 (not ZITADEL), the producer and a worker');
const started = Date.now();
const running = await up({
  dataDir: folder,
  listen: '127.0.0.1:0',
  // Half of what `up` takes: most of the time of this is hashing.
  bcryptCost: 9,
  log: createLog(process.env.PASSFERRY_LOG_LEVEL ?? 'error', 'demo'),
  redisUrl: redis.url,
});
try {
  say(`   ${running.url}`);
  await seed(running);
  writeFileSync(input, demoFile(), { mode: 0o600 });

  const how = ['--as-of', 'now', '--org', sampleOrgs.v1];
  step('A dry run of 300 people in two organizations and a dozen faulty rows: nothing is changed');
  await command(1, 'import', input, ...how, '--dry-run', '--rejects', join(folder, 'foretold.csv'));

  step('The import itself; v2 mails users about it, which has to be allowed');
  const report = join(folder, 'report.json');
  await command(1, 'import', input, ...how, '--mails=allow', '--yes', '--report', report);
  say('\n   the first rejects:');
  for (const line of readFileSync(rejects, 'utf8').split('\n').slice(0, 3)) say(`   ${line}`);

  step('The rejects, corrected: a clean second run');
  const corrected = join(folder, 'corrected.csv');
  writeFileSync(corrected, correctedFile(readFileSync(rejects, 'utf8')), { mode: 0o600 });
  await command(0, 'import', corrected, ...how, '--mails=allow', '--yes', '--quiet');

  step('The signed record of the first run');
  const { id } = JSON.parse(readFileSync(report, 'utf8')) as { id: string };
  const evidence = join(folder, 'evidence.json');
  await command(0, 'imports', 'evidence', id, '--out', evidence);
  await command(0, 'imports', 'evidence', '--verify', evidence);

  step('One request in the v1 contract: waits, and answers as v1 does');
  const [first, second] = [demoPeople[0], demoPeople[150]];
  if (!first || !second) throw new Error('nobody was made');
  await request(running, first.id, sampleOrgs.v1, 'Asked-directly-1', {});

  step('One request asynchronously: accepted at once, asked for later');
  const accepted = await request(running, second.id, sampleOrgs.v2, 'Asked-later-1', { prefer: 'respond-async' });
  await command(0, 'job', accepted.headers.get('passferry-job') ?? '', '--wait');

  step('Logging in');
  const sample = [
    { ...first, password: 'Asked-directly-1' },
    { ...second, password: 'Asked-later-1' },
    ...demoPeople.filter((_, i) => i % 100 === 7),
  ];
  for (const person of sample) await prove(running, person);
} finally {
  for (const path of [input, join(folder, 'corrected.csv')]) rmSync(path, { force: true });
  await running.close();
  await redis.stop();
}
step(
  `Done in ${Math.round((Date.now() - started) / 1000)} s; everything is stopped. Rejects, report and record are in ${folder}`,
);
process.exit(0);

async function seed({ v1, sandbox }: Up): Promise<void> {
  const [old, young] = [sampleOrgs.v1, sampleOrgs.v2].map((org) => demoPeople.filter((person) => person.org === org));
  await Promise.all([
    v1.addUsers((old ?? []).map(({ id, org, userName }) => ({ id, org, userName, password: oldPassword }))),
    ...(young ?? []).map(({ id, org, userName }) => sandbox.addUser({ id, org, userName, password: oldPassword })),
  ]);
  await v1.addUsers([{ id: 'not-yet-initialized', org: sampleOrgs.v1, state: 'initial' }]);
  say(`   300 invented people have the password "${oldPassword}"`);
}

async function prove({ v1, sandbox }: Up, person: { id: string; org: string; password: string }): Promise<void> {
  const login = async (password: string) =>
    person.org === sampleOrgs.v1
      ? v1.prove(person.org, person.id, Secret.fromString(password), AbortSignal.timeout(10_000))
      : sessionLogin(sandbox.url, person.id, password);
  const [works, oldWorks] = [await login(person.password), await login(oldPassword)];
  const backend = person.org === sampleOrgs.v1 ? 'v1' : 'v2';
  say(
    `   ${backend} ${person.id}: new password ${works ? 'logs in' : 'FAILS'}, old one ${oldWorks ? 'STILL WORKS' : 'refused'}`,
  );
  if (!works || oldWorks) throw new Error('a login did not go as it should');
}
