import type { Redis } from 'ioredis';
import { readLoad, storedBytes } from '../../src/ledger/load.ts';
import { endAt } from '../../src/ledger/pages.ts';
import { unpackRow } from '../../src/row-outcome.ts';
import type { ModelJob } from './ledger-model.ts';
import * as model from './ledger-model.ts';
import { acceptor, pick, runId } from './ledger-requests.ts';
import { createWorld, endingOf, type Person, type Start, type World } from './ledger-world.ts';

export const kinds = [
  ...(['accept', 'start', 'go on', 'crash', 'arrive', 'end lease', 'end attempt', 'expire'] as const),
  ...(['sweep', 'rows', 'close input', 'order'] as const),
];

/** What happens next, and to which of those it can happen to (modulo their number). */
export interface Step {
  what: (typeof kinds)[number];
  which: number;
  how: number;
}

/**
 * Walks one interleaving of requests, starts, crashes and lapses on the real scripts and on the model, then lets everything come
 * to its end. Throws with the readable history when a reply differs or a promise is broken.
 */
export async function walk(redis: Redis, steps: readonly Step[]): Promise<void> {
  const world = createWorld(redis);
  const accept = acceptor(world);
  await world.ledger.raiseFloor(0n);
  for (const { what, which, how } of steps) {
    const alive = world.starts.filter(({ phase }) => phase !== 'ended');
    const job = pick(world.jobs, which);
    const start = pick(alive, which);
    const user = pick(world.people, which) as Person;
    if (what === 'accept') await accept.request(which, how === 0);
    if (what === 'rows') await accept.rows();
    if (what === 'close input') await accept.closeInput();
    if (what === 'order') await accept.order(which);
    if (what === 'start' && job) await world.begin(job);
    if (what === 'go on' && start) await goOn(world, start, how);
    if (what === 'crash' && start) crash(world, start);
    if (what === 'arrive') arrive(world, which);
    if (what === 'end lease') await endLease(world, user);
    if (what === 'end attempt') await endAttempt(world, user);
    if (what === 'expire' && job && !job.ending) await expire(world, job);
    if (what === 'sweep') await sweep(world);
  }
  await drain(world, accept);
  await compare(world, accept.keyNames());
}

/** The next thing that a worker does with its start, as `set-password.ts` does it. */
async function goOn(world: World, start: Start, how: number): Promise<void> {
  const { job, token } = start;
  const user = world.personOf(job);
  world.say(`${token} (${job.id}, ${start.phase}) goes on`);
  const putOff = async (why: string, effect: 'none' | 'unknown' = 'unknown') => {
    start.phase = 'ended';
    world.say(`  is put off: ${why}, effect ${effect}`);
    await world.release(start, why, effect);
  };
  switch (start.phase) {
    case 'begun':
      if (how === 0) return putOff('backend_down', 'none');
      if (how === 1) {
        start.phase = 'refused';
      } else if (job.exact) {
        world.land(start);
        start.phase = 'applied';
      } else if (await world.record(start)) {
        start.phase = 'sent';
        start.inFlight = true;
      } else return putOff('lease_lost');
      return;
    case 'settling':
      // Waiting out the deadline: what has not had its effect by now never will.
      for (const each of world.starts) if (each.job === job) each.inFlight = false;
      if (user.changedAt > Math.max(start.before, user.applied?.changedAt ?? 0)) {
        start.phase = 'ended';
        return world.commit(start, 'set', { changedAt: user.changedAt, assumed: true });
      }
      await world.close(start, true);
      return putOff('aborted');
    case 'sent':
      if (how === 0 || !start.inFlight) return putOff('backend_timeout');
      start.inFlight = false;
      start.phase = how === 1 ? 'refused' : how === 2 ? 'unreached' : 'landed';
      if (start.phase === 'landed') world.land(start);
      return;
    case 'unreached':
      await world.close(start, false);
      return putOff('backend_down', 'none');
    case 'refused':
      start.phase = 'ended';
      return world.commit(start, 'refused');
    case 'landed':
      start.phase = 'ended';
      return world.commit(start, 'set', { changedAt: start.changedAt });
    case 'applied':
      start.phase = 'ended';
      if (!user.landed.includes(job)) return world.commit(start, 'superseded', { countAttempt: true });
      return world.commit(start, 'set', { changedAt: start.changedAt, countAttempt: true });
    case 'ended':
  }
}

