import type { Redis } from 'ioredis';
import { PassferryError, toPassferryError } from '../../errors.ts';
import type { BackendName, SetPasswordData } from '../../job.ts';
import type { Keys } from '../../keys.ts';
import { createMigrationEnds, type MigrationEnd } from '../../ledger/migration-end.ts';
import type { RunControl } from '../../ledger/run-control.ts';
import { optionsNow } from '../../ledger/run-options.ts';
import type { Log } from '../../log.ts';
import type { PageHead } from '../../page.ts';
import type { RunOptions } from '../../run.ts';
import type { JobKey } from '../../signature.ts';
import { isWithin } from '../../window.ts';
import type { HashProbe } from '../hash-probe.ts';
import type { InStep } from '../in-step.ts';
import type { Lane } from '../lane.ts';
import type { Rows } from '../rows.ts';
import type { KnownStages } from '../stages.ts';
import { createUserMaker } from './create-user.ts';
import { createExecute } from './execute.ts';
import type { MigrationHolds } from './holds.ts';
import { createJudge } from './judge.ts';
import type { Lockouts } from './lockouts.ts';
import { createProfiles } from './profiles.ts';

export interface MigrateDeps {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  rows: Rows;
  runs: RunControl;
  lanes: Partial<Record<BackendName, Lane>>;
  stages: KnownStages;
  inStep: Pick<InStep, 'mirror'>;
  probe: HashProbe;
  holds: MigrationHolds;
  lockouts: Pick<Lockouts, 'note'>;
  log: Log;
  deadlineMs: number;
  leaseMs: number;
  /** Rows a second towards v2 at most. */
  v2Rate?: number;
}

/** What becomes of one row: an end; or nothing was wrong with the user, and it waits. */
export type RowSaid = Omit<MigrationEnd, 'org'> | { waits: string; ms: number };

export interface MigrationRow {
  at: { org: string; user: string };
  data: SetPasswordData;
  head: PageHead;
  options: RunOptions;
}

/** Options are asked for again after so long, ms. */
const freshMs = 500;

/** Rows whose users are brought from v1 to v2, or only looked at. */
export function createMigrateRows(deps: MigrateDeps) {
  const { redis, keys, jobKey, rows } = deps;
  const ends = createMigrationEnds(redis, keys, jobKey);
  const profiles = createProfiles();
  const judge = createJudge(deps, profiles);
  const execute = createExecute(deps, createUserMaker(deps, profiles));
  const known = new Map<string, { options: Promise<RunOptions>; at: number }>();

  function optionsOf(run: string): Promise<RunOptions> {
    const last = known.get(run);
    if (last && performance.now() - last.at < freshMs) return last.options;
    if (known.size > 1_000) known.clear();
    const options = redis
      .hmget(keys.run(run), 'options', 'tuned')
      .then(([options, tuned]) => optionsNow({ ...(options && { options }), ...(tuned && { tuned }) }));
    known.set(run, { options, at: performance.now() });
    options.catch(() => known.delete(run));
    return options;
  }

  return {
    async isOne({ run, row }: SetPasswordData): Promise<boolean> {
      return run !== undefined && row !== undefined && (await rows.headOf(run, row))?.migration !== undefined;
    },

    /** One row. `left`: it leaves the queue; else it is put off. */
    async run(data: SetPasswordData, signal: AbortSignal): Promise<{ left: string } | { waits: string; ms: number }> {
      const place = { run: data.run as string, row: data.row as number };
      const head = await rows.headOf(place.run, place.row);
      if (!head?.migration) return { left: 'run_over' };
      try {
        const begun = await ends.begin(place);
        if (begun !== 'go') return { left: begun };
        const options = await optionsOf(place.run);
        if (!isWithin(options.window, Date.now())) {
          await redis.hset(keys.run(place.run), 'refeed', '1');
          return { left: 'run_waits' };
        }
        const row: MigrationRow = { at: { org: data.org, user: data.user }, data, head, options };
        const said = await (head.migration.mode === 'execute' ? execute(row, signal) : judge(row, signal));
        if ('waits' in said) return said;
        return { left: await ends.end(place, { org: data.org, ...said }) };
      } catch (thrown) {
        const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
        return { waits: error.reason, ms: signal.aborted ? 0 : 1_000 };
      }
    },
  };
}
