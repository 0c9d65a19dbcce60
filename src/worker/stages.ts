import type { BackendName } from '../job.ts';
import type { Placed, StageTable } from '../ledger/stages.ts';
import { configured, leader, type Stages } from '../stage.ts';

/** Looked at again after so long by those who only ask where a run goes, ms. */
const freshMs = 1_000;
const mostKept = 10_000;

export type KnownStages = ReturnType<typeof createKnownStages>;

/**
 * Where organizations stand, remembered: a start of a job compares the setting in the step in which it gets its lease, so what is
 * remembered may be old and never wrong.
 */
export function createKnownStages(table: Pick<StageTable, 'of'>, stages: Stages) {
  const known = new Map<string, { placed: Placed; at: number; asking?: boolean }>();

  async function ask(org: string): Promise<Placed> {
    const placed = await table.of(org, stages);
    if (known.size >= mostKept) known.clear();
    known.set(org, { placed, at: performance.now() });
    return placed;
  }

  return {
    /** Errors: `redis_down`, `stage_forged`. */
    of: async (org: string): Promise<Placed> => known.get(org)?.placed ?? ask(org),

    /** A start was told that another setting goes. */
    moved: (org: string): Promise<Placed> => ask(org),

    /** The backend that decides now, as far as this worker knows; it looks again in the background. */
    leaderOf(org: string): BackendName {
      const last = known.get(org);
      if (!last || (performance.now() - last.at > freshMs && !last.asking)) {
        if (last) last.asking = true;
        ask(org).catch(() => {
          if (last) last.asking = false;
        });
      }
      return leader(last?.placed.stage ?? configured(stages, org).stage);
    },
  };
}
