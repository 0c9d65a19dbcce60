import { availableParallelism } from 'node:os';
import type { Backend } from '../adapters/port.ts';
import { PassferryError } from '../errors.ts';
import { makeHash } from '../hashes/make.ts';
import { Secret } from '../secret.ts';
import type { HashedChange, Sending } from './sending.ts';

/** What bcrypt looks at, bytes. */
const longest = 72;
/** The cost that is timed; each step above doubles the time. */
const timedCost = 10;

/** Can workers hash for it? It takes bcrypt, and tells what it would have refused. */
export function canHashHere({ setHash, checkPassword, verifiers }: Backend): boolean {
  return setHash !== undefined && checkPassword !== undefined && verifiers?.includes('bcrypt') === true;
}

/** Error, scope user: `ability_missing`. */
export function checkHashesHere(backend: Backend): void {
  if (!canHashHere(backend)) throw new PassferryError('ability_missing');
}

/**
 * A password as the backend is spared the work: judged as it would judge it, then hashed with bcrypt. Errors of scope user: those of the
 * policy, and what bcrypt cannot hash. The caller wipes the hash.
 */
export async function hashHere(
  cost: number,
  change: Sending,
  backend: Backend,
  signal: AbortSignal,
): Promise<HashedChange> {
  checkHashesHere(backend);
  if (!('password' in change)) throw new PassferryError('internal');
  const bytes = change.password.bytes();
  if (bytes.length === 0) throw new PassferryError('password_missing');
  if (bytes.length > longest) throw new PassferryError('password_too_many_bytes');
  if (bytes.includes(0)) throw new PassferryError('password_nul');
  await backend.checkPassword?.(change.org, change.password, signal);
  const made = await makeHash('bcrypt', { cost }, bytes, { maxMs: Number.POSITIVE_INFINITY });
  if (made === undefined) throw new PassferryError('hash_refused');
  if (signal.aborted) throw new PassferryError('aborted', { scope: 'backend' });
  return { ...change, hash: Secret.fromString(made) };
}

/** ms of one core for one hash of the cost that is timed. */
export async function timeHere(): Promise<number> {
  const began = performance.now();
  await makeHash('bcrypt', { cost: timedCost }, Buffer.from('Aa1!aaaa'));
  return performance.now() - began;
}

/** What was timed → a hash of another cost, ms of one core. */
export const hereMs = (timed: number, cost: number) => timed * 2 ** (cost - timedCost);

/** So many hashes at once: no more than cores, and than the backend takes. */
export const hereCores = (limit: number) => Math.min(limit, availableParallelism());
