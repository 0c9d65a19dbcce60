import type { JobView } from '../src/job.ts';

/** One accepted request, in its user's order of acceptance. */
export interface Change {
  n: number;
  user: string;
  org: string;
  password: string;
  jobId: string;
}

export interface Figures {
  accepted: number;
  outcomes: Record<string, number>;
  /** v2 outcomes settled by reading. */
  assumed: number;
  /** v2 effects beyond one a job that a recorded open attempt explains. */
  repeats: number;
  lost: number;
  withoutOutcome: number;
  innocentsFailed: number;
  extraEffectsV1: number;
  inversionsLeft: number;
  unexplainedExtraEffects: number;
  leaks: number;
}

/** The history against what is in force now (P1 to P3, P6). */
export async function check(facts: {
  history: Change[];
  views: Map<string, JobView>;
  /** v1: job id → number of changes it made. */
  v1Events: Map<string, number>;
  v2Changes: (user: string) => number;
  logsIn: (org: string, user: string, password: string) => Promise<boolean>;
  /** Which job it was that makes a figure more than 0. */
  tell: (text: string) => void;
}): Promise<Figures> {
  const { history, views } = facts;
  const figures: Figures = {
    accepted: history.length,
    outcomes: {},
    assumed: 0,
    repeats: 0,
    lost: 0,
    withoutOutcome: 0,
    innocentsFailed: 0,
    extraEffectsV1: 0,
    inversionsLeft: 0,
    unexplainedExtraEffects: 0,
    leaks: 0,
  };
  const ofUser = new Map<string, Change[]>();
  for (const change of history) {
    const view = views.get(change.jobId);
    if (!view) figures.lost++;
    else if (!view.outcome) figures.withoutOutcome++;
    else {
      const kind = 'code' in view.outcome ? view.outcome.reason : view.outcome.result;
      figures.outcomes[kind] = (figures.outcomes[kind] ?? 0) + 1;
      // Every request was valid and nobody else changed anything.
      if (kind !== 'set' && kind !== 'superseded') {
        figures.innocentsFailed++;
        facts.tell(
          `${kind}: job ${change.jobId} of ${change.org}, sent ${view.attempts} times, ${view.acceptedAt} to ${view.finishedAt}`,
        );
      }
      if ('assumed' in view.outcome && view.outcome.assumed) figures.assumed++;
    }
    ofUser.set(change.user, [...(ofUser.get(change.user) ?? []), change]);
  }

  for (const [user, changes] of ofUser) {
    const [first] = changes;
    if (!first) continue;
    const isSet = (change: Change) => {
      const outcome = views.get(change.jobId)?.outcome;
      return outcome !== undefined && 'result' in outcome && outcome.result === 'set';
    };
    const sets = changes.filter(isSet);
    // The newest accepted request is always applied in the end: it was valid.
    const newest = changes.at(-1) as Change;
    if (!(await facts.logsIn(first.org, user, newest.password))) {
      figures.inversionsLeft++;
      facts.tell(`not in force: job ${newest.jobId} of ${first.org}, the newest of its user`);
    }
    if (first.org === 'acme') {
      for (const change of changes) {
        const effects = facts.v1Events.get(change.jobId) ?? 0;
        // `superseded` may have had its one effect before the newer one had its own.
        figures.extraEffectsV1 += Math.max(0, effects - 1) + (isSet(change) && effects === 0 ? 1 : 0);
      }
    } else {
      const effects = facts.v2Changes(user);
      const attempts = changes.reduce((sum, change) => sum + (views.get(change.jobId)?.attempts ?? 0), 0);
      figures.repeats += Math.max(0, effects - sets.length);
      figures.unexplainedExtraEffects += Math.max(0, effects - attempts) + Math.max(0, sets.length - effects);
    }
  }
  return figures;
}
