import type { Backend } from '../adapters/port.ts';
import { PassferryError } from '../errors.ts';
import type { HashFacts } from '../job.ts';

/** Errors, scope user: `ability_missing` (no hashes at all), `hash_not_taken` (this kind), `hash_refused` (too cheap for it). */
export function checkTakesHash({ by, v1Only }: HashFacts, backend: Backend): void {
  if (!backend.setHash) throw new PassferryError('ability_missing');
  if (!(backend.verifiers as readonly string[] | undefined)?.includes(by)) throw new PassferryError('hash_not_taken');
  if (v1Only && backend.name === 'v2') throw new PassferryError('hash_refused');
}

/** Kind and cost in words, the same for all rows that are alike. */
export function costText({ kind, cost }: HashFacts): string {
  return [kind, ...Object.entries(cost).map(([name, value]) => `${name}=${value}`)].join(' ');
}
