import { nextStage, type Stage, type StageSetting, stageNames } from '../../stage.ts';

export interface Move {
  from: Stage;
  to: Stage;
}

type Spot = Pick<StageSetting, 'stage' | 'percent'>;

/** What the change of a setting means for users: each move that any of them makes, once. */
export function movesOf(before: Spot, next: Spot): Move[] {
  const moves = new Map<string, Move>();
  // Who goes first is the same for ever, so a hundred places stand for everybody.
  for (let place = 0; place < 100; place++) {
    const [from, to] = [at(before, place), at(next, place)];
    if (from !== to) moves.set(`${from} ${to}`, { from, to });
  }
  return [...moves.values()];
}

const at = ({ stage, percent }: Spot, place: number): Stage => (place < percent ? (nextStage(stage) ?? stage) : stage);

/** One step, in either direction. @param twoOnly no hash can be read in v1: there are but two stages. */
export function isOneStep({ from, to }: Move, twoOnly: boolean): boolean {
  if (twoOnly && from === 'v1' && to === 'v2') return true;
  return Math.abs(stageNames.indexOf(from) - stageNames.indexOf(to)) === 1;
}

/** Of somebody at v2 nothing is written in v1 any more. */
export const leavesV2 = ({ from }: Move): boolean => from === 'v2';
