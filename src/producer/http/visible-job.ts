import { PassferryError } from '../../errors.ts';
import { isJobId } from '../../ids.ts';
import type { JobView } from '../../job.ts';
import { type Caller, isGranted, type Permission } from '../callers.ts';
import type { HttpDeps } from './deps.ts';

/** The job a path names, for whoever has one of the permissions in its organization; else it looks as if there were none (P5). */
export function createVisible({ producer }: Pick<HttpDeps, 'producer'>) {
  /** Errors: `job_gone` for an id of an organization that is granted, when its record is no longer kept; else `job_unknown`. */
  return async (caller: Caller, id: string, ...anyOf: Permission[]): Promise<JobView> => {
    const mayRead = (org: string) => anyOf.some((permission) => isGranted(caller, org, permission));
    const view = isJobId(id) ? await producer.view(id) : undefined;
    if (view && mayRead(view.org)) return view;
    const ownOrgs = view ? [] : Object.keys(caller.grants).filter(mayRead);
    throw new PassferryError(ownOrgs.some((org) => producer.isIdOf(id, org)) ? 'job_gone' : 'job_unknown');
  };
}
