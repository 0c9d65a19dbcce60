import { PassferryError } from '../../errors.ts';
import { isRunId } from '../../ids.ts';
import type { RunView } from '../../run.ts';
import { type Caller, isGranted } from '../callers.ts';
import type { HttpDeps } from './deps.ts';

/** Whether runs of the organization, and rows that are in it, are told to the caller: `import` or `read`. */
export const seesRuns = (caller: Caller, org: string): boolean =>
  isGranted(caller, org, 'import') || isGranted(caller, org, 'read');

/** Looks for a run. Error: `run_unknown`, the same whether there is none or it is not the caller's to see (P5). */
export function createVisibleRun({ producer }: Pick<HttpDeps, 'producer'>) {
  return async (caller: Caller, id: string): Promise<RunView> => {
    const view = isRunId(id) ? await producer.runs.view(id) : undefined;
    if (!view || view.options.migration || !seesRuns(caller, view.org)) throw new PassferryError('run_unknown');
    return view;
  };
}

/** Whether migrations of the organization are told to the caller: `read` or `migrate` there. */
export const maySee = (caller: Caller, org: string): boolean =>
  isGranted(caller, org, 'read') || isGranted(caller, org, 'migrate');

/** The same for migrations, whose numbers are of all their organizations together: each of them must be granted. */
export function createVisibleMigration({ producer }: Pick<HttpDeps, 'producer'>) {
  return async (caller: Caller, id: string): Promise<RunView> => {
    const view = isRunId(id) ? await producer.runs.view(id) : undefined;
    const orgs = view?.options.migration?.orgs;
    if (!view || !orgs?.every((org) => maySee(caller, org))) throw new PassferryError('run_unknown');
    return view;
  };
}
