import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { PassferryError } from '../../src/errors.ts';
import { failure, isFailure, type Outcome, type SetPasswordData } from '../../src/job.ts';
import { redisKeys } from '../../src/keys.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import type { Ending, ModelJob, ModelRun, ModelUser } from './ledger-model.ts';
import * as model from './ledger-model.ts';
import { pageScene } from './pages.ts';

/** One start of one job by some worker, which may have lost its lease long ago. */
export interface Start {
  job: ModelJob;
  token: string;
  phase: 'begun' | 'settling' | 'sent' | 'landed' | 'applied' | 'refused' | 'unreached' | 'ended';
  /** v2: the request may still have its effect. */
  inFlight: boolean;
  /** The user's change time that the attempt is recorded with. */
  before: number;
  changedAt: number;
}

/** A user and what its backend holds. */
export interface Person extends ModelUser {
  /** Jobs in the order of their effects; the last one's password is in force. */
  landed: ModelJob[];
  /** Time of the last effect. */
  changedAt: number;
  /** An effect was never settled within the time that others wait for it: the order is not promised any more. */
  blind: boolean;
}

const startLimit = 4;
const retentionMs = 600_000;
export type World = ReturnType<typeof createWorld>;

/** The real scripts in a namespace of their own beside the model: what is done is done to both, and must be the same. */
export function createWorld(redis: Redis) {
  const keys = redisKeys(`m${randomBytes(8).toString('hex')}`);
  const ledger = createLedger({ redis, keys, jobKey: { current: Buffer.alloc(32, 7) }, retentionMs });
  const scene = pageScene(redis, keys, { current: Buffer.alloc(32, 7) }, retentionMs);
  const history: string[] = [];
  const person = (name: string): Person => ({ name, landed: [], changedAt: 0, blind: false });
  const [ann, bob, cyd] = [person('ann'), person('bob'), person('cyd')];
  const jobs: ModelJob[] = [];
  const data = new Map<ModelJob, SetPasswordData>();
  const outcomes = new Map<ModelJob, Outcome>();
  const starts: Start[] = [];

  const say = (text: string) => void history.push(text);
  function fail(what: string): never {
    throw new Error(`${what}, after\n  ${history.join('\n  ')}\n`);
  }
  function same(real: unknown, expected: unknown, what: string): void {
    if (real !== expected) fail(`${what}: ${String(real)}, by the model ${String(expected)}`);
  }
  const personOf = (job: ModelJob) => job.user as Person;
  const dataOf = (job: ModelJob) => data.get(job) as SetPasswordData;
  const backendOf = (job: ModelJob) => (job.exact ? 'v1' : 'v2');

  const world = {
    ...{
      redis,
      keys,
      ledger,
      scene,
      people: [ann, bob, cyd] as const,
      jobs,
      starts,
      say,
      fail,
      same,
      personOf,
      dataOf,
    },
    run: undefined as ModelRun | undefined,

    /** A job as the ledger accepted it. Bob lives in v1, the others in v2. */
    accepted(id: string, user: Person, reply: { seq: string; acceptedAt: number }, row?: SetPasswordData): ModelJob {
      const exact = user === bob;
      const org = exact ? 'v1-org' : 'v2-org';
      const seq = BigInt(reply.seq);
      if (jobs.some((other) => other.seq >= seq)) fail(`the sequence of ${id} went back (P3)`);
      const job: ModelJob = {
        ...{ id, org, user, exact, seq, expired: false, starts: 0, attempts: 0, attempt: false },
        ...{ uncertain: false, record: row === undefined },
        ...(row?.row !== undefined && { row: row.row }),
      };
      jobs.push(job);
      data.set(
        job,
        row ?? {
          ...{ v: 1, name: 'set-password', jobId: id, caller: 'c', org, user: user.name, seq: reply.seq },
          ...{
            acceptedAt: reply.acceptedAt,
            expiresAt: reply.acceptedAt + 600_000,
            changeRequired: true,
            admin: false,
          },
          ...{ overwriteNewer: false, dataKey: 'd', sealed: 's', mac: 'm' },
        },
      );
      say(`accept ${id} for ${user.name}`);
      return job;
    },

    async begin(job: ModelJob): Promise<Start | undefined> {
      const token = `t${starts.length}`;
      const user = personOf(job);
      const begun = await ledger.begin(dataOf(job), {
        ...{ token, leaseMs: 600_000, backend: backendOf(job), exact: job.exact, startLimit },
      });
      say(`start ${job.id} (${user.name}) as ${token}: ${begun.kind}`);
      const other = starts.find((each) => each.inFlight && each.job.user === user && each.job !== job);
      if (begun.kind === 'go' && other) fail(`${job.id} may start while ${other.job.id} is being sent`);
      if (begun.kind === 'go' && user.lease && user.lease.live && user.lease.job !== job)
        fail('two leases of one user');
      same(begun.kind, model.begin(job, token, startLimit, world.run), `the start of ${job.id}`);
      if (begun.kind === 'done') {
        same(endingOf(begun.outcome), job.ending, `the outcome of ${job.id}`);
        // Of a row's end no time is kept.
        if (job.row === undefined)
          same(begun.outcome.at, outcomes.get(job)?.at, `the time of the outcome of ${job.id}`);
      }
      if (begun.kind === 'expired' || begun.kind === 'superseded') await world.commit({ job, token }, begun.kind);
      if (begun.kind === 'canceled') await world.commit({ job, token }, 'run_canceled');
      if (begun.kind !== 'go') return undefined;
      same(begun.starts, job.starts, `starts of ${job.id}`);
      same(begun.attempt !== undefined, job.attempt, `is an attempt of ${job.id} open`);
      same(begun.applied?.jobId, user.applied?.job.id, `what was applied for ${user.name}`);
      const before = begun.attempt?.before ?? Math.max(user.changedAt, begun.applied?.changedAt ?? 0);
      const start: Start = {
        ...{ job, token, phase: begun.attempt ? 'settling' : 'begun', inFlight: false, before, changedAt: 0 },
      };
      starts.push(start);
      return start;
    },

    async record({ job, token, before }: Start): Promise<boolean> {
      const real = await ledger.recordAttempt(dataOf(job), token, 20_000, before).then(
        () => true,
        (error: PassferryError) => (error.reason === 'lease_lost' ? false : fail(error.message)),
      );
      same(real, model.record(job, token), `may ${job.id} be sent`);
      if (real && job.ending) fail(`${job.id} is sent after its end (P2)`);
      if (real && starts.some((each) => each.inFlight && each.job.user === job.user)) {
        fail(`two requests for ${job.user.name} at once (P2)`);
      }
      return real;
    },

    async close({ job, token }: Start, mayLand: boolean): Promise<void> {
      await ledger.closeAttempt(dataOf(job), token, mayLand);
      model.close(job, token, mayLand);
    },

    async release({ job, token }: Start, why: string, effect: 'none' | 'unknown' = 'unknown'): Promise<void> {
      await ledger.release(dataOf(job), token, why, effect);
      model.release(job, token, effect, world.run);
    },

    async commit(
      { job, token }: Pick<Start, 'job' | 'token'>,
      ending: Ending,
      how: { changedAt?: number; assumed?: boolean; countAttempt?: boolean } = {},
    ): Promise<void> {
      const { assumed = false, ...more } = how;
      // What rests on reading, or on a refusal without a fence, counts only under the lease.
      const underLease = !job.exact && (assumed || ending === 'refused');
      const given = { ...more, ...(token !== '' && { token }), repairable: !job.exact, underLease };
      const real = await ledger
        .commit(dataOf(job), outcomeOf(ending, backendOf(job), assumed), given)
        .catch((error: PassferryError) => (error.reason === 'lease_lost' ? undefined : fail(error.message)));
      const lost = underLease && !model.leads(job, token);
      same(real === undefined, lost, `has ${job.id} lost its lease`);
      if (!real) return say('  lost its lease');
      const told = endingOf(real);
      say(`  ${job.id} ends ${told}`);
      same(told, model.commit(job, ending, { ...how, token, run: world.run }), `the outcome of ${job.id}`);
      const first = outcomes.get(job);
      if (first && job.row === undefined && first.at !== real.at) fail(`${job.id} has a second outcome (P6)`);
      outcomes.set(job, real);
      const worked = ({ seq, user, ending: end }: ModelJob) => seq > job.seq && user === job.user && end === 'set';
      const newer = jobs.some(worked) || personOf(job).landed.some(({ seq }) => seq > job.seq);
      if (!first && told === 'superseded' && !newer) fail(`${job.id} is superseded by nothing (P3)`);
    },

    /** The effect itself: v1 has a fence and remembers jobs, v2 takes whatever arrives. */
    land(start: Start): void {
      const { job } = start;
      const user = personOf(job);
      const isOlder = user.landed.some(({ seq }) => seq > job.seq);
      if (job.exact && (isOlder || user.landed.includes(job))) return;
      say(`  ${job.id} takes effect`);
      if (!user.blind && isOlder) fail(`${job.id} overwrites a newer password (P3)`);
      if (!user.blind && user.landed.includes(job)) fail(`${job.id} has a second effect (P2)`);
      user.landed.push(job);
      user.changedAt += 10;
      start.changedAt = user.changedAt;
    },
  };
  return world;
}

function outcomeOf(ending: Ending, backend: 'v1' | 'v2', assumed: boolean): Outcome {
  if (ending === 'set' || ending === 'superseded') {
    return { result: ending, inEffect: ending === 'set', backend, at: 0, ...(assumed && { assumed }) };
  }
  return failure(new PassferryError(ending === 'expired' ? 'job_expired' : ending), 0, backend);
}

export function endingOf(outcome: Outcome): string {
  return isFailure(outcome) ? outcome.reason.replace('job_', '') : outcome.result;
}
