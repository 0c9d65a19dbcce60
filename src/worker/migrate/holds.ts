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
/** Share of them that was refused for a permission: a storm, when more than half of the organizations lack it. */
const stormShare = 0.5;
/** In an organization that has worked a permission may come back: it is waited for so long, ms. */
const permissionMs = 30_000;
/** The slowest twentieth of the last changes takes longer than this, ms, unless the run says otherwise. */
const defaultLatencyMs = 5_000;
/** Users who are not in step beyond those at the beginning and those that the run itself could not bring in step. */
const mostGrowth = 1_000;

interface At {
  run: string;
  org: string;
}

/** What this worker has seen of a run lately. */
interface Known {
  forbidden: boolean[];
  ms: number[];
  /** Organizations in which something has worked; and those in which we lack the permission, as far as was asked. */
  worked: Set<string>;
  lacking: Map<string, { since: number; forGood: boolean }>;
  /** What persons had overruled when that was found. */
  overruled: string;
}

function note<T>(last: T[], one: T): void {
  last.push(one);
  if (last.length > looked) last.shift();
}

/** What makes a migration hold by itself, beside what every run holds for. */
export function createMigrationHolds(options: { redis: Redis; keys: Keys; runs: RunControl; log: Log }) {
  const { redis, keys, runs, log } = options;
  const divergences = createDivergences(redis, keys);
  const known = new Map<string, Known>();

  function of(run: string) {
    let found = known.get(run);
    if (!found) {
      if (known.size > 1_000) known.clear();
      found = { forbidden: [], ms: [], worked: new Set(), lacking: new Map(), overruled: '' };
      known.set(run, found);
    }
    return found;
  }

  async function hold(run: string, reason: HoldReason): Promise<boolean> {
    // What was slow or refused before does not count twice.
    Object.assign(of(run), { forbidden: [], ms: [] });
    const holds = await runs.hold(run, reason);
    if (holds) log.warn({ runId: run, reason }, 'a migration holds by itself');
    return holds;
  }

  return {
    /** One change took so long. */
    async took(run: string, { maxLatencyMs }: RunOptions, ms: number): Promise<void> {
      const { ms: all } = of(run);
      note(all, ms);
      if (all.length < atLeast) return;
      const limit = typeof maxLatencyMs === 'number' ? maxLatencyMs : defaultLatencyMs;
      const sorted = [...all].sort((a, b) => a - b);
      if ((sorted[Math.floor(sorted.length * 0.95)] as number) > limit) await hold(run, 'backend_slow');
    },

    /** A try ended: well, or it waits for a reason that is no permission. */
    async met({ run, org }: At, reason?: string): Promise<void> {
      if (reason === 'busy' || reason === 'stage_moved' || reason === 'aborted') return;
      const seen = of(run);
      note(seen.forbidden, false);
      if (reason !== undefined) return;
      seen.worked.add(org);
      seen.lacking.delete(org);
    },

    /**
     * We lack the permission in the organization; `asked`: v2 has said so just now. True: the user is to be left for it, as the plan has
     * told. Where something has worked before the permission may come back: then only once v2 has said so again after a while.
     */
    async lacks({ run, org }: At, { migration }: RunOptions, asked: boolean): Promise<boolean> {
      const [state, overruled] = await redis.hmget(keys.run(run), 'state', 'overruled');
      if (state !== 'running') return false;
      const seen = of(run);
      const { forbidden, lacking, worked } = seen;
      if (seen.overruled !== (overruled ?? '')) {
        // A person has looked: it may have been given since.
        seen.overruled = overruled ?? '';
        forbidden.length = 0;
        lacking.clear();
      }
      note(forbidden, true);
      const known = lacking.get(org);
      if (!known && asked) lacking.set(org, { since: performance.now(), forGood: !worked.has(org) });
      else if (known && asked && performance.now() - known.since > permissionMs) known.forGood = true;
      const n = forbidden.filter(Boolean).length;
      const isMost = lacking.size * 2 > (migration?.orgs.length ?? 1);
      const isStorm = n >= atLeast && n >= forbidden.length * stormShare;
      if (isMost && isStorm && (await hold(run, 'backend_forbidden'))) return false;
      return lacking.get(org)?.forGood ?? false;
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
