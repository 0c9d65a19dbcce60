import type { BackendName } from '../../job.ts';
import type { StageSetting } from '../../stage.ts';
import { can, type Lanes, needsOf } from './abilities.ts';
import type { AskedStep, ConditionName } from './conditions.ts';
import type { OrgFacts, StepFacts } from './facts.ts';
import type { Move } from './moves.ts';

/** A scan is fresh for so long, ms. */
const freshMs = 10 * 60_000;

/** A v1 of which no hash can be read. */
export const twoStagesOnly =
  'No hash can be read from this v1 (a ZITADEL): it has the stages v1 and v2 only. On one and the same instance the switch moves no data.';

interface MoveParts {
  asked: AskedStep;
  before: StageSetting | undefined;
  facts: StepFacts;
  lanes: Lanes;
  twoOnly: boolean;
  tell: Tell;
}

export type Tell = (condition: ConditionName, holds: boolean, why: string, todo: string, forcible?: boolean) => void;

/** What one move asks for, beside what every step does. */
export function ofMove({ from, to }: Move, { asked, before, facts, lanes, twoOnly, tell }: MoveParts): void {
  const { orgs, now } = facts;
  const dual = to === 'dual-v1' || to === 'dual-v2';
  if (dual) {
    tell(
      'v1_readable',
      !twoOnly,
      twoOnly ? twoStagesOnly : 'Hashes can be read in v1.',
      'Go from v1 to v2 when both are one instance.',
    );
  }
  const lacking = needsOf(to).filter(([backend, ability]) => !can(lanes, backend, ability));
  tell(
    'workers_can',
    lacking.length === 0,
    lacking.length === 0
      ? 'All workers have what it needs.'
      : `Workers lack: ${lacking.map((each) => each.join(' ').trim()).join(', ')}.`,
    'Give every worker both backends (PASSFERRY_V1_URL, PASSFERRY_V2_URL), writable, and this version.',
  );
  if (from === 'dual-v1' && to === 'v1') return;
  if (from === 'v1' && to === 'dual-v1') return;

  const draining = orgs.filter((each) => each.draining.leases > 0);
  const leases = draining.reduce((sum, each) => sum + each.draining.leases, 0);
  const endsInMs = Math.max(0, ...draining.map((each) => each.draining.endsInMs));
  tell(
    'drained',
    leases === 0,
    leases === 0
      ? 'No write goes by an older setting.'
      : `${leases} writes go by an older setting, until ${Math.ceil(endsInMs / 1_000)} s from now at most.`,
    'Wait: `passferry stages show`.',
  );

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
      said
        ? 'Nobody else writes v1, by the word of whoever asks.'
        : stale.length === 0
          ? 'The last scan found no difference, within 10 min.'
          : `No scan of the last 10 min without a difference: ${names(stale)}.`,
      '`passferry migrate --execute` until it finds no difference; or stop what else writes v1 and say so (writersStopped, with a reason).',
    );
  }
  const lacks: BackendName = to === 'dual-v1' ? 'v1' : 'v2';
  if (dual || to === 'v2') {
    const behind = orgs.filter(({ tally }) => tally.lasting[lacks] > 0);
    tell(
      'nobody_behind',
      behind.length === 0,
      behind.length === 0
        ? `Nobody's newest password is missing in ${lacks}.`
        : `Users whose newest password is missing in ${lacks}: ${names(behind, ({ tally }) => tally.lasting[lacks])}.`,
      '`passferry divergence list`, repair the causes, `passferry divergence redrive`.',
    );
  }
  if (from === 'dual-v2' && to === 'dual-v1') {
    const since = before?.since ?? 0;
    const unseen = orgs.filter(({ seen }) => !seen || seen.startedAt < since || now - seen.completedAt > freshMs);
    tell(
      'ahead_known',
      unseen.length === 0,
      unseen.length === 0
        ? 'Within 10 min it was looked who changed the password in v2 itself.'
        : `Nobody has looked within 10 min who changed the password in v2 itself: ${names(unseen)}.`,
      '`passferry migrate reconcile`; or force it with a reason: they would lose that password.',
    );
    const ahead = orgs.filter(({ tally }) => tally.ahead > 0);
    tell(
      'nobody_ahead',
      ahead.length === 0,
      ahead.length === 0
        ? 'Nobody is known to have changed the password in v2 itself.'
        : `Users who changed their password in v2 itself and would lose it: ${names(ahead, ({ tally }) => tally.ahead)}.`,
      '`passferry divergence list --cause ahead`; force it with a reason, and tell them.',
    );
    return;
  }
  const failed = orgs.flatMap(({ proofFailed }) => proofFailed);
  tell(
    'proof_green',
    failed.length === 0,
    failed.length === 0
      ? 'No run holds because a login did not work.'
      : `A login did not work: ${failed.slice(0, 3).join(', ')}.`,
    'Find out why before anybody has to log in there.',
  );
  if (to === 'v2') {
    const also = twoOnly ? ` ${twoStagesOnly}` : '';
    tell(
      'final_confirmed',
      asked.confirmed === true,
      asked.confirmed
        ? 'Whoever asks knows that v2 is final.'
        : `v2 is final: from the first write on v1 has old passwords, and there is no way back.${also}`,
      'Say so: confirm: "final" (--yes-final).',
    );
  }
}

/** Some organizations by name. */
function names(orgs: OrgFacts[], number?: (org: OrgFacts) => number): string {
  const told = orgs.slice(0, 5).map((each) => (number ? `${each.org} (${number(each)})` : each.org));
  return orgs.length > 5 ? `${told.join(', ')} and ${orgs.length - 5} more` : told.join(', ');
}
