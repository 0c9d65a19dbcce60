import { type Beat, type Beats, beatEveryMs, digestOf, type Placed, type StageTable } from '../ledger/beats.ts';
import type { Log } from '../log.ts';
import { leader, type Stage, type Stages } from '../stage.ts';
import { within } from '../within.ts';

/** How long Redis has to hear that we end, ms. */
const lastWordMs = 500;

/** Tells Redis every two seconds how this worker fares; one word at a time, and a Redis that is away hears nothing. */
export function startBeat(
  beats: Beats,
  stages: Stages,
  facts: () => Omit<Beat, 'stages'>,
  log: Log,
): { tell(): void; stop(): Promise<void> } {
  const table = tableOf(stages);
  const named: Beat['stages'] = {
    digest: digestOf(table),
    default: table.default,
    organizations: Object.keys(table.organizations).length,
  };
  let telling: Promise<void> | undefined;
  let stopped = false;

  async function tell(): Promise<void> {
    await beats.tellStages(named.digest, table);
    if (!stopped) await beats.tell({ ...facts(), stages: named });
  }

  function beat(): void {
    if (stopped) return;
    telling ??= tell()
      .catch((err) => log.debug({ err }, 'the state of this worker could not be told'))
      .finally(() => {
        telling = undefined;
      });
  }

  const timer = setInterval(beat, beatEveryMs);
  timer.unref();
  beat();
  return {
    /** Now, for something has changed that others wait for. */
    tell: () => void (telling ?? Promise.resolve()).then(beat),
    async stop() {
      stopped = true;
      clearInterval(timer);
      // After the word that is under way, or it would come back.
      const end = (telling ?? Promise.resolve()).then(() => beats.withdraw(facts().id)).catch(() => {});
      await within(lastWordMs, end);
    },
  };
}

function tableOf(stages: Stages): StageTable {
  const placed = (stage: Stage): Placed => ({ stage, leads: leader(stage) });
  return {
    default: placed(stages.default),
    organizations: Object.fromEntries(Object.entries(stages.organizations).map(([org, stage]) => [org, placed(stage)])),
  };
}
