import type { BackendName } from '../../job.ts';
import type { Beat } from '../../ledger/beats.ts';
import type { Stage } from '../../stage.ts';

const needs: Record<Stage, [BackendName, string][]> = {
  v1: [['v1', '']],
  'dual-v1': [
    ['v1', 'readHash'],
    ['v2', 'readUser'],
    ['v2', 'setHash'],
  ],
  'dual-v2': [
    ['v1', 'readHash'],
    ['v1', 'setHash'],
    ['v1', 'makeHash'],
    ['v2', 'readUser'],
    ['v2', 'setHash'],
  ],
  v2: [['v2', '']],
};
/** What a stage asks of the backends that are written. */
export const needsOf = (to: Stage): [BackendName, string][] => needs[to];

/** What all workers can, by backend. */
export type Lanes = Partial<Record<BackendName, Set<string>>> & { workers: number };

/** What every worker that is alive can do; a backend that one of them lacks is missing. */
export function abilitiesOf(beats: Beat[]): Lanes {
  const workers = beats.filter(({ kind }) => kind === 'worker');
  const lanes: Lanes = { workers: workers.length };
  for (const backend of ['v1', 'v2'] as const) {
    const told = workers.map(({ lanes: each }) => each[backend]);
    if (told.length === 0 || told.some((each) => each === undefined)) continue;
    const [first, ...others] = told.map((each) => new Set(each?.can ?? []));
    lanes[backend] = new Set([...(first ?? [])].filter((ability) => others.every((each) => each.has(ability))));
  }
  return lanes;
}

/** Where no worker tells, nothing is known to be missing. */
export function can(lanes: Lanes, backend: BackendName, ability: string): boolean {
  if (lanes.workers === 0) return true;
  const lane = lanes[backend];
  return lane !== undefined && (ability === '' || lane.has(ability));
}
