import type { PassferryError } from '../../src/errors.ts';
import type { ModelJob } from './ledger-model.ts';
import type { Person, World } from './ledger-world.ts';

export const pick = <T>(all: readonly T[], which: number): T | undefined => all[which % Math.max(1, all.length)];

/** Six idempotency keys and one run of three rows. */
export function acceptor(world: World) {
  const [ann, bob, cyd] = world.people;
  const requests = [ann, ann, bob, bob, cyd, ann].map((user, i) => ({
    ...{ key: `k${i}`, user, misses: 0, job: undefined as ModelJob | undefined },
  }));
  const people = [ann, bob, cyd];
  let chunk: { jobs: ModelJob[]; expiresAt: number } | undefined;
  const describe = (jobs: ModelJob[]) =>
    jobs.map(({ id, seq, ending }) => `${id} ${seq} ${ending !== undefined}`).join();

  return {
    keyNames: () => requests.map(({ key }) => world.keys.idempotency(key)),

    async request(which: number, other: boolean): Promise<void> {
      const request = pick(requests, which) as (typeof requests)[0];
      const { user, key } = request;
      const jobId = `j${world.jobs.length}`;
      const org = user === bob ? 'v1-org' : 'v2-org';
      const isOther = other && request.job !== undefined;
      const reply = await world.ledger
        .reserve({
          ...{ keyDigest: key, jobId, fingerprint: isOther ? 'f.other' : 'f.same', caller: 'c', org },
          ...{ user: user.name, expiresInMs: 600_000 },
        })
        .catch((error: PassferryError) => error.reason);
      const refused = request.misses >= 5 ? 'idempotency_key_locked' : isOther ? 'idempotency_key_reused' : undefined;
      if (refused || typeof reply === 'string') {
        world.say(`accept under ${key} again: ${typeof reply === 'string' ? reply : 'taken'}`);
        if (refused === 'idempotency_key_reused') request.misses++;
        return world.same(reply, refused, `the answer under ${key}`);
      }
      const isNew = !request.job || request.job.ending === 'expired';
      world.same(reply.replayed, !isNew, `a repeat under ${key}`);
      if (isNew) request.job = world.accepted(jobId, user, reply);
      else
        world.same(
          `${reply.jobId} ${reply.done}`,
          `${request.job?.id} ${!!request.job?.ending}`,
          'the job of a repeat',
        );
    },

    async rows(): Promise<void> {
      if (!chunk) {
        const { expiresAt } = await world.runs.open({ id: 'r', caller: 'c', org: 'v2-org', expiresInMs: 600_000 });
        world.run = {
          accepted: 3,
          finished: 0,
          closed: false,
          endings: { set: 0, superseded: 0, refused: 0, expired: 0 },
        };
        chunk = { jobs: [], expiresAt };
      }
      const first = world.jobs.length;
      const rows = people.map((user, i) => ({
        jobId: chunk?.jobs[i]?.id ?? `j${first + i}`,
        ...{ row: i + 1, org: user === bob ? 'v1-org' : 'v2-org', user: user.name },
      }));
      const reply = await world.ledger.reserveRows({ run: 'r', caller: 'c', expiresAt: chunk.expiresAt }, rows);
      if (chunk.jobs.length === 0) {
        chunk.jobs = reply.map((row, i) => world.accepted(row.jobId, people[i] as Person, row, row.row));
      }
      const told = reply.map(({ jobId, seq, done }) => `${jobId} ${seq} ${done}`).join();
      world.same(told, describe(chunk.jobs), 'the rows of the run');
    },

    async closeInput(): Promise<void> {
      if (!world.run || !chunk) return;
      await world.runs.closeInput('r');
      world.run.closed = true;
    },
  };
}
