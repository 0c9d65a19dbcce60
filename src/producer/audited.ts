import type { Caller } from './callers.ts';

/** In whose records a request stands: nobody writes into those of an organization where he has nothing. */
export function recordedIn(caller: Caller, org: string): string {
  return Object.hasOwn(caller.grants, org) ? org : caller.home;
}
