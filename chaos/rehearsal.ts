/**
 * `npm run rehearsal -- --users 5000 --seed 1 [--workers 2] [--json]`: moves everybody of one organization from v1 to v2 while passwords
 * are being set, with a fault at each stage; goes back to v1, and forward to the end. Then everybody logs in. Every figure from
 * `wrong` on must be 0; exit code 1 if one is not.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { verify } from '@node-rs/bcrypt';
import { seededRandom } from '../src/sandbox/faults.ts';
import type { Stage } from '../src/stage.ts';
import { waitFor } from '../test/kit/wait.ts';
import { org, startRehearsal } from './rehearsal-world.ts';

const { values } = parseArgs({
  options: {
    users: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    workers: { type: 'string', default: '2' },
    /** Passwords set at once, all the time. */
    senders: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
  },
});
const [users, seed, workers, senders] = [values.users, values.seed, values.workers, values.senders].map(Number) as [
  number,
  number,
  number,
  number,
];
const random = seededRandom(seed);
const startedAt = performance.now();
const note = (text: string) =>
  process.stderr.write(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${text}\n`);
const patience = { timeoutMs: 600_000 };

const world = await startRehearsal({ users, workers, seed });
note(`seed ${seed}: ${users} people in v1, nobody has a password in v2`);
const figures = { set: 0, wrong: 0, disagree: 0, divergence: 0, uncounted: 0, callersFailed: 0 };

// ---- people go on setting passwords, whatever happens

let sending = true;
let paused = false;
let underWay = 0;
const busy = new Set<string>();

async function sender(mark: number): Promise<void> {
  for (let n = 0; sending; n++) {
    const person = world.people[Math.floor(random() * users)];
    if (paused || !person || busy.has(person.id)) {
      await sleep(20);
      continue;
    }
    busy.add(person.id);
    underWay++;
    const password = `New-${seed}-${mark}-${n}!a`;
    const key = `${seed}-${mark}-${n}`;
    let inEffect: boolean | undefined;
    // Not accepted, or nobody knows: the same request again, under the same key.
    for (let tries = 0; inEffect === undefined && tries < 200; tries++) {
      inEffect = await world.set(person.id, password, key).catch(() => undefined);
      if (inEffect === undefined) await sleep(200);
    }
    if (inEffect) {
      person.password = password;
      figures.set++;
    } else figures.callersFailed++;
    busy.delete(person.id);
    underWay--;
    await sleep(50 + random() * 200);
  }
}

async function quiet(): Promise<void> {
  paused = true;
  await waitFor(() => underWay === 0, { what: 'what was accepted to end', ...patience });
}

// ---- steps of the operator

/** Asks again while Redis or a process is away. */
async function ask(method: string, path: string, body?: object) {
  return waitFor(
    async () => {
      const answer = await world.ask(method, path, body);
      return answer.status < 500 && answer.status !== 429 ? answer : undefined;
    },
    { what: `${method} ${path}`, ...patience },
  );
}

async function migrate(mode: 'execute' | 'reconcile', during: () => Promise<unknown> = async () => {}): Promise<void> {
  const begun = await ask('POST', '/migrations', { mode, organizations: [org], mails: 'allow' });
  const id = begun.body?.id as string | undefined;
  if (!id) throw new Error(`migration refused: ${JSON.stringify(begun.body)}`);
  await during();
  const over = await waitFor(
    async () => {
      const { body } = await ask('GET', `/migrations/${id}`);
      if (body?.state === 'holding') await ask('POST', `/migrations/${id}:resume`, {});
      return body?.state === 'completed' ? body : undefined;
    },
    { what: `migration ${id} to complete`, timeoutMs: 1_800_000 },
  );
  if (over.received !== users || over.finished !== users) figures.uncounted += Math.abs(over.finished - users) || 1;
  note(`${mode}: ${JSON.stringify(over.migration?.verdicts ?? over.verdicts)}`);
}

const inStep = () =>
  waitFor(async () => ((await ask('GET', `/divergence?org=${org}`)).body?.count === 0 ? true : undefined), {
    what: 'nobody to be behind',
    ...patience,
  });

/** One step; does what its conditions ask for. */
async function step(stage: Stage, percent = 0): Promise<void> {
  const confirm = stage === 'v2' ? { confirm: 'final' } : {};
  for (let tries = 0; ; tries++) {
    const { status, body } = await ask('PUT', `/stages/${org}`, { stage, percent, ...confirm });
    if (status === 200) break;
    const unmet = (body?.conditions ?? []).filter((each: { holds: boolean }) => !each.holds);
    const names = unmet.map((each: { condition: string }) => each.condition) as string[];
    if (tries > 12) throw new Error(`${stage} refused: ${JSON.stringify(body)}`);
    note(`${stage} must wait: ${names.join(', ') || JSON.stringify(body)}`);
    if (names.includes('backfilled') || names.includes('caught_up')) await migrate('execute');
    else if (names.includes('ahead_known')) await migrate('reconcile');
    else await sleep(1_000);
  }
  note(percent > 0 ? `stage ${stage}, ${percent} % on the next one` : `stage ${stage}`);
}

/** Some time in which passwords are set. */
async function traffic(changes: number): Promise<void> {
  const before = figures.set;
  await waitFor(() => figures.set >= before + changes, { what: `${changes} changes`, ...patience });
}

// ---- everybody logs in

const known = new Map<string, Promise<boolean>>();
const fits = (password: string, hash: string | null | undefined): Promise<boolean> => {
  if (!hash) return Promise.resolve(false);
  const name = `${password}\n${hash}`;
  const found = known.get(name) ?? verify(password, hash);
  known.set(name, found);
  return found;
};

async function everybody(stage: Stage): Promise<void> {
  await quiet();
  if (stage === 'dual-v1' || stage === 'dual-v2') await inStep();
  const hashes = await world.hashes();
  const leads = stage === 'v1' || stage === 'dual-v1' ? 'v1' : 'v2';
  const both = stage === 'dual-v1' || stage === 'dual-v2';
  let [wrong, disagree] = [0, 0];
  for (const { id, password } of world.people) {
    const stored = hashes.get(id);
    if (!(await fits(password, stored?.[leads]))) wrong++;
    if (both && !(await fits(password, stored?.[leads === 'v1' ? 'v2' : 'v1']))) disagree++;
  }
  figures.wrong += wrong;
  figures.disagree += disagree;
  const left = (await ask('GET', `/divergence?org=${org}`)).body?.count ?? 0;
  if (both) figures.divergence += left;
  note(
    `${stage}: ${users - wrong} of ${users} log in to ${leads}${both ? `, ${users - disagree} to the other one` : ''}`,
  );
  paused = false;
}

// ---- the rehearsal

const sendersAtWork = Array.from({ length: senders }, (_, i) => sender(i));
const later = (work: () => Promise<unknown>) => async () => {
  await sleep(500 + random() * 1_500);
  await work();
};
const outage = later(() => world.withoutV2(() => sleep(2_000 + random() * 2_000)));
const kill = later(() => world.killWorker(random()));
const restart = later(() => world.restartRedis());

try {
  await traffic(20);
  await step('dual-v1');
  await migrate('execute', async () => {
    await outage();
    await kill();
  });
  await traffic(20);
  await everybody('dual-v1');
  // In mid-flight: some first, then nobody, then all.
  await step('dual-v1', 30);
  await Promise.all([traffic(20), kill()]);
  await step('dual-v1');
  await Promise.all([traffic(10), restart()]);
  await step('dual-v2');
  await Promise.all([traffic(20), outage(), kill()]);
  await everybody('dual-v2');
  await Promise.all([traffic(10), restart()]);

  note('going back');
  await step('dual-v1');
  await Promise.all([traffic(20), outage()]);
  await everybody('dual-v1');
  await step('v1');
  await Promise.all([traffic(20), kill()]);
  await everybody('v1');

  note('forward again, to the end');
  await step('dual-v1');
  await migrate('execute', restart);
  await traffic(10);
  await step('dual-v2');
  await Promise.all([traffic(10), kill()]);
  await everybody('dual-v2');
  await step('v2');
  await Promise.all([traffic(20), outage()]);
  sending = false;
  await Promise.all(sendersAtWork);
  await everybody('v2');
} finally {
  sending = false;
  paused = false;
  await Promise.allSettled(sendersAtWork);
  await world.close();
}

const seconds = Math.round((performance.now() - startedAt) / 1_000);
const report = { seed, users, ...world.harm, seconds, ...figures };
process.stdout.write(
  values.json
    ? `${JSON.stringify(report)}\n`
    : `${Object.entries(report)
        .map(([name, n]) => `${name.padEnd(14)}${n}`)
        .join('\n')}\n`,
);
const { set: _, ...mustBeNone } = figures;
process.exitCode = Object.values(mustBeNone).every((n) => n === 0) ? 0 : 1;
