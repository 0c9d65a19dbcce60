/**
 * `npm run chaos -- --jobs 2000 --users 200 --seed 1 [--seconds 60] [--workers 2] [--json]`: real processes, real servers, real
 * faults; then the history is checked. Every figure from `lost` on must be 0; exit code 1 if one is not.
 * `seconds`: the time over which requests are sent and harm is done. Default: as long as two cores need for so many jobs.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createV1Postgres, pgClient } from '../src/adapters/v1-postgres/index.ts';
import type { JobView } from '../src/job.ts';
import { seededRandom } from '../src/sandbox/faults.ts';
import { Secret } from '../src/secret.ts';
import { type Change, check, type Figures } from './check.ts';
import { startWorld } from './world.ts';

/** What two workers on two cores get through while they are being killed. */
const jobsASecond = 32;
/** Nothing ended for so long: what is open now will never end. */
const patienceMs = 150_000;
const senders = 16;

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '2000' },
    users: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    workers: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
});
const [jobs, users, seed, workers] = [values.jobs, values.users, values.seed, values.workers].map(Number) as [
  number,
  number,
  number,
  number,
];
const seconds = Number(values.seconds ?? Math.max(20, Math.round(jobs / jobsASecond)));
const random = seededRandom(seed);
const note = (text: string) => process.stderr.write(`${text}\n`);
const marker = `Cha0s-${seed}-${process.pid}`;

note(`seed ${seed}: ${jobs} jobs for ${users} users in ${seconds} s`);
const world = await startWorld({ users, seed, workers });
const history: Change[] = [];
let sending = true;

/** One user's changes, in order: the next is sent when the one before is accepted. */
async function sendAll(): Promise<void> {
  let next = 0;
  const busy = new Set<number>();
  // Spread over time, so that the harm meets jobs of every age.
  const pauseMs = (seconds * 1_000) / Math.max(1, jobs / senders);
  const one = async () => {
    while (next < jobs) {
      const n = next++;
      let user = Math.floor(random() * users);
      while (busy.has(user)) user = (user + 1) % users;
      busy.add(user);
      const { id, org } = world.people[user] as { id: string; org: string };
      const password = `${marker}-${n}!`;
      const key = `chaos-${seed}-${n}`;
      const asked = Date.now();
      for (;;) {
        const jobId = await world.send(org, id, password, key).catch(() => undefined);
        if (jobId) {
          history.push({ n, user: id, org, password, jobId });
          break;
        }
        await sleep(100);
      }
      busy.delete(user);
      // What the answer took is part of the pause.
      await sleep(Math.max(0, pauseMs * 2 * random() - (Date.now() - asked)));
      if (n % 500 === 0) note(`  ${n} accepted`);
    }
  };
  await Promise.all(Array.from({ length: senders }, one));
}

async function harm(): Promise<void> {
  let frozen: Promise<void> | undefined;
  const plan = [() => world.restartRedis(), () => world.restartPostgres(), () => world.restartRedis()];
  while (sending) {
    await sleep(1_500 + random() * 2_500);
    if (!sending) break;
    if (random() < 0.1) frozen ??= world.freezeWorker(random(), 16_000);
    else await world.killWorker(random());
    if (random() < 0.3) await plan.shift()?.();
  }
  for (const rest of plan) await rest();
  await frozen;
}

async function harmNetwork(): Promise<void> {
  while (sending) {
    await sleep(500 + random() * 1_500);
    await world.network.harm(random(), random(), 50 + random() * 1_500);
  }
}

const started = Date.now();
const harming = Promise.all([harm(), harmNetwork()]);
await sendAll();
note(`  all accepted after ${Math.round((Date.now() - started) / 1000)} s`);
sending = false;
await harming;
await world.calm();

const views = new Map<string, JobView>();
await allEnded();
await readViews();
note(`  all read after ${Math.round((Date.now() - started) / 1000)} s`);

const v1 = await createV1Postgres({ sql: pgClient(world.postgresUrl), bcryptCost: 4 });
const never = AbortSignal.timeout(600_000);
const figures: Figures = await check({
  history,
  views,
  v1Events: await world.v1Events(),
  v2Changes: (user) => world.sandbox.users.get(user)?.changes.length ?? 0,
  tell: note,
  logsIn: (org, user, password) =>
    org === 'acme' ? v1.prove(org, user, Secret.fromString(password), never) : world.sandbox.verify(user, password),
});
figures.leaks = countLeaks();
await v1.close();
note(`  checked after ${Math.round((Date.now() - started) / 1000)} s`);
await world.close();

const took = Math.round((Date.now() - started) / 1000);
if (values.json) process.stdout.write(`${JSON.stringify({ seed, seconds: took, ...world.harm(), ...figures })}\n`);
else
  for (const [name, value] of Object.entries({ seed, seconds: took, ...world.harm(), ...figures }))
    process.stdout.write(`${name.padEnd(24)} ${JSON.stringify(value)}\n`);
const { accepted: _, outcomes: __, assumed: ___, repeats: ____, ...mustBeZero } = figures;
process.exit(Object.values(mustBeZero).every((n) => n === 0) ? 0 : 1);

/** Until no accepted job is open, or none has ended for long. */
async function allEnded(): Promise<void> {
  let fewest = Number.POSITIVE_INFINITY;
  for (let since = Date.now(), told = 0; Date.now() - since < patienceMs; ) {
    const open = await world.open();
    if (open === 0) return;
    if (open < fewest) {
      fewest = open;
      since = Date.now();
    }
    if (Date.now() - told > 5_000) {
      told = Date.now();
      note(`  ${open} jobs are open`);
    }
    await sleep(250);
  }
}

/** Every job as its caller sees it; what cannot be read three times is lost. */
async function readViews(): Promise<void> {
  const rest = history.flatMap((change) => [change, change, change]);
  const reader = async () => {
    for (let change = rest.pop(); change; change = rest.pop()) {
      if (views.has(change.jobId)) continue;
      const view = await world.view(change.jobId).catch(() => undefined);
      if (view) views.set(change.jobId, view);
    }
  };
  await Promise.all(Array.from({ length: senders }, reader));
}

/** The marker of every password, looked for in Redis' files and in all that was logged. */
function countLeaks(): number {
  const places = [
    ...readdirSync(world.redisDir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')),
    world.logs(),
  ];
  const forms = [marker, Buffer.from(marker).toString('hex'), Buffer.from(marker).toString('base64').slice(0, -4)];
  return forms.reduce((sum, form) => sum + places.filter((text) => text.includes(form)).length, 0);
}
