import { isFailure, type Outcome, type SetPasswordData } from '../job.ts';

/** One row of the rejects: what it was, never its secret. */
export function rejectOf(data: SetPasswordData, outcome: Outcome): string {
  const why = isFailure(outcome)
    ? { code: outcome.code, reason: outcome.reason, message: outcome.message }
    : { result: outcome.result, reason: outcome.result, message: resultTexts[outcome.result] };
  return JSON.stringify({ row: data.row, userId: data.user, org: data.org, ...why });
}

const resultTexts: Record<string, string> = {
  superseded: 'A newer password for this user was set first.',
  stale: 'The user changed the password after this was accepted.',
};
