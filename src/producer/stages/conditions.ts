import type { BackendName } from '../../job.ts';
import type { Beat } from '../../ledger/beats.ts';
import type { Stage, StageSetting } from '../../stage.ts';
import type { OrgFacts, StepFacts } from './facts.ts';
import { isOneStep, leavesV2, type Move, movesOf } from './moves.ts';

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

/** A scan is fresh for so long, ms. */
const freshMs = 10 * 60_000;

/** A v1 of which no hash can be read. */
export const twoStagesOnly =
  'No hash can be read from this v1 (a ZITADEL): it has the stages v1 and v2 only. On one and the same instance the switch moves no data.';

/** Every condition of a step, those that hold too. @param found `forged`: what stands is not ours; undefined: nobody tells where it stands. */
export function conditionsOf(asked: AskedStep, placed: StageSetting | 'forged' | undefined, facts: StepFacts): Condition[] {
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
    skips.length === 0 ? 'Nobody skips a stage.' : `Some users would go from ${skips[0]?.from} to ${skips[0]?.to} at once.`,
    'Go one stage at a time: first the stage for everybody (percent 0), then percent of the next one.',
  );
  if (moves.some(leavesV2)) {
    tell('v2_is_final', false, 'Nothing was written in v1 for users at v2: its passwords are old.', 'There is no way back from v2.');
  }
  if (!before) {
    const forged = placed === 'forged';
    tell(
      'stage_known',
      false,
      forged ? 'The setting that stands in Redis is not signed by us.' : 'No worker tells where it stands, and it was never set.',
      forged
        ? 'Workers put it back from their copy within a minute. Else look into the audit log where it stood, and force that with a reason.'
        : 'Start `passferry work`.',
      forged,
    );
  }
  tell('org_known', facts.known, facts.known ? 'It is known.' : 'No caller is granted it, no configuration names it, and nothing was ever asked of it.', 'Look at the id; force it with a reason when it is right.');
  const alive = facts.beats.filter(({ kind, ready }) => kind === 'worker' && ready);
  tell('worker_alive', alive.length > 0, alive.length > 0 ? `${alive.length} alive.` : 'No worker takes jobs now.', 'Start `passferry work`.');
  for (const move of moves) ofMove(move, { asked, before, facts, lanes, twoOnly, tell });
  return found.sort((a, b) => conditionNames.indexOf(a.condition) - conditionNames.indexOf(b.condition));
}

interface MoveParts {
  asked: AskedStep;
  before: StageSetting | undefined;
  facts: StepFacts;
  lanes: Lanes;
  twoOnly: boolean;
  tell: Tell;
}

type Tell = (condition: ConditionName, holds: boolean, why: string, todo: string, forcible?: boolean) => void;

