import type { Stage, StageSetting } from '../../stage.ts';
import { abilitiesOf } from './abilities.ts';
import type { StepFacts } from './facts.ts';
import { ofMove, type Tell } from './move-conditions.ts';
import { isOneStep, leavesV2, movesOf } from './moves.ts';

/** What a step asks for. In the order in which they are told. */
export const conditionNames = [
  'one_step',
  'v2_is_final',
  'stage_known',
  'org_known',
  'worker_alive',
  'v1_readable',
  'workers_can',
  'drained',
  'backfilled',
  'caught_up',
  'nobody_behind',
  'ahead_known',
  'nobody_ahead',
  'proof_green',
  'final_confirmed',
] as const;
export type ConditionName = (typeof conditionNames)[number];

export interface Condition {
  condition: ConditionName;
  holds: boolean;
  /** What was found. */
  why: string;
  /** What to do; empty when it holds. */
  todo: string;
  /** `force` with a reason goes over it. */
  forcible: boolean;
}

export interface AskedStep {
  stage: Stage;
  percent: number;
  /** Nobody but us writes v1: somebody says so, with a reason. */
  writersStopped?: boolean;
  /** v2 is final: somebody knows. */
  confirmed?: boolean;
}

/** Nothing goes over these: a skipped stage writes one side only, v2 has no way back, and what cannot be done is not done by force. */
const never = new Set<ConditionName>(['one_step', 'v2_is_final', 'v1_readable', 'workers_can', 'final_confirmed']);

/** Every condition of a step, those that hold too. @param found `forged`: what stands is not ours; undefined: nobody tells where it stands. */
export function conditionsOf(
  asked: AskedStep,
  placed: StageSetting | 'forged' | undefined,
  facts: StepFacts,
): Condition[] {
  const before = placed === 'forged' ? undefined : placed;
  const moves = before ? movesOf(before, asked) : [];
  const lanes = abilitiesOf(facts.beats);
  const twoOnly = lanes.v1 !== undefined && !lanes.v1.has('readHash');
  const found: Condition[] = [];
  const tell: Tell = (condition, holds, why, todo, forcible = !never.has(condition)) => {
    if (found.some((each) => each.condition === condition)) return;
    found.push({ condition, holds, why, todo: holds ? '' : todo, forcible });
  };

  const skips = moves.filter((move) => !leavesV2(move) && !isOneStep(move, twoOnly));
  tell(
    'one_step',
    skips.length === 0,
    skips.length === 0
      ? 'Nobody skips a stage.'
      : `Some users would go from ${skips[0]?.from} to ${skips[0]?.to} at once.`,
    'Go one stage at a time: first the stage for everybody (percent 0), then percent of the next one.',
  );
  if (moves.some(leavesV2)) {
    tell(
      'v2_is_final',
      false,
      'Nothing was written in v1 for users at v2: its passwords are old.',
      'There is no way back from v2.',
    );
  }
  if (!before) {
    const forged = placed === 'forged';
    tell(
      'stage_known',
      false,
      forged
        ? 'The setting that stands in Redis is not signed by us.'
        : 'No worker tells where it stands, and it was never set.',
      forged
        ? 'Workers put it back from their copy within a minute. Else look into the audit log where it stood, and force that with a reason.'
        : 'Start `passferry work`.',
      forged,
    );
  }
  tell(
    'org_known',
    facts.known,
    facts.known
      ? 'It is known.'
      : 'No caller is granted it, no configuration names it, and nothing was ever asked of it.',
    'Look at the id; force it with a reason when it is right.',
  );
  const alive = facts.beats.filter(({ kind, ready }) => kind === 'worker' && ready);
  tell(
    'worker_alive',
    alive.length > 0,
    alive.length > 0 ? `${alive.length} alive.` : 'No worker takes jobs now.',
    'Start `passferry work`.',
  );
  for (const move of moves) ofMove(move, { asked, before, facts, lanes, twoOnly, tell });
  return found.sort((a, b) => conditionNames.indexOf(a.condition) - conditionNames.indexOf(b.condition));
}
