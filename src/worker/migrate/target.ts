import { toPassferryError } from '../../errors.ts';
import type { RunControl } from '../../ledger/run-control.ts';
import { optionsNow } from '../../ledger/run-options.ts';
import type { Lane } from '../lane.ts';

const askMs = 10_000;

/**
 * Before the first user of a plan, or of what carries it out: does this version of v2 take hashes at all? Holds the run when not. True: go
 * on; false: not now.
 */
export async function takesHashes(
  v2: Lane | undefined,
  runs: RunControl,
  run: string,
  f: Record<string, string>,
): Promise<boolean> {
  const ask = v2?.backend.takesHashes;
  const isAsked = optionsNow(f).migration?.mode !== 'reconcile' && !f.overruled?.includes(' target_unsupported ');
  if (!v2 || !ask || !isAsked) return true;
  if (((await v2.stands())?.leftMs ?? 0) > 0) return false;
  try {
    if (await ask.call(v2.backend, AbortSignal.timeout(askMs))) return true;
  } catch (thrown) {
    v2.waitAfter(toPassferryError(thrown), f.org as string);
    return false;
  }
  await runs.hold(run, 'target_unsupported');
  return false;
}
