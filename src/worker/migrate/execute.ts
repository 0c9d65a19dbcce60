import { createDivergences } from '../../ledger/divergence.ts';
import { follower, stageOfUser } from '../../stage.ts';
import { trace } from '../../trace.ts';
import type { TryEnd } from '../mirror-turn.ts';
import type { createUserMaker } from './create-user.ts';
import type { MigrateDeps, MigrationRow, RowSaid } from './row.ts';

/** Somebody writes this user now; looked at again soon. */
const busyMs = 250;
/** Where there is nothing to be brought over, nobody is behind either. */
const nothingToBring = new Set(['no_hash', 'user_deleted']);

/** Rows of a migration that is carried out: each user is brought in step under the lease, and a probe tells first whether a login would work. */
export function createExecute(
  { redis, keys, runs, lanes, stages, inStep, probe, holds, lockouts, log }: MigrateDeps,
  createUser: ReturnType<typeof createUserMaker>,
) {
  const divergences = createDivergences(redis, keys);

  return async (row: MigrationRow, signal: AbortSignal): Promise<RowSaid> => {
    const { at, data, head } = row;
    const { run } = head;
    const placed = await stages.of(at.org);
    const stage = stageOfUser(placed, at.org, at.user);
    if (!follower(stage)) {
      // Some of its users are a step further or not as far; where all of them are, nothing of it may go on.
      if (follower(placed.stage)) return refused('not_followed');
      await stages.moved(at.org);
      if (follower((await stages.of(at.org)).stage)) return { waits: 'stage_moved', ms: 1 };
      if (await runs.hold(run, 'stage_not_dual'))
        log.warn({ runId: run, org: at.org }, 'a migration holds: the stage of the organization is not a dual one');
      return { waits: 'stage_moved', ms: busyMs };
    }

    let sentAt: number | undefined;
    const before = async (hash: { kind: string; cost: Record<string, number> }) => {
      const backend = lanes.v2?.backend;
      if (backend) await probe(data, { by: '', ...hash }, backend, signal);
      sentAt = performance.now();
    };
    let end: TryEnd | { kind: 'created' } = await inStep.mirror(at, signal, before);
    if (sentAt !== undefined) await holds.took(run, row.options, performance.now() - sentAt);
    if (end.kind === 'refused' && end.reason === 'user_missing_in_v2' && head.migration?.create) {
      end = await createUser(row, before, signal);
    }

    switch (end.kind) {
      case 'waits':
        if (end.reason !== 'backend_forbidden') await holds.met({ run, org: at.org }, end.reason);
        else if (await holds.lacks({ run, org: at.org }, row.options, end.asked ?? false)) {
          // Brought in step by itself once the permission is there.
          const cause = end.reason;
          await divergences.note(at, { follower: 'v2', seq: '0', tries: 1, cause }, end.ms);
          return refused(cause);
        }
        return { waits: end.reason, ms: end.reason === 'busy' ? busyMs : end.ms };
      case 'mirrored':
      case 'unchanged':
      case 'created': {
        await holds.met({ run, org: at.org });
        if (!('locked' in end && end.locked)) lockouts.note(run, at);
        trace('migration:row', { jobId: data.jobId, reason: end.kind });
        const result = end.kind === 'unchanged' ? 'unchanged' : 'mirrored';
        // A change of our own that was on its way: nobody else wrote v1.
        const verdict = end.kind === 'mirrored' && end.ours ? 'followed' : end.kind;
        return { end: result, counter: result, verdict, more: [] };
      }
      case 'refused': {
        if (end.reason === 'ability_missing') {
          await runs.hold(run, 'target_unsupported');
          return { waits: end.reason, ms: 1_000 };
        }
        if (!nothingToBring.has(end.reason)) {
          await divergences.note(at, { follower: 'v2', seq: end.seq, tries: 1, cause: end.reason }, undefined);
        }
        return refused(end.reason);
      }
    }
  };
}

const refused = (reason: string): RowSaid => ({ end: reason, counter: 'failed', verdict: reason, more: [] });
