import type { Redis } from 'ioredis';
import type { Outcome } from '../job.ts';
import type { Keys } from '../keys.ts';
import { factsOf, inEffect, isResult, unpackRow } from '../row-outcome.ts';
import type { JobKey } from '../signature.ts';

/** Bytes of a row's end → its result or reason; undefined: open. `forged`: counts as absent. */
export async function rowEnd(
  redis: Redis,
  keys: Keys,
  jobKey: JobKey,
  { run, row, bytes }: { run: string; row: number; bytes: Buffer },
): Promise<string | undefined> {
  const end = unpackRow(jobKey, run, row, bytes);
  if (end !== 'noted') return end;
  return (await redis.hget(keys.runNotes(run), String(row))) ?? 'refused';
}

/** Result or reason → outcome. Of a row's end neither its time nor the backend's details are kept. */
export function toOutcome(end: string): Outcome {
  if (isResult(end)) return { result: end, inEffect: inEffect.has(end), at: 0 };
  return { ...factsOf(end), inEffect: false, at: 0 };
}
