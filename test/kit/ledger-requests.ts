import type { PassferryError } from '../../src/errors.ts';
import type { ModelJob } from './ledger-model.ts';
import * as model from './ledger-model.ts';
import type { World } from './ledger-world.ts';

export const runId = `r0-${'0'.repeat(26)}`;

export const pick = <T>(all: readonly T[], which: number): T | undefined => all[which % Math.max(1, all.length)];

/** Six idempotency keys and one run of three rows and one that was refused. */
export function acceptor(world: World) {
  const [ann, bob, cyd] = world.people;
  const requests = [ann, ann, bob, bob, cyd, ann].map((user, i) => ({
    ...{ key: `k${i}`, user, misses: 0, job: undefined as ModelJob | undefined },
  }));
  const people = [ann, bob, cyd];
  let rows: ModelJob[] | undefined;
  let pages = 0;

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

    /** The file is sent, from its beginning. */
    async rows(): Promise<void> {
      const file = people.map(({ name }, i) => ({ line: i + 2, user: name, ...(name === 'bob' && { org: 'v1-org' }) }));
      pages = await world.scene.store({ id: runId, org: 'v2-org' }, [...file, { line: 5, refused: 'user_id_missing' }]);
      if (rows) return;
      const endings = { set: 0, superseded: 0, refused: 0, expired: 0, run_canceled: 0 };
      world.run = { state: 'running', accepted: 3, finished: 0, inflight: 0, closed: false, endings };
      rows = [];
      for (const [i, user] of people.entries()) {
        const data = await world.scene.job(runId, i + 1);
        rows.push(world.accepted(data.jobId, user, data, data));
      }
    },

    async closeInput(): Promise<void> {
      if (!world.run) return;
      await world.scene.runs.closeInput(runId, pages);
      world.run.closed = true;
      model.settle(world.run);
    },

    async order(which: number): Promise<void> {
      if (!world.run) return;
      const what = pick(['pause', 'resume', 'pause', 'resume', 'cancel'] as const, which) as 'pause';
      const told = await world.scene.runs.order(runId, what).then(
        () => true,
        (error: PassferryError) => error.reason !== 'run_ended',
      );
      world.same(told, model.order(world.run, what), `may the run be told to ${what}`);
      world.say(`${what}: the run is ${world.run.state}`);
    },
  };
}
