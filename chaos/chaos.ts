/**
 * `npm run chaos -- --jobs 2000 --users 200 --seconds 60 --seed 1 [--json]`: real processes, real servers, real faults; then the history
 * is checked. Every figure after `outcomes` must be 0; exit code 1 if one is not.
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

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '2000' },
    users: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
  },
});
const { jobs, users, seed, seconds } = Object.fromEntries(
  Object.entries(values).map(([name, value]) => [name, Number(value)]),
) as Record<'jobs' | 'users' | 'seed' | 'seconds', number>;
const random = seededRandom(seed);
const note = (text: string) => process.stderr.write(`${text}\n`);
const marker = `Cha0s-${seed}-${process.pid}`;

note(`seed ${seed}: ${jobs} jobs for ${users} users`);
const world = await startWorld({ users, seed });
const history: Change[] = [];
let sending = true;

/** One user's changes, in order: the next is sent when the one before is accepted. */
async function sendAll(): Promise<void> {
  let next = 0;
  const busy = new Set<number>();
  // Spread over time, so that the harm meets jobs of every age.
  const pauseMs = (seconds * 1_000) / Math.max(1, jobs / 8);
  const one = async () => {
    while (next < jobs) {
      const n = next++;
      let user = Math.floor(random() * users);
      while (busy.has(user)) user = (user + 1) % users;
      busy.add(user);
      const { id, org } = world.people[user] as { id: string; org: string };
      const password = `${marker}-${n}!`;
      const key = `chaos-${seed}-${n}`;
      for (;;) {
        const jobId = await world.send(org, id, password, key).catch(() => undefined);
        if (jobId) {
          history.push({ n, user: id, org, password, jobId });
          break;
        }
        await sleep(100);
      }
      busy.delete(user);
      await sleep(pauseMs * 2 * random());
      if (n % 500 === 0) note(`  ${n} accepted`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, one));
}

async function harm(): Promise<void> {
  const plan = [() => world.restartRedis(), () => world.restartPostgres(), () => world.restartRedis()];
  while (sending) {
    await sleep(1_500 + random() * 2_500);
    if (!sending) return;
    if (random() < 0.1) await world.freezeWorker(random(), 16_000);
    else await world.killWorker(random());
    if (random() < 0.3) await plan.shift()?.();
  }
  for (const rest of plan) await rest();
}

const started = Date.now();
const harming = harm();
await sendAll();
note(`  all accepted after ${Math.round((Date.now() - started) / 1000)} s`);
sending = false;
await harming;
world.calm();

const views = new Map<string, JobView>();
const until = Date.now() + 300_000;
for (let open = history; open.length > 0 && Date.now() < until; ) {
  for (const { jobId } of open) {
    const view = await world.view(jobId).catch(() => undefined);
    if (view) views.set(jobId, view);
  }
  open = open.filter(({ jobId }) => !views.get(jobId)?.done);
  if (open.length > 0) {
    note(`  ${open.length} jobs are open`);
    await sleep(1_000);
  }
}

const v1 = await createV1Postgres({ sql: pgClient(world.postgresUrl), bcryptCost: 4 });
const never = AbortSignal.timeout(600_000);
const figures: Figures = await check({
  history,
  views,
  v1Events: await world.v1Events(),
  v2Changes: (user) => world.sandbox.users.get(user)?.changes.length ?? 0,
  logsIn: (org, user, password) =>
    org === 'acme' ? v1.prove(org, user, Secret.fromString(password), never) : world.sandbox.verify(user, password),
});
figures.leaks = countLeaks();
await v1.close();
await world.close();

const took = Math.round((Date.now() - started) / 1000);
if (values.json)
  process.stdout.write(
    `${JSON.stringify({ seed, seconds: took, kills: world.kills(), freezes: world.freezes(), ...figures })}\n`,
  );
else
  for (const [name, value] of Object.entries(figures))
    process.stdout.write(`${name.padEnd(24)} ${JSON.stringify(value)}\n`);
const { accepted: _, outcomes: __, assumed: ___, repeats: ____, ...mustBeZero } = figures;
process.exit(Object.values(mustBeZero).every((n) => n === 0) ? 0 : 1);

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