function ofMove({ from, to }: Move, { asked, before, facts, lanes, twoOnly, tell }: MoveParts): void {
  const { orgs, now } = facts;
  const dual = to === 'dual-v1' || to === 'dual-v2';
  if (dual) {
    tell('v1_readable', !twoOnly, twoOnly ? twoStagesOnly : 'Hashes can be read in v1.', 'Go from v1 to v2 when both are one instance.');
  }
  const lacking = needsOf(to).filter(([backend, ability]) => !can(lanes, backend, ability));
  tell(
    'workers_can',
    lacking.length === 0,
    lacking.length === 0 ? 'All workers have what it needs.' : `Workers lack: ${lacking.map((each) => each.join(' ').trim()).join(', ')}.`,
    'Give every worker both backends (PASSFERRY_V1_URL, PASSFERRY_V2_URL), writable, and this version.',
  );
  if (from === 'dual-v1' && to === 'v1') return;
  if (from === 'v1' && to === 'dual-v1') return;

  const draining = orgs.filter((each) => each.draining.leases > 0);
  const leases = draining.reduce((sum, each) => sum + each.draining.leases, 0);
  const endsInMs = Math.max(0, ...draining.map((each) => each.draining.endsInMs));
  tell('drained', leases === 0, leases === 0 ? 'No write goes by an older setting.' : `${leases} writes go by an older setting, until ${Math.ceil(endsInMs / 1_000)} s from now at most.`, 'Wait: `passferry stages show`.');

  if (from === 'dual-v1' && to === 'dual-v2') {
    const since = before?.dualSince ?? Number.POSITIVE_INFINITY;
    const without = orgs.filter(({ seen }) => !seen || seen.startedAt < since);
    const left = orgs.filter((each) => !without.includes(each) && (each.seen?.notInStep ?? 0) > 0);
    tell(
      'backfilled',
      without.length + left.length === 0,
      without.length > 0
        ? `No run has seen everybody since both are written: ${names(without)}.`
        : left.length > 0
          ? `The last run left users who are not in step: ${names(left, ({ seen }) => seen?.notInStep ?? 0)}.`
          : 'A run has seen everybody since both are written, and left nobody.',
      '`passferry migrate --execute`, then look at its rejects.',
    );
    const stale = orgs.filter(({ seen }) => !seen || seen.differences > 0 || now - seen.completedAt > freshMs);
    const said = asked.writersStopped === true;
    tell(
      'caught_up',
      said || stale.length === 0,
      said ? 'Nobody else writes v1, by the word of whoever asks.' : stale.length === 0 ? 'The last scan found no difference, within 10 min.' : `No scan of the last 10 min without a difference: ${names(stale)}.`,
      '`passferry migrate --execute` until it finds no difference; or stop what else writes v1 and say so (writersStopped, with a reason).',
    );
  }
  const lacks: BackendName = to === 'dual-v1' ? 'v1' : 'v2';
  if (dual || to === 'v2') {
    const behind = orgs.filter(({ tally }) => tally.lasting[lacks] > 0);
    tell(
      'nobody_behind',
      behind.length === 0,
      behind.length === 0 ? `Nobody's newest password is missing in ${lacks}.` : `Users whose newest password is missing in ${lacks}: ${names(behind, ({ tally }) => tally.lasting[lacks])}.`,
      '`passferry divergence list`, repair the causes, `passferry divergence redrive`.',
    );
  }
  if (from === 'dual-v2' && to === 'dual-v1') {
    const since = before?.since ?? 0;
    const unseen = orgs.filter(({ seen }) => !seen || seen.startedAt < since || now - seen.completedAt > freshMs);
    tell(
      'ahead_known',
      unseen.length === 0,
      unseen.length === 0 ? 'Within 10 min it was looked who changed the password in v2 itself.' : `Nobody has looked within 10 min who changed the password in v2 itself: ${names(unseen)}.`,
      '`passferry migrate --reconcile`; or force it with a reason: they would lose that password.',
    );
    const ahead = orgs.filter(({ tally }) => tally.ahead > 0);
    tell(
      'nobody_ahead',
      ahead.length === 0,
      ahead.length === 0 ? 'Nobody is known to have changed the password in v2 itself.' : `Users who changed their password in v2 itself and would lose it: ${names(ahead, ({ tally }) => tally.ahead)}.`,
      '`passferry divergence list --cause ahead`; force it with a reason, and tell them.',
    );
    return;
  }
  const failed = orgs.flatMap(({ proofFailed }) => proofFailed);
  tell('proof_green', failed.length === 0, failed.length === 0 ? 'No run holds because a login did not work.' : `A login did not work: ${failed.slice(0, 3).join(', ')}.`, 'Find out why before anybody has to log in there.');
  if (to === 'v2') {
    const also = twoOnly ? ` ${twoStagesOnly}` : '';
    tell('final_confirmed', asked.confirmed === true, asked.confirmed ? 'Whoever asks knows that v2 is final.' : `v2 is final: from the first write on v1 has old passwords, and there is no way back.${also}`, 'Say so: confirm: "final" (--yes-final).');
  }
}

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
const needsOf = (to: Stage) => needs[to];

type Lanes = Partial<Record<BackendName, Set<string>>> & { workers: number };

/** What every worker that is alive can do; a backend that one of them lacks is missing. */
function abilitiesOf(beats: Beat[]): Lanes {
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
function can(lanes: Lanes, backend: BackendName, ability: string): boolean {
  if (lanes.workers === 0) return true;
  const lane = lanes[backend];
  return lane !== undefined && (ability === '' || lane.has(ability));
}

/** Some organizations by name. */
function names(orgs: OrgFacts[], number?: (org: OrgFacts) => number): string {
  const told = orgs.slice(0, 5).map((each) => (number ? `${each.org} (${number(each)})` : each.org));
  return orgs.length > 5 ? `${told.join(', ')} and ${orgs.length - 5} more` : told.join(', ');
}
