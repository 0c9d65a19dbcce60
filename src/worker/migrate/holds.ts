import type { Redis } from 'ioredis';
import type { Keys } from '../../keys.ts';
import { createDivergences } from '../../ledger/divergence.ts';
import type { RunControl } from '../../ledger/run-control.ts';
import type { Log } from '../../log.ts';
import type { MigrationOptions } from '../../migration.ts';
import type { HoldReason, RunOptions } from '../../run.ts';

export type MigrationHolds = ReturnType<typeof createMigrationHolds>;

/** So many of the last tries of a run by this worker are looked at, and from how many on they say something. */
const looked = 100;
const atLeast = 20;
/** Share of them that was refused for a permission: a storm. */
const stormShare = 0.5;
/** The slowest twentieth of the last changes takes longer than this, ms, unless the run says otherwise. */
const defaultLatencyMs = 5_000;
/** Users who are not in step beyond those at the beginning and those that the run itself could not bring in step. */
const mostGrowth = 1_000;

/** What makes a migration hold by itself, beside what every run holds for. */
export function createMigrationHolds(options: { redis: Redis; keys: Keys; runs: RunControl; log: Log }) {
  const { redis, keys, runs, log } = options;
  const divergences = createDivergences(redis, keys);
  const known = new Map<string, { forbidden: boolean[]; ms: number[] }>();

  function of(run: string) {
    let found = known.get(run);
    if (!found) {
      if (known.size > 1_000) known.clear();
      found = { forbidden: [], ms: [] };
      known.set(run, found);
    }
    return found;
  }

  async function hold(run: string, reason: HoldReason): Promise<void> {
    known.delete(run);
    if (await runs.hold(run, reason)) log.warn({ runId: run, reason }, 'a migration holds by itself');
  }

  return {
    /** One change took so long. */
    async took(run: string, { maxLatencyMs }: RunOptions, ms: number): Promise<void> {
      const { ms: all } = of(run);
      all.push(ms);
      if (all.length > looked) all.shift();
      if (all.length < atLeast) return;
      const limit = typeof maxLatencyMs === 'number' ? maxLatencyMs : defaultLatencyMs;
      const sorted = [...all].sort((a, b) => a - b);
      if ((sorted[Math.floor(sorted.length * 0.95)] as number) > limit) await hold(run, 'backend_slow');
    },

    /** A try ended: well, or it waits for this. */
    async met(run: string, reason: string | undefined): Promise<void> {
      if (reason === 'busy' || reason === 'stage_moved' || reason === 'aborted') return;
      const { forbidden } = of(run);
      forbidden.push(reason === 'backend_forbidden');
      if (forbidden.length > looked) forbidden.shift();
      const n = forbidden.filter(Boolean).length;
      if (n >= atLeast && n >= forbidden.length * stormShare) await hold(run, 'backend_forbidden');
    },

    /** A look at a run that runs: are more and more users not in step? */
    async watch(run: string, f: Record<string, string>, { mode, orgs }: MigrationOptions): Promise<void> {
      if (mode !== 'execute') return;
      const counts = await Promise.all(orgs.map((org) => divergences.count(org)));
      const now = counts.reduce((sum, each) => sum + each, 0);
      if (f.divergedAtFirst === undefined) {
        await redis.hsetnx(keys.run(run), 'divergedAtFirst', String(now));
        return;
      }
      const grown = now - Number(f.divergedAtFirst) - Number(f.failed ?? 0);
      if (grown > mostGrowth) await hold(run, 'divergence_grows');
    },
  };
}
