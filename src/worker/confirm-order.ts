import { setTimeout as sleep } from 'node:timers/promises';
import type { BackendName } from '../job.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Log } from '../log.ts';
import type { Lane } from './lane.ts';

/** The counter of a fresh Redis must not start below what v1 has applied (F32); until then producers answer 503. */
export function confirmOrder(deps: {
  ledger: Ledger;
  lanes: Partial<Record<BackendName, Lane>>;
  deadlineMs: number;
  log: Log;
  signal: AbortSignal;
}): Promise<void> {
  const { ledger, lanes, deadlineMs, log, signal } = deps;
  const step = async () => {
    let lowest = 0n;
    for (const lane of Object.values(lanes)) {
      const highest = await lane.backend.highestSequence?.(AbortSignal.timeout(deadlineMs));
      if (highest !== undefined && highest > lowest) lowest = highest;
    }
    await ledger.raiseFloor(lowest);
  };
  return retried(step, 'the order of changes cannot be confirmed yet', log, signal);
}

/** A step that must succeed before anything else; given up when the signal fires. */
export async function retried(
  step: () => Promise<void>,
  otherwise: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (let pause = 250; !signal.aborted; pause = Math.min(5_000, pause * 2)) {
    try {
      return await step();
    } catch (err) {
      log.warn({ err }, otherwise);
      await sleep(pause, undefined, { signal }).catch(() => {});
    }
  }
}