/** Nobody has the token any more. What was sent is under way still. */
function crash(world: World, start: Start): void {
  start.phase = 'ended';
  world.say(`${start.token} (${start.job.id}) is killed`);
}

function arrive(world: World, which: number): void {
  const start = pick(
    world.starts.filter(({ inFlight, phase }) => inFlight && phase === 'ended'),
    which,
  );
  if (!start) return;
  world.say(`the lost request of ${start.token} arrives`);
  start.inFlight = false;
  world.land(start);
}

async function endLease({ redis, keys, say }: World, user: Person): Promise<void> {
  if (!user.lease) return;
  user.lease.live = false;
  say(`the lease of ${user.name} ends`);
  await redis.hset(keys.user(user.lease.job.org, user.name), 'leaseUntil', '1');
}

/** Its deadline and the time for settling it are over: others of the user may go. */
async function endAttempt({ redis, keys, say, starts }: World, user: Person): Promise<void> {
  if (!user.open) return;
  user.open.live = false;
  for (const each of starts) if (each.job.user === user) each.inFlight = false;
  // Made and not known: its own job was not there to settle it, or was ended by another start.
  if (user.landed.includes(user.open.job) && user.applied?.job !== user.open.job) user.blind = true;
  say(`nobody waits for the attempt of ${user.name} any more`);
  await redis.hset(keys.user(user.open.job.org, user.name), 'openUntil', '1');
}

async function expire({ redis, keys, say, dataOf }: World, job: ModelJob): Promise<void> {
  const past = dataOf(job).acceptedAt - 100_000;
  job.expired = true;
  dataOf(job).expiresAt = past;
  say(`${job.id} is past its expiry`);
  // Of a row that is not at work only its page knows.
  if (!job.record) return;
  await redis.multi().hset(keys.job(job.id), 'expiresAt', String(past)).zadd(keys.open, past, job.id).exec();
}

async function sweep(world: World): Promise<void> {
  for (const { jobId } of await world.ledger.overdue(20, 1_000)) {
    const job = world.jobs.find(({ id }) => id === jobId) as ModelJob;
    const begun = await world.ledger.begin(world.dataOf(job), { token: '', leaseMs: 0, backend: 'v1', exact: true });
    world.say(`sweep ${jobId}: ${begun.kind}`);
    world.same(begun.kind, model.sweep(job, world.run), `what the sweeper is told of ${jobId}`);
    if (begun.kind === 'expired') await world.commit({ job, token: '' }, 'expired');
  }
}

/** All that waits is waited for, and workers that do not fail take every job: each must end (P6). */
async function drain(world: World, accept: ReturnType<typeof acceptor>): Promise<void> {
  world.say('all comes to its end');
  for (const start of world.starts.filter(({ phase }) => phase !== 'ended')) crash(world, start);
  for (const user of world.people) {
    await endLease(world, user);
    await endAttempt(world, user);
  }
  if (world.run?.state.startsWith('paus')) await accept.order(1);
  for (const job of world.jobs) {
    // Its run was cancelled before it began.
    const isOver = () => job.row !== undefined && world.run?.state.startsWith('cancel');
    for (let times = 0; !job.ending && !isOver() && times < 3; times++) {
      const start = await world.begin(job);
      while (start && start.phase !== 'ended') await goOn(world, start, 3);
      if (!start && !job.ending && job.starts >= 4) break;
    }
    if (!job.ending && !isOver() && job.starts < 4) world.fail(`${job.id} does not end (P6)`);
  }
}

/** What is stored now against the model; then it is taken away. */
async function compare(world: World, more: string[]): Promise<void> {
  const { redis, keys, jobs, people, same, fail } = world;
  for (const user of people) {
    const sets = jobs.filter((job) => job.user === user && job.ending === 'set');
    const inForce = user.landed.at(-1);
    const newest = sets.at(-1);
    if (newest && (user.applied?.job.seq ?? 0n) < newest.seq) fail(`the highest applied of ${user.name} is lost (P3)`);
    // Made while another start of the same job recorded its end: known, and not called `set`.
    const known = inForce?.ending === 'set' || inForce === undefined;
    if (!user.blind && known) same(inForce?.id, newest?.id, `the password in force of ${user.name}`);
    const stored = await redis.hgetall(keys.user(user.name === 'bob' ? 'v1-org' : 'v2-org', user.name));
    same((stored.v1 ?? stored.v2)?.split(':')[1], user.applied?.job.id, `the stored highest of ${user.name}`);
    same(stored.leaseToken, user.lease?.token, `the stored lease of ${user.name}`);
    same(stored.openJob, user.open?.job.id, `the stored attempt of ${user.name}`);
  }
  for (const job of jobs) {
    const stored = await world.ledger.job(job.id);
    if (job.row !== undefined) {
      same(stored !== undefined, job.record, `has the row ${job.id} a record`);
      const found = await world.scene.pages.read(runId, 0);
      const bytes = endAt(found?.ends ?? Buffer.alloc(0), job.row - 1);
      same(
        unpackRow({ current: Buffer.alloc(32, 7) }, runId, job.row, bytes)?.replace('job_', ''),
        job.ending,
        `the end of the row ${job.id}`,
      );
      if (!job.record) continue;
    }
    const real = `${stored?.starts} starts, ${stored?.attempts} attempts, ${stored?.outcome && endingOf(stored.outcome)}`;
    same(real, `${job.starts} starts, ${job.attempts} attempts, ${job.ending}`, `the record of ${job.id}`);
    if ((stored?.starts ?? 0) < 0) fail(`${job.id} has less than no starts`);
  }
  same(await redis.zcard(keys.open), jobs.filter(({ ending, record }) => record && !ending).length, 'open jobs');
  for (const org of ['v1-org', 'v2-org']) {
    const open = jobs.filter((job) => job.org === org && job.row === undefined && !job.ending);
    const bytes = open.reduce((sum, job) => sum + storedBytes(world.dataOf(job)), 0);
    const load = await readLoad(redis, keys, org);
    same(`${load.jobs} ${load.bytes}`, `${open.length} ${bytes}`, `what ${org} has open`);
  }
  if (world.run) {
    const view = await world.scene.runs.view(runId);
    const { accepted, finished, inflight, closed, state, endings: e } = world.run;
    const real = [view?.accepted, view?.rejected, view?.finished, view?.inflight];
    const ends = [view?.set, view?.superseded, view?.failed, view?.expired, view?.canceled];
    same(real.join(), [accepted, 1, finished, inflight].join(), 'the counters of the run (P8)');
    same(ends.join(), [e.set, e.superseded, e.refused, e.expired, e.run_canceled].join(), 'the ends of the rows (P8)');
    same(view?.state, state === 'running' && !closed ? 'receiving' : state, 'the state of the run');
  }
  const names = people.flatMap(({ name }) =>
    ['v1-org', 'v2-org'].flatMap((org) => [keys.user(org, name), keys.repair(org, name)]),
  );
  const others = [keys.sequence, keys.open, keys.inverted, keys.failedSecrets, keys.run(runId), keys.page(runId, 0)];
  others.push(keys.pageSecret(runId, 0), keys.pageEnds(runId, 0), keys.activeRuns, keys.events, keys.orgRuns('v2-org'));
  others.push(keys.counted, keys.load, keys.rowTurns);
  const failed = [keys.failed('v1-org'), keys.failed('v2-org')];
  await redis.unlink(...names, ...others, ...failed, ...jobs.map(({ id }) => keys.job(id)), ...more);
}
